"""Regression trees as arrays: what was made of them elsewhere is read here, one job at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lepton.pool.kernel.compiled import compiled, shared
from lepton.pool.kernel.state import Floats, Ints


@shared
class Trees(NamedTuple):
    """A sum of trees over one row of features. A leaf has feature -1."""

    roots: Ints
    """(T,) first row of each tree in the others; none: nothing was made yet."""
    feature: Ints
    """(N,) which feature a row asks about,"""
    threshold: Floats
    """(N,) what it must not exceed to go left; of a leaf, its value"""
    left: Ints
    right: Ints


def no_trees() -> Trees:
    """Nothing made yet."""
    none = np.zeros(0, np.int64)
    return Trees(none, none, np.zeros(0), none, none)


@compiled
def grown_sum(trees: Trees, features: NDArray[np.float32]) -> float:
    """What the trees say of a row of features."""
    total = 0.0
    for root in trees.roots:
        row = root
        while trees.feature[row] >= 0:
            row = trees.left[row] if features[trees.feature[row]] <= trees.threshold[row] else trees.right[row]
        total += trees.threshold[row]
    return float(total)
