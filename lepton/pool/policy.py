"""Policies: in what order jobs go, and what is known of them. The first is ours; the others are for comparison.

Every constant of ours says in `docs/pool-policy.md` how it was chosen.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

ENDLESS = float("inf")


class Source(IntEnum):
    """What is known of how long a job will run."""

    NOTHING = 0
    HISTORY = 1
    """What has ended before: `kernel.predict`."""
    GIVEN = 2
    """Predictions that came with the trace."""
    TRUTH = 3
    """The run time itself. No scheduler knows it: for bounds only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One way to choose.

    A job's key is `age x submit + stretch x min(run time x devices^weight, longest)`, where the run time is the
    expected one, doubled while the job outruns it. The smallest key goes first.
    """

    about: str
    source: Source = Source.NOTHING
    is_certain: bool = False
    """Use expected run times from the first job on, whether they rank jobs better than chance or not."""
    age: float = 1.0
    stretch: float = 0.0
    weight: float = 0.0
    longest: float = ENDLESS
    growth: float = 2.0
    floor_s: float = 60.0
    """No job is expected to be shorter."""
    prior_s: float = 300.0
    """Expected of a job of which nothing is known."""
    quantile: float = 0.0
    """Of run times: what boosted trees are made to say, where there are any; 0: it goes by the means alone."""
    pull: float = 1.0
    """Endings that a coarser group counts for, where a finer one has seen few."""
    blocks: bool = False
    """The first job of a queue that does not fit lets nobody of its queue pass."""
    preempts: bool = False
    margin: float = 0.0
    """A running job is stopped only if its key is larger by more than this."""
    min_run_s: float = 0.0
    """No run is stopped before."""
    turn_s: float = 0.0
    """No run is stopped before for a smaller key alone."""
    grace_s: float = 0.0
    """What others have borrowed is taken back only by who has waited so long."""
    half_life_s: float = 0.0
    """Queues that borrow share by weight, and what they held so long ago counts half; 0: their shares do not count."""
    searches: int = 2**62
    """Jobs of one decision for which victims are looked for; the others' turn comes in the next."""
    rest_s: float = 0.0
    """For a class of jobs for which there were none, they are not looked for again before."""
    is_remaining: bool = False
    """What is already done counts off the run time."""
    wait_cap_s: float = ENDLESS
    """A job that has waited longer goes before all others and has its nodes kept free."""
    shared_cap_s: float = ENDLESS
    """The same where all queues share one pool, so that there is somewhere to go."""
    cap_factor: float = 0.0
    """Nobody has waited too long who has waited less than so many times what jobs wait lately."""
    is_wary: bool = False
    """Running jobs are stopped for a smaller key alone only while that pays: `hindsight`."""
    adapts: bool = False
    """Size counts for more while jobs wait for longer than they run: `kernel.pace`."""


class Way(NamedTuple):
    """What trials find out (`hindsight`)."""

    stops: bool
    """Jobs are stopped for smaller keys alone."""
    adapts: bool
    """Size counts for more while jobs wait long."""


def words(way: Way) -> str:
    """A way in few words."""
    stops, adapts = ("yes" if each else "no" for each in way)
    return f"stops by key: {stops}, size by wait: {adapts}"


OURS = Policy(
    about="expected run time with ageing, preemptive; learns from what has ended while it ranks better than chance",
    source=Source.HISTORY,
    stretch=1.0,
    floor_s=300.0,
    quantile=0.8,
    preempts=True,
    margin=300.0,
    turn_s=600.0,
    wait_cap_s=7 * 24 * 3600.0,
    shared_cap_s=7 * 24 * 3600.0,
    cap_factor=30.0,
    adapts=True,
    is_wary=True,
)
CALM = replace(OURS, stretch=20.0, floor_s=60.0, quantile=0.0, preempts=False)
"""Ours where nothing may be stopped: an order that cannot be mended later leans more on what is expected."""
LIVE = replace(
    OURS,
    margin=0.0,
    turn_s=0.0,
    min_run_s=60.0,
    grace_s=30.0,
    half_life_s=24 * 3600.0,
    searches=1,
    rest_s=5.0,
    shared_cap_s=12 * 3600.0,
    cap_factor=0.0,
)
"""Ours on a running server, where a start costs something, and queues that borrow come from people."""

POLICIES: dict[str, Policy] = {
    "lepton": OURS,
    "fifo": Policy(about="first come, first served; the first of a queue blocks it", blocks=True),
    "fifo-greedy": Policy(about="first come, first served; who does not fit is passed by"),
    "smallest": Policy(about="fewest devices first", age=0.0, stretch=1.0, weight=1.0, growth=1.0),
    "sjf": Policy(
        about="shortest job first, clairvoyant; the first of a queue blocks it",
        source=Source.TRUTH,
        is_certain=True,
        age=0.0,
        stretch=1.0,
        floor_s=0.0,
        blocks=True,
    ),
    "ssf": Policy(
        about="least run time x devices first, clairvoyant",
        source=Source.TRUTH,
        is_certain=True,
        age=0.0,
        stretch=1.0,
        weight=1.0,
        floor_s=0.0,
    ),
    "srtf": Policy(
        about="shortest remaining run time first, clairvoyant, preemptive",
        source=Source.TRUTH,
        is_certain=True,
        age=0.0,
        stretch=1.0,
        growth=1.0,
        floor_s=0.0,
        preempts=True,
        is_remaining=True,
    ),
    "qssf": Policy(
        about="least predicted run time x devices first (Hu et al. 2021); the first of a queue blocks it",
        source=Source.GIVEN,
        is_certain=True,
        age=0.0,
        stretch=1.0,
        weight=1.0,
        blocks=True,
    ),
    "las": Policy(
        about="least attained service first in doubling levels, preemptive", stretch=10.0, preempts=True, floor_s=300.0
    ),
    "tiresias": Policy(
        about="two levels by device-seconds used, first come first served in each, preemptive (Gu et al. 2019)",
        stretch=1e3,
        weight=1.0,
        prior_s=3600.0,
        longest=1e6,
        growth=1e6,
        preempts=True,
    ),
}


def policy(name: str, *, may_preempt: bool = True, has_predictions: bool = False) -> Policy:
    """A policy by its name.

    Args:
        may_preempt: False: the same order without stopping anything.
        has_predictions: ours takes run times that come with the trace instead of learning its own.
    """
    found = POLICIES[name]
    if not may_preempt:
        found = CALM if found is OURS else replace(found, preempts=False)
    if has_predictions and found.source is Source.HISTORY:
        found = replace(found, source=Source.GIVEN)
    return found
