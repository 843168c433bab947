"""How long jobs may run still, drawn several times over: from time limits and from what like jobs took.

A job of which nothing is known may end at once or never: who asks when another starts is told both.
"""

from math import erf, inf, log1p, sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lepton.pool.kernel.predict import LONGEST_LOG
from lepton.pool.live.forecast import Forecast, Likely
from lepton.pool.live.views import Wants

DRAWS = 20
"""Futures that are drawn: quantiles of each run time, in an order of its own for each job."""
OUTRUN = 0.999
"""One that has run longer than so many like jobs is not like them: it runs as long again, at most."""
SURE = 0.7
"""Spread up to which like jobs say well how long another runs: 8 in 10 within a factor of two and a half."""
Times = NDArray[np.float64]
"""(DRAWS,) seconds or moments."""

_LEVELS = (np.arange(DRAWS) + 0.5) / DRAWS
_ORDERS = np.random.default_rng(0).permuted(np.tile(_LEVELS, (64, 1)), axis=1)
_Z = np.linspace(-4.0, 4.0, 161)
_P = np.array([0.5 * (1.0 + erf(z / sqrt(2.0))) for z in _Z])


class Runs:
    """Draws run times; what like jobs took is looked up once for all that are alike."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast
        self._known: dict[tuple[object, ...], Likely | None] = {}
        self.is_sure = True
        """Whether all that was drawn is known well; else what others have waited says more."""

    def left(self, wants: Wants, done_s: float, ran_s: float) -> tuple[Times, Times]:
        """Seconds that a job still runs, at the least and at the most that is known.

        Args:
            done_s: work that it has done.
            ran_s: for how long its present run has lasted, which its time limit bounds.
        """
        likely = self._likely(wants)
        level = _ORDERS[crc32(wants.job.encode()) % len(_ORDERS)]
        rest_s = max(0.0, wants.limit_s - ran_s) if wants.limit_s else inf
        self.is_sure = self.is_sure and likely is not None and likely.spread <= SURE
        if likely is not None:
            found = np.minimum(_left(likely, done_s, level), rest_s)
            return found, found
        if rest_s < inf:
            return level * rest_s, level * rest_s
        return np.full(DRAWS, inf if wants.is_endless else 0.0), np.full(DRAWS, inf)

    def _likely(self, wants: Wants) -> Likely | None:
        if wants.is_endless:
            return None
        key = (wants.program, wants.user, wants.queue, wants.workers)
        if key not in self._known:
            self._known[key] = self._forecast.likely(wants)
        return self._known[key]


def _left(likely: Likely, done_s: float, level: Times) -> Times:
    """What is left of a run of which so much is done, at some quantiles."""
    passed = float(np.interp((log1p(done_s) - likely.mean) / likely.spread, _Z, _P)) if done_s > 0.0 else 0.0
    if passed > OUTRUN:
        return level * done_s
    z = np.interp(passed + (1.0 - passed) * level, _P, _Z)
    return np.asarray(np.maximum(0.0, np.expm1(np.minimum(likely.mean + likely.spread * z, LONGEST_LOG)) - done_s))
