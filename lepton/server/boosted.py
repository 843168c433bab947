"""Make boosted trees with LightGBM (the extra `pool`). Nothing here decides anything, and no server imports it.

It is a program too, so that a server's memory is its own: `python -m lepton.server.boosted` reads a lesson from
standard input and writes trees to standard output, both in numpy's archive format, and is gone.
"""

import io
import sys
from typing import Any

import lightgbm
import numpy as np

from lepton.pool.boosting import Lesson
from lepton.pool.kernel.trees import Trees
from lepton.server.apart import confine

ROUNDS = 50
SETTINGS: dict[str, Any] = {
    "objective": "quantile",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 60,
    "lambda_l2": 3.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbose": -1,
}


def fit(lesson: Lesson) -> Trees:
    """Trees that say a quantile of the logs of run times; equal lessons give equal trees."""
    data = lightgbm.Dataset(lesson.features, lesson.target)
    model = lightgbm.train({**SETTINGS, "alpha": lesson.quantile}, data, ROUNDS)
    return trees_of(model.dump_model()["tree_info"])


def trees_of(dumped: list[dict[str, Any]]) -> Trees:
    """Trees as arrays from what LightGBM says of its own."""
    rows: list[tuple[int, float, int, int]] = []
    roots = [_add(rows, tree["tree_structure"]) for tree in dumped]
    feature, threshold, left, right = zip(*rows, strict=True)
    ints = (np.array(each, np.int64) for each in (roots, feature, left, right))
    first, asks, lower, upper = ints
    return Trees(first, asks, np.array(threshold, np.float64), lower, upper)


def _add(rows: list[tuple[int, float, int, int]], node: dict[str, Any]) -> int:
    """Add a node and all below it; return its row."""
    at = len(rows)
    if "split_feature" not in node:
        rows.append((-1, float(node["leaf_value"]), -1, -1))
        return at
    rows.append((0, 0.0, 0, 0))
    left, right = _add(rows, node["left_child"]), _add(rows, node["right_child"])
    rows[at] = (int(node["split_feature"]), float(node["threshold"]), left, right)
    return at


def main() -> None:
    """A lesson in, trees out."""
    confine()
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    trees = fit(Lesson(given["features"], given["target"], float(given["quantile"])))
    made = io.BytesIO()
    np.savez(made, **trees._asdict())
    sys.stdout.buffer.write(made.getvalue())


if __name__ == "__main__":
    main()
