"""What is wrong with the rows of a dataset, and on which side of the split the good ones lie. Pure."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from lepton.vault.tables import Table

CHECKS = ("corrupt", "blank", "unlabelled", "unknown_label", "duplicate", "conflict")
"""In order; a row is charged with the first that finds it.

corrupt: no image could be decoded · blank: no ink · unlabelled: no label · unknown_label: a label outside the classes ·
duplicate: the same pixels and label as an earlier row · conflict: the same pixels as a row with another label."""

Names = npt.NDArray[np.str_]


def find_faults(table: Table, *, classes: Sequence[str], blank_range: int) -> Names:
    """The check that finds each row, shape (N,); empty text for a good row.

    Duplicates are sought among the rows that pass every other check. Of equal rows the first is good; rows that are
    equal but for their label are all faulty, since nobody knows which label is right.
    """
    image_NP = table["image"].reshape(table.rows, -1)
    found = np.full(table.rows, "", dtype=f"<U{max(map(len, CHECKS))}")
    is_blank = np.zeros(table.rows, bool)
    if table.rows:
        is_blank = np.ptp(image_NP, axis=1) <= blank_range
    passed = np.ones(table.rows, bool)
    for check, is_hit in (
        ("corrupt", table["fault"] != ""),
        ("blank", is_blank),
        ("unlabelled", table["label"] == ""),
        ("unknown_label", ~np.isin(table["label"], classes)),
    ):
        found[passed & is_hit] = check
        passed &= ~is_hit
    for rows in _equal_rows(image_NP, np.flatnonzero(passed)):
        labels = set(table["label"][rows].tolist())
        found[rows if len(labels) > 1 else rows[1:]] = "conflict" if len(labels) > 1 else "duplicate"
    return found


def _equal_rows(image_NP: npt.NDArray[np.uint8], rows: npt.NDArray[np.intp]) -> list[list[int]]:
    """Groups of two or more rows with the same pixels, each in order."""
    groups: dict[bytes, list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(sha256(image_NP[row].tobytes()).digest(), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def is_test(image_NHW: npt.NDArray[np.uint8], *, test_share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Whether each image is held out for testing, shape (N,).

    Only its pixels and the seed decide, so an image stays on its side in every later version of the dataset.
    """
    salt = sha256(f"split:{seed}:".encode())
    drawn = []
    for image in image_NHW:
        digest = salt.copy()
        digest.update(image.tobytes())
        drawn.append(int.from_bytes(digest.digest()[:8], "big") / 2**64)
    return np.array(drawn, dtype=np.float64) < test_share
