"""An engine in virtual time: nothing runs, everything ends when it should. For tests, what-if and trace replay.

A launch follows a `Course`: how long it runs, how it ends, what it prints. Time moves only by `advance`.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import inf
from threading import RLock

from lepton.core.clock import ManualClock
from lepton.core.errors import EngineError
from lepton.core.launch import Devices, Exit, ExitReason, Launch, NodeFacts, Sighting
from lepton.engine.course import Course, course_of, kept, words

NODES = (NodeFacts(name="sim", devices=Devices(cpu_milli=64_000, gpu_milli=8_000, memory_bytes=512 << 30)),)


@dataclass(slots=True)
class Run:
    """One launch on its course."""

    launch: Launch
    course: Course
    node: str
    began_s: float
    began_at: datetime
    ends_s: float
    exit: Exit
    log: bytes = field(repr=False, default=b"")
    is_told: bool = False


class SimulatedEngine:
    """`engine.base.Engine` in virtual time.

    Args:
        clock: moved by `advance`, and by nobody else while launches run.
        nodes: the machines there are at first.
        course: what happens to a launch.
    """

    def __init__(
        self,
        *,
        clock: ManualClock | None = None,
        nodes: Sequence[NodeFacts] = NODES,
        course: Callable[[Launch], Course] = course_of,
    ) -> None:
        self.clock = clock or ManualClock()
        self._nodes = {node.name: node for node in nodes}
        self._course = course
        self._runs: dict[str, Run] = {}
        self._ends: list[tuple[float, str]] = []
        self._calls: list[Callable[[str], None]] = []
        self._lock = RLock()

    def nodes(self) -> Iterable[NodeFacts]:
        """The machines that are not lost."""
        return list(self._nodes.values())

    def start(self, launch: Launch) -> None:
        """Put the launch on its course; a second call with the same key does nothing.

        Raises:
            EngineError: there is no such node now.
        """
        with self._lock:
            if launch.key in self._runs:
                return
            node = launch.node or next(iter(self._nodes), "")
            if node not in self._nodes:
                raise EngineError(f"This engine has no node {node!r}", fix=f"It has: {', '.join(self._nodes)}.")
            course, now_s = self._course(launch), self.clock.monotonic()
            log = f"[simulated on {node}] {words(launch)}\n".encode() + course.output
            run = Run(launch, course, node, now_s, self.clock.now(), now_s + course.seconds, course.exit, log)
            self._runs[launch.key] = run
            heapq.heappush(self._ends, (run.ends_s, launch.key))
            if launch.timeout_s:
                self._cut(run, launch.timeout_s, launch.grace_s, ExitReason.TIMEOUT)

    def warm(self, preload: tuple[str, ...]) -> None:
        """Nothing to make ready."""

    def look(self, key: str) -> Sighting:
        """Say what is true at this virtual time; never raise for an unknown key."""
        with self._lock:
            run = self._runs.get(key)
            if run is None:
                return Sighting(key=key, status="unknown")
            if not self._is_over(run):
                return Sighting(key=key, status="running", pid=1, started_at=run.began_at)
            ended_at = run.began_at + timedelta(seconds=run.ends_s - run.began_s)
            return Sighting(key=key, status="exited", started_at=run.began_at, exit=replace(run.exit, at=ended_at))

    def keys(self) -> list[str]:
        """Everything that is here, running or ended and not forgotten."""
        with self._lock:
            return sorted(self._runs)

    def logs(self, key: str, *, offset: int = 0) -> Iterator[bytes]:
        """What would have run, and the output of its course."""
        if run := self._runs.get(key):
            yield from kept(run.log, run.launch.log_limit_bytes, offset)

    def log_size(self, key: str) -> int:
        """Bytes written by it so far."""
        run = self._runs.get(key)
        return len(run.log) if run else 0

    def stop(self, key: str, *, grace_s: float) -> None:
        """End it now, or after `grace_s` seconds if its course ignores the polite way."""
        with self._lock:
            run = self._runs.get(key)
            if run is not None and not self._is_over(run):
                self._cut(run, self.clock.monotonic() - run.began_s, grace_s, ExitReason.STOPPED)

    def forget(self, key: str) -> None:
        """Drop an ended key."""
        with self._lock:
            run = self._runs.get(key)
            if run is not None and self._is_over(run):
                del self._runs[key]

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call `call(key)` from within `advance`, at the virtual time at which a key ends."""
        self._calls.append(call)

    def close(self) -> None:
        """Nothing to let go of."""

    def advance(self, seconds: float) -> None:
        """Move time forward, stopping at each ending on the way; what starts on the way may end on the way."""
        until_s = self.clock.monotonic() + seconds
        while (ended := self._next_end(until_s)) is not None:
            self.clock.advance(max(0.0, ended.ends_s - self.clock.monotonic()))
            for call in self._calls:
                call(ended.launch.key)
        self.clock.advance(max(0.0, until_s - self.clock.monotonic()))

    def fail(self, key: str, ending: Exit) -> None:
        """End a running key now, as told."""
        with self._lock:
            run = self._runs[key]
            if not self._is_over(run):
                self._end(run, self.clock.monotonic(), ending)

    def lose_node(self, name: str) -> None:
        """Take a machine away with all that runs on it."""
        with self._lock:
            del self._nodes[name]
            lost = Exit(reason=ExitReason.LOST, detail=f"Node {name} is gone.")
            for run in self._runs.values():
                if run.node == name and not self._is_over(run):
                    self._end(run, self.clock.monotonic(), lost)

    def add_node(self, node: NodeFacts) -> None:
        """Add a machine, or bring one back."""
        with self._lock:
            self._nodes[node.name] = node

    def _is_over(self, run: Run) -> bool:
        return run.ends_s <= self.clock.monotonic()

    def _cut(self, run: Run, after_s: float, grace_s: float, reason: ExitReason) -> None:
        """Let it be asked to end `after_s` seconds after its start, unless it ends before."""
        ends_s = run.began_s + after_s + (grace_s if run.course.ignores_stop else 0.0)
        if ends_s < run.ends_s:
            self._end(run, ends_s, Exit(reason=reason, signal=9 if run.course.ignores_stop else 15))

    def _end(self, run: Run, ends_s: float, ending: Exit) -> None:
        run.ends_s, run.exit = ends_s, ending
        heapq.heappush(self._ends, (ends_s, run.launch.key))

    def _next_end(self, until_s: float) -> Run | None:
        """The next run to tell of that ends by then."""
        with self._lock:
            while self._ends and self._ends[0][0] <= until_s:
                ends_s, key = heapq.heappop(self._ends)
                run = self._runs.get(key)
                if run is not None and run.ends_s == ends_s < inf and not run.is_told:
                    run.is_told = True
                    return run
        return None
