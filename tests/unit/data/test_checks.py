"""Each check finds what it must and nothing else; the split depends on content alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lepton.data.checks import find_faults, is_test
from lepton.vault.tables import Table

A, B, C = (np.random.default_rng(seed).integers(0, 255, (4, 4)).astype(np.uint8) for seed in (1, 2, 3))
BLANK = np.full((4, 4), 200, np.uint8)


def found(*rows: tuple[np.ndarray, str] | tuple[np.ndarray, str, str]) -> list[str]:
    table = Table(
        columns={
            "image": np.stack([row[0] for row in rows]),
            "label": np.array([row[1] for row in rows]),
            "fault": np.array([row[2] if len(row) > 2 else "" for row in rows]),
        }
    )
    return find_faults(table, classes=("0", "1"), blank_range=8).tolist()


def test_each_fault_is_found_by_its_check() -> None:
    assert found((A, "0"), (BLANK, "1"), (B, ""), (B, "2"), (C, "1", "broken")) == [
        "", "blank", "unlabelled", "unknown_label", "corrupt",
    ]  # fmt: skip


def test_of_equal_rows_the_first_stays() -> None:
    assert found((A, "0"), (B, "1"), (A, "0"), (A, "0")) == ["", "", "duplicate", "duplicate"]


def test_rows_that_contradict_each_other_all_go() -> None:
    assert found((A, "0"), (B, "1"), (A, "1"), (A, "0")) == ["conflict", "", "conflict", "conflict"]


def test_a_row_that_fails_another_check_makes_no_duplicate() -> None:
    assert found((A, ""), (A, "0"), (A, "9"), (BLANK, "0"), (BLANK, "1")) == [
        "unlabelled", "", "unknown_label", "blank", "blank",
    ]  # fmt: skip


@given(st.permutations(range(40)), st.integers(0, 5))
def test_an_image_keeps_its_side_in_any_company(order: list[int], seed: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 3, 3)).astype(np.uint8)
    sides = is_test(images, test_share=0.3, seed=seed)
    np.testing.assert_array_equal(is_test(images[order], test_share=0.3, seed=seed), sides[order])


def test_the_share_is_kept_and_the_seed_matters() -> None:
    images = np.random.default_rng(0).integers(0, 255, (4000, 3, 3)).astype(np.uint8)
    first, second = (is_test(images, test_share=0.2, seed=seed) for seed in (0, 1))
    assert 0.17 < first.mean() < 0.23
    assert (first != second).any()
