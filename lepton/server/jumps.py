"""Clocks are set: how much older all things look than they are, so that what deletes by age waits that much longer.

A clock that is set ahead makes everything look old, and once put right leaves times that lie in the future. These are
no times (`core.clock.believed`). The first is seen by the machine's own count of seconds: what the wall clock has moved
beside it is a *doubt*. A doubt is forgotten once `LONGEST_S` have passed for certain: no rule asks for more, so what
looks old enough then is. A machine that was off for a day at most is believed to have been.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lepton.core.clock import AHEAD_S, Clock, SystemClock, to_micros
from lepton.store import facts
from lepton.store.database import Database, Tx

log = logging.getLogger("lepton")
FACT = "clock"
LONGEST_S = 31 * 86_400
"""Longer than any rule waits before it deletes."""
OFF_S = 86_400
EVERY_S = 60
"""So often is noted what time it is."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
Doubts = tuple[tuple[int, int], ...]
"""How far the clock moved by itself, and what must pass before that counts no more; microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What time it was when somebody looked."""

    wall: int
    """Microseconds since 1970."""
    ticks: int
    """Microseconds since the machine started."""
    boot: str
    """Which start that was."""
    doubts: Doubts = ()


def step(before: Seen, now: Seen, *, longest_s: int = LONGEST_S) -> Seen:
    """What is known now. Pure.

    Args:
        longest_s: for so long a doubt counts; no rule waits longer.
    """
    gap = now.wall - before.wall
    is_same = now.boot == before.boot and now.ticks >= before.ticks
    passed = now.ticks - before.ticks if is_same else min(max(gap, 0), OFF_S * 1_000_000)
    moved = gap - passed
    doubts = tuple((size, left - passed) for size, left in before.doubts if left > passed)
    if moved > AHEAD_S * 1_000_000:
        doubts = (*doubts, (moved, longest_s * 1_000_000))
    elif moved < -AHEAD_S * 1_000_000:
        doubts = _set_back(doubts, -moved)
    return Seen(wall=now.wall, ticks=now.ticks, boot=now.boot, doubts=doubts)


def _set_back(doubts: Doubts, by: int) -> Doubts:
    """Without what the clock was set back by, the newest first."""
    left = list(doubts)
    while left and by > 0:
        size, until = left.pop()
        if size > by:
            left.append((size - by, until))
        by -= size
    return tuple(left)


class Jumps:
    """Looks at the clock whenever it is asked. Any thread may use it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def doubt_s(self) -> float:
        """How much older things may look than they are, in seconds."""
        now = look(self._clock)
        before = self._database.read(_read)
        known = step(before, now) if before else now
        is_noted = before is not None and before.doubts == known.doubts
        if before is None or not is_noted or abs(now.wall - before.wall) >= EVERY_S * 1_000_000:
            known = self._database.write(lambda tx: _note(tx, now))
        return _sum(known.doubts) / 1e6


def look(clock: Clock) -> Seen:
    """What time it is now, by both counts."""
    wall = to_micros(clock.now())
    if isinstance(clock, SystemClock):
        return Seen(wall=wall, ticks=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, boot=_boot())
    return Seen(wall=wall, ticks=int(clock.monotonic() * 1e6), boot=str(id(clock)))


def doubt_of(seen: Seen) -> int:
    """How much older things may look than they are, in microseconds."""
    return _sum(seen.doubts)


def to_text(seen: Seen) -> str:
    """For a note of it."""
    return json.dumps(asdict(seen))


def from_text(text: str) -> Seen:
    """What `to_text` wrote."""
    told = json.loads(text)
    return Seen(**{**told, "doubts": tuple((size, left) for size, left in told["doubts"])})


def _note(tx: Tx, now: Seen) -> Seen:
    before = _read(tx)
    known = step(before, now) if before else now
    moved = _sum(known.doubts) - _sum(before.doubts if before else ())
    if moved > 0:
        log.warning(
            "the clock has jumped ahead by %d s: what deletes by age waits that much longer", moved // 1_000_000
        )
    if before and now.wall < before.wall - AHEAD_S * 1_000_000:
        log.warning(
            "the clock was set back by %d s: what lies ahead counts as due", (before.wall - now.wall) // 1_000_000
        )
    facts.put(tx, FACT, to_text(known))
    return known


def _sum(doubts: Sequence[tuple[int, int]]) -> int:
    return sum(size for size, _ in doubts)


def _read(tx: Tx) -> Seen | None:
    text = facts.get(tx, FACT)
    return from_text(text) if text else None


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return "unknown"
