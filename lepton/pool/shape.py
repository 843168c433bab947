"""What a job may ask of the pool at all, however idle it is, and the largest thing that would fit. Pure.

Nodes that are cordoned, drained or away count: they may come back. So a job is refused only if it could never run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from lepton.core.errors import InvalidError
from lepton.core.launch import Devices
from lepton.pool.quota import DEVICES, Amounts
from lepton.pool.standing import NodeState

ACCELERATORS = {"gpu_milli": "GPU", "tpu_milli": "TPU", "fpga_milli": "FPGA"}
"""Field of `Devices` -> its word."""
WORDS = {**ACCELERATORS, "cpu_milli": "CPU"}
WHOLE = 1000
ANY = 1 << 62
"""More than there can be."""
NOTHING = Devices(cpu_milli=0)
IS_DEVICE = tuple(found.name in ACCELERATORS for found in fields(Devices))
"""Of each of `Devices.amounts()`: whether it comes in devices, of which a worker gets a part or whole ones."""
MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Workers of a gang that ask for the same."""

    count: int = 1
    devices: Devices
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that their nodes must have."""


@dataclass(frozen=True, slots=True)
class Gang:
    """What a job asks for at once."""

    workers: tuple[Alike, ...]
    within: str = ""
    """A label of which all of its nodes must have the same value."""

    @property
    def size(self) -> int:
        """How many workers."""
        return sum(alike.count for alike in self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node, as large as it is when nobody uses it."""

    name: str
    total: Devices
    labels: Mapping[str, str] = field(default_factory=dict)
    state: str = NodeState.UP
    unused: tuple[str, ...] = ()
    """Accelerators that it has and does not give away: `unused_of`."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit that a job counts against: a queue's or a quota's."""

    of: str
    """In words: `queue 'ml'`."""
    limit: Amounts


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a job can never run, and what would."""

    why: str
    fix: str


def check_devices(devices: Devices) -> None:
    """Refuse what no worker can be given: two kinds of accelerator, or one and a half of one.

    Raises:
        InvalidError: it is such.
    """
    asked = {word: getattr(devices, name) for name, word in ACCELERATORS.items() if getattr(devices, name)}
    if len(asked) > 1:
        raise InvalidError(
            f"A worker asks for {' and '.join(f'{word}s' for word in asked)}",
            fix="Ask for one kind of accelerator for each worker.",
        )
    for word, milli in asked.items():
        if milli > WHOLE and milli % WHOLE:
            raise InvalidError(
                f"A worker asks for {milli / WHOLE:g} {word}s",
                fix=f"Ask for a part of one (below 1), or for whole {word}s.",
            )


def common_labels(workers: Iterable[Alike]) -> dict[str, str]:
    """The labels that all nodes of a job must have: what one kind of its workers asks for counts for all of them.

    Raises:
        InvalidError: two kinds ask for different values of one label, or for different kinds of accelerator.
    """
    labels: dict[str, str] = {}
    kinds: set[str] = set()
    for alike in workers:
        for name, value in alike.labels.items():
            if labels.setdefault(name, value) != value:
                raise InvalidError(
                    f"Workers of one job ask for nodes with {name}={labels[name]} and with {name}={value}",
                    fix="Ask for the same labels for all workers, or submit two jobs.",
                )
        kinds |= {word for name, word in ACCELERATORS.items() if getattr(alike.devices, name)}
    if len(kinds) > 1:
        raise InvalidError(
            f"Workers of one job ask for {' and '.join(f'{word}s' for word in sorted(kinds))}",
            fix="Ask for one kind of accelerator in each job.",
        )
    return labels


def given_of(total: Devices) -> Devices:
    """What a node gives away of what it has: of accelerators its first kind (GPU, TPU, FPGA), and whole ones."""
    kind = next((name for name in ACCELERATORS if getattr(total, name)), "")
    whole = {name: getattr(total, name) // WHOLE * WHOLE if name == kind else 0 for name in ACCELERATORS}
    return replace(total, **whole)


def unused_of(total: Devices) -> tuple[str, ...]:
    """The kinds of accelerator that a node has beside the one that it gives away."""
    return tuple(name for name in ACCELERATORS if getattr(total, name) >= WHOLE and not getattr(given_of(total), name))


def never_within(gang: Gang, bounds: Iterable[Bound]) -> Refusal | None:
    """Why the job alone is over a limit; None if it is over none."""
    asked = _sum(gang.workers)
    for bound in bounds:
        for device, limit in bound.limit.items():
            if getattr(asked, device) > limit:
                in_all = " in all" if gang.size > 1 else ""
                return Refusal(
                    f"it asks for {in_words(device, getattr(asked, device))}{in_all}, "
                    f"and {bound.of} may hold {in_words(device, limit)}",
                    f"{_within(gang, device, limit)}, or have the limit raised.",
                )
    return None


def _within(gang: Gang, device: str, limit: int) -> str:
    """What of a gang is not over a limit."""
    count = limit // getattr(gang.workers[0].devices, device) if len(gang.workers) == 1 else 0
    if count:
        return f"Ask for {count} such worker{'' if count == 1 else 's'} or fewer"
    return f"Ask for {in_words(device, limit)} or less in all"


def never_fits(gang: Gang, machines: Sequence[Machine]) -> Refusal | None:
    """Why the job could not run even if nobody else used the pool; None if it could.

    Of workers that ask for different things, fit kind by kind and in sum, it is believed that they fit together.
    """
    usable = [machine for machine in machines if gang.within in machine.labels] if gang.within else machines
    if not usable:
        return Refusal(f"no node has the label {gang.within}", "Name another label, or none.")
    for alike in gang.workers:
        if not any(_room(alike, machine) for machine in usable):
            return _no_worker(alike, gang.within, usable)
    groups = _groups(gang.within, usable)
    if any(_fits(gang.workers, group) for group in groups):
        return None
    return _too_many(gang, groups)


def fits_only_with(gang: Gang, machines: Sequence[Machine]) -> str:
    """In words: which nodes must be opened or come back before it can run; empty if it can without them."""
    is_up = [machine for machine in machines if machine.state == NodeState.UP]
    if len(is_up) == len(machines) or (is_up and never_fits(gang, is_up) is None) or never_fits(gang, machines):
        return ""
    away = [
        f"{machine.name} is {machine.state}"
        for machine in machines
        if machine.state != NodeState.UP and any(_room(alike, machine) for alike in gang.workers)
    ]
    more = f" and {len(away) - MOST_NAMED} more are not open" if len(away) > MOST_NAMED else ""
    return f"it fits only with nodes that are not open now: {', '.join(away[:MOST_NAMED])}{more}"


def _groups(within: str, machines: Sequence[Machine]) -> list[list[Machine]]:
    """The nodes among which one gang must stay: those with the same value of a label."""
    if not within:
        return [list(machines)]
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        found.setdefault(machine.labels.get(within, ""), []).append(machine)
    return list(found.values())


def _fits(workers: Sequence[Alike], machines: Sequence[Machine]) -> bool:
    """Whether each kind of worker fits there, and all in sum."""
    if not all(_has_room(alike, machines) for alike in workers):
        return False
    return len(workers) == 1 or _sum(workers).fits_in(_total(machines))


def _has_room(alike: Alike, machines: Iterable[Machine]) -> bool:
    """Whether all of these workers fit there, if nobody else is there. Looks no further than it must."""
    left = alike.count
    for machine in machines:
        left -= _room(alike, machine)
        if left <= 0:
            return True
    return False


def _all_room(alike: Alike, machines: Iterable[Machine]) -> int:
    return sum(_room(alike, machine) for machine in machines)


def _room(alike: Alike, machine: Machine) -> int:
    """How many of its workers an empty node holds, up to all of them."""
    if not _has(machine, alike.labels):
        return 0
    return min(alike.count, *map(slots, alike.devices.amounts(), machine.total.amounts(), IS_DEVICE))


def slots(need: int, total: int, is_device: bool) -> int:
    """How often `need` thousandths are in `total`; a part of a device is never of two of them."""
    if not need:
        return ANY
    if not is_device:
        return total // need
    return total // WHOLE * (WHOLE // need) if need < WHOLE else total // WHOLE // -(-need // WHOLE)


def _has(machine: Machine, labels: Mapping[str, str]) -> bool:
    return all(machine.labels.get(name) == value for name, value in labels.items())


def _no_worker(alike: Alike, within: str, machines: Sequence[Machine]) -> Refusal:
    """Why not even one of these workers fits anywhere."""
    usable = [machine for machine in machines if _has(machine, alike.labels)]
    if not usable:
        return _no_label(alike.labels, machines)
    device = next((device for device in ACCELERATORS if getattr(alike.devices, device)), "")
    if device and not any(getattr(machine.total, device) for machine in usable):
        beside = next((machine for machine in usable if device in machine.unused), None)
        if beside:
            given = next(WORDS[name] for name in ACCELERATORS if getattr(beside.total, name))
            return Refusal(
                f"{beside.name} has {WORDS[device]}s beside {given}s, and a node gives away one kind of device",
                f"Ask for no {WORDS[device]}s, or add a node that has only those.",
            )
        that = " with these labels" if alike.labels else ""
        return Refusal(f"no node{that} has {WORDS[device]}s", f"Ask for no {WORDS[device]}s, or add a node.")
    best = min(usable, key=lambda machine: (*_worth(_least(alike.devices, machine.total)), machine.name))
    most = _least(alike.devices, best.total)
    smaller = replace(alike, devices=most, count=ANY)
    count = max(_all_room(smaller, group) for group in _groups(within, usable))
    state = "" if best.state == NodeState.UP else f", which is {best.state}"
    return Refusal(
        f"a worker needs {show(alike.devices)}; the largest that fits is {show(most)}, on {best.name}{state}",
        f"Ask for {show(most)} or less for each worker; at most {count} such run at once.",
    )


def _no_label(labels: Mapping[str, str], machines: Sequence[Machine]) -> Refusal:
    """Which labels no node has, or not together."""
    for name, value in labels.items():
        known = sorted({machine.labels[name] for machine in machines if name in machine.labels})
        if value not in known:
            there = f"; there are {', '.join(known[:MOST_NAMED])}" if known else ""
            return Refusal(f"no node has the label {name}={value}{there}", "Ask for labels that a node has.")
    together = ", ".join(f"{name}={value}" for name, value in labels.items())
    return Refusal(f"no node has all of the labels {together}", "Ask for labels that one node has.")


def _too_many(gang: Gang, groups: Sequence[Sequence[Machine]]) -> Refusal:
    """Why workers that fit one by one do not fit all at once."""
    place = f" with the same {gang.within}" if gang.within else ""
    for alike in gang.workers:
        most = max(_all_room(alike, group) for group in groups)
        if most < alike.count:
            return Refusal(
                f"it asks for {alike.count} workers of {show(alike.devices)}; {most} such fit at once on nodes{place}",
                f"Ask for {most} workers or fewer, or for less for each.",
            )
    most_of_all = show(min((_total(group) for group in groups), key=_worth))
    return Refusal(
        f"its {gang.size} workers need {show(_sum(gang.workers))} together; nodes{place} have {most_of_all}",
        "Ask for fewer workers, or for less for each.",
    )


def _sum(workers: Iterable[Alike]) -> Devices:
    """What all workers need together."""
    amounts = [[amount * alike.count for amount in alike.devices.amounts()] for alike in workers]
    return Devices.of(map(sum, zip(*amounts, strict=True)))


def _total(machines: Iterable[Machine]) -> Devices:
    return sum((machine.total for machine in machines), NOTHING)


def _least(need: Devices, total: Devices) -> Devices:
    """What of a need there is."""
    return Devices.of(map(min, need.amounts(), total.amounts()))


def _worth(amount: Devices) -> tuple[int, int, int]:
    """Sorts the larger first: accelerators, then CPUs, then memory."""
    accelerators = sum(getattr(amount, device) for device in ACCELERATORS)
    return -accelerators, -amount.cpu_milli, -amount.memory_bytes


def show(amount: Devices) -> str:
    """An amount in words: `1 GPU, 2 CPUs, 4.0 GiB`."""
    parts = [in_words(device, getattr(amount, device)) for device in DEVICES if getattr(amount, device)]
    return ", ".join(parts) or "nothing"


def in_words(device: str, amount: int) -> str:
    """An amount of one device: `2 GPUs`, `0.5 GPU`, `4.0 GiB`."""
    if device == "memory_bytes":
        return f"{amount / 2**30:.1f} GiB"
    return f"{amount / WHOLE:g} {WORDS[device]}{'' if 0 < amount <= WHOLE else 's'}"
