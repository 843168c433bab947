"""What becomes of every single request while processes are killed: a service that writes down what it has begun, a
client that remembers how each of its requests ended, and the sum of both."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

SERVICE = '''
import os
from hashlib import sha256
from time import monotonic
from lepton.serve import Service, handler

BOOK = os.open({book!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
STUFF = bytes(100_000)

class Ledger(Service):
    """Writes down what it begins, and then takes a few milliseconds: longer than a replica lets an answer wait for
    the next one."""

    cpus = 0.1

    def work(self, id):
        if id >= 0:
            os.write(BOOK, b"%d %d\\n" % (id, os.getpid()))
        ends = monotonic() + 0.002
        while monotonic() < ends:
            sha256(STUFF).digest()
        return {{"id": id}}

    @handler
    def once(self, id: int) -> dict[str, int]:
        return self.work(id)

    @handler(is_repeatable=True)
    def again(self, id: int) -> dict[str, int]:
        return self.work(id)
'''
REFUSED, BROKEN = "refused", "broken"
"""How a try may end beside a status: there was no connection, so nothing was sent; or it ended without an answer."""
PAUSE_S = 0.01


@dataclass(slots=True)
class Fate:
    """One request, and how each try of it ended."""

    id: int
    tries: list[int | str] = field(default_factory=list)


class Caller:
    """Asks again and again on several connections, in a thread of its own.

    Args:
        is_repeating: a request whose connection broke is sent again at once.
    """

    def __init__(
        self,
        address: tuple[str, int],
        path: str,
        *,
        is_repeating: bool,
        headers: Mapping[str, str] | None = None,
        connections: int = 4,
        first: int = 0,
    ) -> None:
        self.fates: list[Fate] = []
        self._address = address
        self._path = path
        self._is_repeating = is_repeating
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._connections = connections
        self._numbers = count(first)
        self._is_over = False
        self._thread = Thread(target=lambda: asyncio.run(self._run()))
        self._fault: BaseException | None = None

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._fault is not None:
            raise self._fault

    @property
    def answered(self) -> int:
        """Requests that were answered with 200 so far."""
        return sum(fate.tries[-1:] == [200] for fate in list(self.fates))

    def send_again(self, ids: Iterable[int]) -> list[int | str]:
        """How these end now, one after the other, once the thread is over."""
        return asyncio.run(self._one_by_one(list(ids)))

    async def _one_by_one(self, ids: list[int]) -> list[int | str]:
        found = []
        for id in ids:
            line = Line(self._address)
            found.append(await line.ask(self._text(id), id))
            line.close()
        return found

    async def _run(self) -> None:
        try:
            await asyncio.gather(*(self._call() for _ in range(self._connections)))
        except BaseException as fault:  # noqa: BLE001  raised again where the thread is joined
            self._fault = fault

    async def _call(self) -> None:
        line = Line(self._address)
        while not self._is_over:
            fate = Fate(next(self._numbers))
            self.fates.append(fate)
            while not fate.tries or self._is_to_be_tried_again(fate.tries[-1]):
                if fate.tries and self._is_over:
                    break
                if fate.tries:
                    await asyncio.sleep(PAUSE_S)
                fate.tries.append(await line.ask(self._text(fate.id), fate.id))
        line.close()

    def _is_to_be_tried_again(self, end: int | str) -> bool:
        return end == REFUSED or (end in (BROKEN, 503) and self._is_repeating)

    def _text(self, id: int) -> bytes:
        body = json.dumps({"id": id})
        head = f"POST {self._path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{self._headers}"
        return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


class Line:
    """One connection, opened anew when it has ended."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, text: bytes, id: int) -> int | str:
        """The status of the answer, whose body must be this request's; else how it ended."""
        if self._writer is None:
            try:
                self._reader, self._writer = await asyncio.open_connection(*self._address)
            except OSError:
                return REFUSED
        assert self._reader is not None
        try:
            self._writer.write(text)
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await self._reader.readexactly(int(length.partition(b":")[2]))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return BROKEN
        status = int(head.split(b" ", 2)[1])
        assert status != 200 or json.loads(body) == {"id": id}, body
        return status

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


@dataclass(frozen=True, slots=True)
class Sum:
    """What became of all requests of a series."""

    answered: int
    ends: Mapping[str, int]
    """How tries ended -> how many did."""
    unbegun: list[Fate]
    """Failed, although no replica had begun them."""
    begun: list[Fate]
    """Failed, and a replica that died had begun them."""
    doubled: list[int]
    """Begun more than once, though sent once."""


def sum_up(fates: Iterable[Fate], book: Path) -> Sum:
    """The requests of a caller against what the replicas wrote down."""
    begun: dict[int, list[int]] = {}
    for line in book.read_text().splitlines():
        id, pid = map(int, line.split())
        begun.setdefault(id, []).append(pid)
    known = list(fates)
    failed = [fate for fate in known if fate.tries and fate.tries[-1] != 200]
    ends: Counter[str] = Counter(str(end) for fate in known for end in fate.tries)
    sent = {fate.id: sum(end != REFUSED for end in fate.tries) for fate in known}
    return Sum(
        answered=sum(fate.tries[-1:] == [200] for fate in known),
        ends=ends,
        unbegun=[fate for fate in failed if fate.id not in begun],
        begun=[fate for fate in failed if fate.id in begun],
        doubled=[id for id, pids in begun.items() if len(pids) > 1 and sent.get(id) == 1],
    )


def tell(found: Sum) -> dict[str, Any]:
    """For people."""
    return {
        "answered": found.answered,
        "ends": dict(found.ends),
        "failed, not begun": len(found.unbegun),
        "failed, begun": len(found.begun),
        "begun twice": len(found.doubled),
    }
