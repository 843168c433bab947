"""The learning loop: boosted trees for the pool's forecast are made anew, off the deciding path.

The fit is a process of its own that ends: what LightGBM needs of memory is never the server's. A server that stands by
learns too, so that it knows as much when it takes over.
"""

import io
from importlib.util import find_spec

import numpy as np

from lepton.core.errors import ConfigError
from lepton.pool.boosting import EVERY_S, Fit, Lesson
from lepton.pool.kernel.trees import Trees
from lepton.pool.live.views import Phase
from lepton.server.apart import Apart
from lepton.server.mirror import Mirror

SOON_S = 60.0
"""Between two looks until there is enough to learn from."""
PROGRAM = "lepton.server.boosted"


def fit_apart(apart: Apart) -> Fit:
    """A fit that a process of its own makes.

    Raises:
        EngineError: it has failed; the message says how.
    """

    def fit(lesson: Lesson) -> Trees:
        given = io.BytesIO()
        np.savez(given, features=lesson.features, target=lesson.target, quantile=lesson.quantile)
        made = np.load(io.BytesIO(apart.run(PROGRAM, given.getvalue())))
        return Trees(**{name: made[name] for name in Trees._fields})

    return fit


def check_installed() -> None:
    """Refuse to start where trees are wished for and cannot be made."""
    if find_spec("lightgbm") is None:
        raise ConfigError('learn = "boosted" needs LightGBM', fix="pip install 'lepton-platform[pool]'")


class Learning:
    """Makes trees of what a mirror has seen."""

    def __init__(self, mirror: Mirror, fit: Fit) -> None:
        self._mirror = mirror
        self._fit = fit

    def turn(self) -> float | None:
        """Judge the trees there are, and make new ones."""
        lesson = self._lesson()
        if lesson is None:
            return SOON_S
        trees = self._fit(lesson)
        with self._mirror.lock:
            self._mirror.live.forecast.take(trees)
        return EVERY_S

    def _lesson(self) -> Lesson | None:
        mirror = self._mirror
        with mirror.lock:
            now = mirror.now()
            running = {
                job: entry.truth.worked_s + max(0.0, now - entry.truth.began_s)
                for job, entry in mirror.live.jobs.items()
                if entry.truth.phase is Phase.HOLDS
            }
            past = mirror.live.forecast.past(running)
            return None if past is None else mirror.live.forecast.judge(past, now)
