"""Why a job waits: reasons that programs can read, and sentences for people. Asking decides nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence

from lepton.core.launch import Devices
from lepton.pool.kernel import accounts
from lepton.pool.kernel.state import ENDLESS, RUNNING
from lepton.pool.live.ahead import fits_by_runs
from lepton.pool.live.entry import Entry
from lepton.pool.live.layout import AMOUNTS, milli_of
from lepton.pool.live.pool import LivePool
from lepton.pool.live.room import Free, alike, fitting, kinds_of
from lepton.pool.live.room import in_words as needs
from lepton.pool.live.tables import COLUMN
from lepton.pool.live.trial import fits_beside, fits_now
from lepton.pool.live.turn import before
from lepton.pool.live.views import Phase, Reason, Wants
from lepton.pool.shape import NOTHING, Alike, Gang, Machine, fits_only_with, in_words, never_fits, show
from lepton.pool.standing import NodeState

CODES = ("dependency", "pause", "promised", "quota", "reserved", "node_state", "topology", "shape", "turn")
"""Every `Reason.code`."""
HELD_BACK = (NodeState.CORDONED, NodeState.DRAINING)
"""States of nodes that are there and take no work, because somebody wishes so."""
MOST_NODES = 100
"""Named in the facts of a reservation."""


def reasons(live: LivePool, job: str, now: float) -> list[Reason]:
    """Why a job waits, the most important first; empty if it does not, or is not known."""
    entry = live.jobs.get(job)
    if entry is None or entry.truth.phase is Phase.HOLDS:
        return []
    if entry.truth.phase is Phase.PAUSED:
        return [_pause(entry, now)]
    if live.seats.tables.pool.jobs[entry.slot].state == RUNNING:
        return [_promised(live, entry)]
    found = [*_quota(live, entry), *_reserved(live, entry, now)]
    return found + list(_room(live, entry, now, is_kept_out=bool(found)))


def _pause(entry: Entry, now: float) -> Reason:
    left_s = max(0.0, entry.truth.due_s - now)
    return Reason(
        code="pause", words=f"it pauses for {left_s:.0f} s before its next start", facts={"left_s": round(left_s, 1)}
    )


def _promised(live: LivePool, entry: Entry) -> Reason:
    """Its places are chosen; somebody still has to leave them."""
    nodes = sorted({spot.node for spot in live.seats.spots(entry)})
    leaving = sorted(
        other.wants.job
        for other in live.jobs.values()
        if other.holds and live.is_leaving(other) and any(place.node in nodes for place in other.truth.places)
    )
    whom = f" once {shorten(leaving)} {'has' if len(leaving) == 1 else 'have'} stopped" if leaving else " now"
    return Reason(
        code="promised", words=f"it starts on {shorten(nodes)}{whom}", facts={"nodes": nodes, "waits_for": leaving}
    )


def _quota(live: LivePool, entry: Entry) -> Iterator[Reason]:
    """The limit that it would exceed."""
    assert entry.klass is not None
    pool = live.seats.tables.pool
    at = accounts.keeps_out(pool, entry.klass.index)
    if at < 0:
        return
    kind, name = next(account for account, row in live.seats.tables.accounts.items() if row == at)
    need, used, limit = pool.need[entry.klass.index], pool.used[at], pool.limit[at]
    each = next(i for i in range(AMOUNTS) if need[i] and used[i] + need[i] > limit[i])
    device = next(device for device, column in COLUMN.items() if column == each)
    promised = _promised_of(live, (kind, name), each)
    amounts = {"held": int(used[each]) - promised, "limit": int(limit[each]), "asked": int(need[each])}
    facts = {"of": kind, "name": name, "device": device, "promised": promised, **amounts}
    held, most, asked = (in_words(device, amount) for amount in amounts.values())
    more = f", is promised {in_words(device, promised)}" if promised else ""
    yield Reason(code="quota", words=f"{kind} {name} holds {held} of {most}{more} and it needs {asked}", facts=facts)


def _promised_of(live: LivePool, account: tuple[str, str], column: int) -> int:
    """What of a counted amount an account does not hold yet, and was promised."""
    pool, tables = live.seats.tables.pool, live.seats.tables
    classes = [
        each.klass.index
        for each in live.jobs.values()
        if each.is_promised and each.klass is not None and account in tables.accounts_of(each.wants)
    ]
    return int(sum(pool.need[klass, column] for klass in classes))


def _reserved(live: LivePool, entry: Entry, now: float) -> Iterator[Reason]:
    """Nodes that are kept for it, or for another, which has waited too long."""
    assert entry.klass is not None
    pool = live.seats.tables.pool
    row = pool.classes[entry.klass.index]
    kept = [cell for at in pool.lists[row.cells : row.cells_end] if (cell := pool.cells[at]).held_for >= 0]
    if not kept:
        return
    long = f"has waited longer than {live.policy.shared_cap_s:g} s"
    until = _until(live, live.jobs[live.seats.job_at(int(kept[0].held_for))], now)
    if any(cell.held_for == entry.slot for cell in kept):
        nodes = [live.seats.layout.machines[at].name for at in kept_nodes(live, entry)]
        yield Reason(
            code="reserved",
            words=f"it {long}: what becomes free on {shorten(nodes)} is kept for it{_soon(until, now, ', and it')}",
            facts={"for": entry.wants.job, "until": until if until < ENDLESS else None, "nodes": nodes[:MOST_NODES]},
        )
    elif fits_now(live.seats, entry, now) and not fits_beside(live.seats, entry, live.clock.own(now)):
        other = live.seats.job_at(int(kept[0].held_for))
        yield Reason(
            code="reserved",
            words=f"devices are held for {other}, which {long}{_soon(until, now)}",
            facts={"for": other, "until": until if until < ENDLESS else None},
        )


def kept_nodes(live: LivePool, entry: Entry) -> list[int]:
    """The nodes that are kept for a job, as the arrays number them."""
    workers = live.seats.tables.pool.workers
    return sorted({int(workers[row].kept) for row in live.seats.places(entry)})


def _until(live: LivePool, holder: Entry, now: float) -> float:
    """When one for which nodes are kept should fit: as like jobs ran, or else by the caution with which it is decided
    who may start there meanwhile.
    """
    by_runs = fits_by_runs(live, holder, kept_nodes(live, holder), now)
    return live.clock.wall(
        float(live.seats.tables.pool.jobs[holder.slot].reserved) if by_runs is None else by_runs[0][1]
    )


def _soon(until: float, now: float, words: str = " and") -> str:
    return f"{words} should fit in {until - now:.0f} s" if now < until < ENDLESS else ""


def _room(live: LivePool, entry: Entry, now: float, *, is_kept_out: bool) -> Iterator[Reason]:
    """What is free is not enough, or not where it should be.

    Args:
        is_kept_out: something else keeps it waiting, so that it need not be said that there is room.
    """
    wants, kinds = entry.wants, kinds_of(entry.wants)
    usable = [live.seats.layout.cells[at] for at in live.seats.layout.cells_for(wants)[0]]
    machines = [live.seats.layout.machines[at] for cell in usable for at in range(cell.start, cell.end)]
    up = [each for each in machines if each.state == NodeState.UP]
    if never := never_fits(_gang(wants), live.seats.layout.machines):
        yield Reason(
            code="shape", words=f"it can never run as the nodes are now: {never.why}", facts={"fix": never.fix}
        )
        return
    away = fits_only_with(_gang(wants), machines)
    if away:
        facts: dict[str, object] = {"nodes": {each.name: each.state for each in machines if each.state != NodeState.UP}}
        yield Reason(code="node_state", words=f"it needs {needs(kinds)}; {away}", facts={**facts, "only": True})
        return
    free = live.seats.frees(live.seats.open_ones(each.name for each in up))
    most = max((each.most for each in alike(free)), key=_size, default=None)
    fit = fitting(kinds, free)
    if fit < len(wants.workers):
        yield _shape(live, entry, fit, most, now)
        yield from _shut(live, entry, machines, free)
    elif is_kept_out:
        return
    elif fits_now(live.seats, entry, now):
        yield _turn(before(live, entry, now))
    elif wants.within:
        words = f"it needs {needs(kinds)} within one {wants.within}, and none has so much free"
        yield Reason(code="topology", words=words, facts={"within": wants.within, "fit_anywhere": fit})
    else:
        yield _shape(live, entry, fit, most, now)


def _shut(live: LivePool, entry: Entry, machines: Sequence[Machine], free: Sequence[Free]) -> Iterator[Reason]:
    """Nodes that take no work now, and have room with which it would fit at once."""
    kinds, count = kinds_of(entry.wants), len(entry.wants.workers)
    shut = [each for each in machines if each.state in HELD_BACK]
    rooms = dict(zip((each.name for each in shut), live.seats.frees(each.name for each in shut), strict=True))
    useful = {each.name: each.state for each in shut if fitting(kinds, [rooms[each.name]])}
    if useful and fitting(kinds, [*free, *(rooms[name] for name in useful)]) >= count:
        words = shorten([f"{name} is {state}" for name, state in sorted(useful.items())])
        words = f"it would fit with room on nodes that take no work: {words}"
        yield Reason(code="node_state", words=words, facts={"nodes": useful, "only": False})


def _turn(first: int) -> Reason:
    """It fits; who goes before it may still take its place."""
    others = f"; {_jobs_go(first)} before it" if first else ", and it starts in a moment"
    return Reason(code="turn", words=f"there is room for it{others}", facts={"before_it": first})


def _jobs_go(count: int) -> str:
    return f"{count} waiting {'jobs go' if count > 1 else 'job goes'}"


def _shape(live: LivePool, entry: Entry, fit: int, most: Devices | None, now: float) -> Reason:
    """Not enough is free, or not in pieces that large."""
    kinds, others = kinds_of(entry.wants), before(live, entry, now)
    there = "no node that it may use is up" if most is None else f"the most that one node has free is {_shown(most)}"
    if fit >= len(entry.wants.workers):
        there = "so much is free, but not where it may go together"
    first = f"; {_jobs_go(others)} before it" if others else ""
    return Reason(
        code="shape",
        words=f"needs {needs(kinds)}; {there}{first}",
        facts={
            "fit_now": fit,
            "needed": len(entry.wants.workers),
            "needs": [{"role": kind.role, "count": kind.count, "each": kind.need.amounts()} for kind in kinds],
            "most_free": (most or NOTHING).amounts(),
            "before_it": others,
        },
    )


def _gang(wants: Wants) -> Gang:
    """What a job asks for, equal workers together."""
    counts, labels = Counter(wants.workers), dict(wants.labels)
    alike = (Alike(count=count, devices=devices, labels=labels) for devices, count in counts.items())
    return Gang(tuple(alike), wants.within)


def _shown(most: Devices) -> str:
    if most.cpu_milli:
        return show(most)
    none = in_words("cpu_milli", 0)  # what is not there matters most
    return f"{none}, {show(most)}" if any(most.amounts()) else none


def _size(amount: Devices) -> tuple[int, int]:
    return sum(milli_of(amount).values()), amount.cpu_milli


def shorten(names: Sequence[str]) -> str:
    """A few names in words."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
