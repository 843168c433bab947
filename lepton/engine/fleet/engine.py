"""The fleet engine: pretend machines whose work ends by the wall clock, whether or not a server lives meanwhile.

All that it keeps lies in its folder, which several servers may share: `nodes.json` (see `roster`) says which machines
there are, `runs.db` (see `runs`) what is on them.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lepton.core.clock import Clock, SystemClock
from lepton.core.errors import ConfigError, EngineError, InvalidError
from lepton.core.launch import Exit, ExitReason, Launch, NodeFacts, Sighting
from lepton.engine.course import kept
from lepton.engine.files import write_whole
from lepton.engine.fleet.bell import Bell
from lepton.engine.fleet.roster import Roster, default_nodes, parse, text_of
from lepton.engine.fleet.run import asked_to_end, run_of
from lepton.engine.fleet.runs import Runs

ENDING_S = 0.01
"""What is asked to end, or loses its node, ends so much later: nobody can have seen it end otherwise by then."""

log = logging.getLogger("lepton.engine")


class FleetEngine:
    """`engine.base.Engine` over machines that are only written down.

    Args:
        folder: what it keeps; servers that share it see the same machines and runs.
        clock: the wall clock.
        settings: what other engines want to know; it makes no difference where nothing runs.
    """

    def __init__(self, *, folder: Path, clock: Clock | None = None, **settings: object) -> None:
        del settings
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._clock = clock or SystemClock()
        self._latest_s = 0.0
        self._runs = Runs(folder / "runs.db")
        self._roster = Roster(folder / "nodes.json")
        self._nodes: dict[str, NodeFacts] = {}
        self._calls: list[Callable[[str], None]] = []
        try:
            self._settle()
        except BaseException:
            self._runs.close()
            raise
        self._stamp = self._runs.last_stamp()
        self._adopted = [(run.key, run.ends_s) for run in self._runs.living(self._now())]
        self._bell = Bell(self._news, self._now, self._tell)

    def nodes(self) -> list[NodeFacts]:
        """The machines in the file, as it is now."""
        self._refresh()
        return list(self._nodes.values())

    def start(self, launch: Launch) -> None:
        """Put the launch on its course; a second call with the same key does nothing, even after the first has ended.

        Raises:
            EngineError: there is no such node now, or the runs cannot be written.
            StorageFullError: the disk is full.
        """
        with self._changing():
            if self._runs.get(launch.key) is not None:
                return
            node = launch.node or next(iter(self._nodes), "")
            if node not in self._nodes:
                some = ", ".join(list(self._nodes)[:10]) or "none"
                raise EngineError(f"This engine has no node {node!r}", fix=f"It has {len(self._nodes)}: {some} ...")
            self._runs.add(run_of(launch, node, self._now()))
        self._bell.ring()

    def warm(self, preload: tuple[str, ...]) -> None:
        """Nothing to make ready."""

    def look(self, key: str) -> Sighting:
        """Say what is true now; never raise for an unknown key."""
        now_s = self._now()
        self._refresh()
        run = self._runs.get(key)
        if run is None:
            return Sighting(key=key, status="unknown")
        began_at = datetime.fromtimestamp(run.began_s, UTC)
        if run.ends_s > now_s:
            return Sighting(key=key, status="running", pid=1, started_at=began_at)
        found = Exit(
            reason=ExitReason(run.reason),
            code=run.code,
            signal=run.signal,
            detail=run.detail,
            at=datetime.fromtimestamp(run.ends_s, UTC),
        )
        return Sighting(key=key, status="exited", pid=1, started_at=began_at, exit=found)

    def keys(self) -> list[str]:
        """Everything that is here, running or ended and not forgotten."""
        return self._runs.keys()

    def logs(self, key: str, *, offset: int = 0) -> Iterator[bytes]:
        """What would have run, and the output of its course."""
        if run := self._runs.get(key):
            yield from kept(run.log, run.log_limit, offset)

    def log_size(self, key: str) -> int:
        """Bytes written by it so far."""
        run = self._runs.get(key)
        return len(run.log) if run else 0

    def stop(self, key: str, *, grace_s: float) -> None:
        """End it now, or after `grace_s` seconds if its course ignores the polite way."""
        with self._runs.changing():
            run, by_s = self._runs.get(key), self._now() + ENDING_S
            if run is None or run.ends_s <= by_s:
                return
            asked = asked_to_end(run, by_s, grace_s, ExitReason.STOPPED)
            if asked != run:
                self._runs.change(asked)
        self._bell.ring()

    def forget(self, key: str) -> None:
        """Drop an ended key."""
        with self._runs.changing():
            self._runs.delete(key, self._now())

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call `call(key)` soon after a key has ended, from a thread of its own."""
        self._calls.append(call)

    def close(self) -> None:
        """Let go of thread and file. What runs goes on."""
        self._bell.close()
        self._runs.close()

    def _now(self) -> float:
        """Seconds since 1970; stands still rather than go back, for what has ended does not run again."""
        self._latest_s = max(self._latest_s, self._clock.now().timestamp())
        return self._latest_s

    def _settle(self) -> None:
        """Have a list of nodes: that of the file, else the last good one, else eight machines.

        Raises:
            ConfigError: there has never been a good one.
        """
        path = self._roster.path
        with self._runs.changing():
            before = self._runs.nodes_text()
            if before:
                self._nodes = parse(before)
            if not path.exists():
                write_whole(path, before or text_of(default_nodes()))
        self._refresh()
        if not self._runs.nodes_text():
            raise ConfigError(f"{path} is no list of nodes", fix="Mend it, or remove it for a list of eight.")

    def _refresh(self) -> None:
        """Take over the file of nodes if it has changed."""
        if self._roster.has_changed():
            with self._changing():
                pass

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A transaction over the nodes as the file now says; if it fails, the file is read again."""
        try:
            with self._runs.changing():
                if self._roster.has_changed():
                    self._read_roster()
                yield
        except BaseException:
            self._roster.forget()
            raise

    def _read_roster(self) -> None:
        """Take over the file of nodes; a broken one changes nothing and is told of once."""
        try:
            found = self._roster.read()
            nodes = parse(found[0]) if found else {}
        except (OSError, InvalidError) as fault:
            if self._roster.is_settled:
                log.warning("fleet: %s changes nothing: %s", self._roster.path, fault)
            else:
                self._roster.forget()
            return
        if found:
            self._nodes = nodes
            self._runs.keep_nodes(text_of(list(nodes.values())))
            self._lose(min(self._now(), found[1]) + ENDING_S)

    def _lose(self, at_s: float) -> None:
        """What goes on after that time on a machine that is not there is lost then."""
        for run in self._runs.living(at_s):
            if run.node not in self._nodes:
                detail = f"Node {run.node} is gone."
                ends_s = max(at_s, run.began_s)
                lost = replace(run, ends_s=ends_s, reason=ExitReason.LOST, code=None, signal=None, detail=detail)
                self._runs.change(lost)

    def _news(self) -> list[tuple[str, float]]:
        self._refresh()
        adopted, self._adopted = self._adopted, []
        found = self._runs.since(self._stamp)
        self._stamp = max([self._stamp, *(stamp for stamp, _, _ in found)])
        return adopted + [(key, ends_s) for _, key, ends_s in found]

    def _tell(self, key: str) -> None:
        for call in list(self._calls):
            try:
                call(key)
            except Exception as fault:  # noqa: BLE001 - one listener's fault must not deafen the others
                threading.excepthook(threading.ExceptHookArgs((type(fault), fault, fault.__traceback__, None)))
