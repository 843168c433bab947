"""One worker process of an endpoint: takes batches from its front, has its program answer them, sends what is ready.

Everything happens in one event loop. Plain functions run in it too, unless the program asks for threads: a call
through a thread costs more than most of them. A loop that stands still for longer than any deadline allows is ended,
with a traceback of where it hangs, and the engine replaces the process. So is one that has a thread which hangs, and
one whose program says that it is ill: those finish first what they can, for a few seconds.
"""

import asyncio
import faulthandler
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import orjson

from lepton.core.errors import UnavailableError
from lepton.core.resource import Json
from lepton.serve.mailbox import Mailbox, open_mailbox
from lepton.serve.marks import PLACES, Shared
from lepton.serve.program import Program, Work
from lepton.serve.replica_link import Link
from lepton.serve.reporter import Tell
from lepton.serve.threads import Threads

TICK_S = 0.5
RETRY_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Pauses between attempts to reach the front; the last for ever."""
LEAVE_S = 5.0
"""For what an ill replica is at besides."""
UNHEALTHY_EVERY = 10
"""Ticks between two questions after the program's health."""


class Replica:
    """A program and its connection to the front.

    Args:
        path: of the front's socket.
        hang_s: a loop that stands still for this long is ended.
        proof: of who this worker is, for a front that many endpoints share.
        tell: passes on what the front has to tell the platform in this worker's name.
        on_start: called when the program is ready.
    """

    def __init__(
        self,
        program: Program,
        path: Path,
        *,
        hang_s: float,
        proof: str = "",
        tell: Tell = lambda _: None,
        on_start: Callable[[], object] = lambda: None,
    ) -> None:
        self._program = program
        self._path = path
        self._hang_s = hang_s
        self._proof = proof
        self.max_batch = 0
        """Most requests in one call of the program, however many have come; 0: any number."""
        self._tell = tell
        self._on_start = on_start
        self._stop = asyncio.Event()
        self._marks: Shared | None = None
        """Of the last connection."""
        self._works: dict[int, Work] = {}
        self._about: dict[str, Json] = {}
        """What the front must know."""
        self._threads: Threads | None = None
        self._illness = ""
        """Why it ends, unless it was asked to."""
        self._link: Link | None = None
        """The connection to the front, the last there was."""
        self._told: Counter[str] = Counter()

    def stop(self) -> None:
        """Tell the front, serve on until it lets go, then end."""
        self._stop.set()
        if self._link is not None:
            self._link.leave(is_ill=bool(self._illness))

    async def run(self) -> None:
        """Serve until asked to stop and the front has drained.

        Raises:
            UnavailableError: the program says that it is broken, or one of its threads hangs.
            ReleaseError: the front is of another release.
        """
        program = self._program
        await program.start()
        self._on_start()
        self._works = {work.operation.id: work for work in program.works()}
        self._about = hello(program, self._works.values(), self._proof)
        self._hang_s += max((work.operation.timeout_s for work in self._works.values()), default=0.0)
        if program.threads:
            self._threads = Threads(program.threads)
        ticking = asyncio.ensure_future(self._tick())
        try:
            await self._connect_forever()
        finally:
            ticking.cancel()
            faulthandler.cancel_dump_traceback_later()
            await program.close()
            if self._threads is not None:
                self._threads.close()
        if self._illness:
            raise UnavailableError(self._illness, fix="See its log; it is started again.")

    async def _connect_forever(self) -> None:
        tries = 0
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            try:
                _, link = await loop.create_unix_connection(self._make_link, str(self._path))
                await link.closed
                if link.fault is not None:
                    raise link.fault
                if link.has_heard:
                    tries = 0
                    continue
                if not tries:
                    sys.stderr.write("serve: the front hung up without a word: it ends, or is of another release\n")
            except OSError:
                pass
            pause_s = RETRY_S[min(tries, len(RETRY_S) - 1)]
            tries += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause_s)

    def _make_link(self) -> Link:
        if self._marks is not None:
            self._marks.close()
        self._marks = None
        with suppress(OSError):
            self._marks = Shared(PLACES)
        marks = self._marks.words if self._marks is not None else None
        self._link = Link(self._works, self._greet, self._threads, self._tell, marks, self.max_batch)
        return self._link

    def _greet(self) -> tuple[bytes, Mailbox | None]:
        opened = open_mailbox(self._path)
        if opened is None:
            return orjson.dumps(self._about), None
        mailbox, name = opened
        return orjson.dumps({**self._about, "mailbox": name, "marks": self._hand_over(mailbox)}), mailbox

    def _hand_over(self, mailbox: Mailbox) -> bool:
        """Give the front our marks; whether it has them."""
        if self._marks is None:
            return False
        try:
            self._marks.hand_over(mailbox)
        except OSError:
            return False
        return True

    def _tell_counters(self) -> None:
        """By how much the program's counters, if it has any, have grown."""
        counters: Counter[str] = Counter(getattr(self._program, "counters", {}))
        grown = counters - self._told
        if grown and self._link is not None and self._link.tell(grown):
            self._told = counters

    async def _tick(self) -> None:
        count = 0
        while True:
            faulthandler.dump_traceback_later(self._hang_s, exit=True)
            await asyncio.sleep(TICK_S)
            self._program.tick()
            self._tell_counters()
            count += 1
            if count % UNHEALTHY_EVERY == 0 and not self._program.is_healthy():
                self._fall_ill("The program says that it is not healthy")
            if self._threads is not None and self._threads.longest_s() > self._hang_s and not self._illness:
                faulthandler.dump_traceback(sys.stderr)
                self._fall_ill(f"A handler runs in its thread for longer than {self._hang_s:g} s")

    def _fall_ill(self, why: str) -> None:
        """Leave as if asked to, but soon."""
        if not self._illness:
            self._illness = why
            sys.stderr.write(f"serve: {why}: this replica is replaced\n")
            self.stop()
            if self._link is not None:
                asyncio.get_running_loop().call_later(LEAVE_S, self._link.end)


def hello(program: Program, works: Iterable[Work], proof: str) -> dict[str, Json]:
    """What the front must know."""
    operations = [asdict(work.operation) for work in works]
    known: dict[str, Json] = {"pass": proof} if proof else {}
    return {**program.about(), "operations": operations, "room": program.room, **known}
