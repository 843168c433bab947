"""Let a forecast live through what happened before it was there: each thing in its turn, as it would have seen it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from lepton.pool.live.forecast import Forecast
from lepton.pool.live.layout import devices_of
from lepton.pool.live.views import Wants
from lepton.pool.waits import SHORT_S

WAITS = 1000
"""Waits that are gone through, the last ones: what is said of a queue and size comes from its last 50."""
COME, WAIT, START, END = 0, 1, 2, 3
"""In this order where they happen at the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bygone:
    """A job that has ended, or lives, as it is remembered. Times are seconds since 1970."""

    wants: Wants
    waited_s: float | None
    """From its submit until its first start, or until now if it still waits; None: that is not known, or says nothing
    about waiting, for it waited for other jobs.
    """
    has_started: bool
    ended_at: float | None
    """None: it lives."""
    ran_s: float | None
    """For how long it worked; None: it has not ended by itself."""


def recall(forecast: Forecast, bygones: Iterable[Bygone]) -> None:
    """Learn run times and waits from jobs, in the order in which things happened."""
    in_order = sorted(bygones, key=lambda each: each.wants.since_s)
    waited = [each for each in in_order if (each.waited_s or 0.0) >= SHORT_S]  # who starts sooner teaches nothing
    steps = [*_lives(in_order), *_waits(waited[-WAITS:])]
    for _, what, bygone in sorted(steps, key=itemgetter(0, 1)):
        _step(forecast, what, bygone)


def _lives(bygones: Iterable[Bygone]) -> Iterator[tuple[float, int, Bygone]]:
    for bygone in bygones:
        came_at = bygone.wants.since_s
        yield came_at, COME, bygone
        if bygone.ended_at is not None:
            yield max(came_at, bygone.ended_at), END, bygone


def _waits(bygones: Iterable[Bygone]) -> Iterator[tuple[float, int, Bygone]]:
    for bygone in bygones:
        yield bygone.wants.since_s, WAIT, bygone
        if bygone.has_started:
            yield bygone.wants.since_s + (bygone.waited_s or 0.0), START, bygone


def _step(forecast: Forecast, what: int, bygone: Bygone) -> None:
    wants, waits = bygone.wants, forecast.waits
    if what == COME:
        forecast.expect(wants)
    elif what == WAIT:
        waits.state(wants.job, wants.queue, sum(devices_of(each)[0] for each in wants.workers), wants.since_s)
    elif what == START:
        waits.started(wants.job, wants.since_s + (bygone.waited_s or 0.0))
    else:
        waits.gone(wants.job)
        if bygone.ran_s is None:
            forecast.forget(wants.job)
        else:
            forecast.learn(wants, bygone.ran_s, bygone.ended_at or 0.0)
