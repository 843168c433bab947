"""Drift is found when it is there, and seldom when it is not: calibrated on the real digits."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.data.archive import read_archive
from lepton.data.checks import find_faults, is_test
from lepton.data.images import read_rows, to_table
from lepton.observe.drift import Verdict, compare, judge, stability_index
from lepton.vault.profile import Profile, features, histogram, profile

DIGITS = tuple("0123456789")
ROWS = 200


class Sampler:
    """Draws batches of held-out digits and judges them."""

    def __init__(self) -> None:
        path = Path(__file__).parents[3] / "examples" / "mnist-raw.tar.xz"
        members = read_archive(path, max_files=20_000, max_unpacked_bytes=1 << 28)
        table = to_table(read_rows(members, max_pixels=1000))
        good = table.take(np.flatnonzero(find_faults(table, classes=DIGITS, blank_range=8) == ""))
        held_out = is_test(good["image"], test_share=0.2, seed=0)
        label = good["label"].astype(np.int64)
        self.reference: Profile = profile(good["image"][~held_out], label[~held_out], 10)
        self.image, self.label = good["image"][held_out], label[held_out]

    def batch(self, seed: int, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.random.default_rng(seed).choice(len(self.image), rows, replace=False)
        return self.image[chosen], self.label[chosen]

    def judge(self, image: np.ndarray, label: np.ndarray) -> Verdict:
        return judge(self.reference, features(image), label, min_rows=100)


@pytest.fixture(scope="module")
def digits() -> Sampler:
    return Sampler()


def test_of_a_hundred_batches_like_the_training_rows_at_most_one_alarms(digits: Sampler) -> None:
    alarms = [seed for seed in range(100) if digits.judge(*digits.batch(seed)).is_drifted]
    assert len(alarms) <= 1


CHANGES = {
    "inverted": lambda image, rng: 255 - image,
    "rotated": lambda image, rng: np.rot90(image, axes=(1, 2)),
    "noisy": lambda image, rng: np.clip(image + rng.normal(0, 40, image.shape), 0, 255).astype(np.uint8),
    "dark": lambda image, rng: (image * 0.6).astype(np.uint8),
    "moved": lambda image, rng: np.roll(image, 3, axis=2),
    "upside down": lambda image, rng: image[:, ::-1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_changed_batch_alarms(digits: Sampler, change: str) -> None:
    for seed in range(20):
        image, label = digits.batch(seed)
        changed = np.ascontiguousarray(CHANGES[change](image, np.random.default_rng(seed)))
        assert digits.judge(changed, label).is_drifted, seed


def test_a_shift_of_the_classes_alone_alarms(digits: Sampler) -> None:
    image, label = digits.batch(0)
    verdict = digits.judge(image, np.where(label % 2 == 1, 0, label))
    assert verdict.is_drifted
    assert verdict.findings[0].feature == "predicted_class"


def test_a_small_sample_is_described_but_not_judged(digits: Sampler) -> None:
    image, label = digits.batch(0, rows=30)
    verdict = digits.judge(255 - image, label)
    assert verdict.score > 1
    assert not verdict.is_judged
    assert not verdict.is_drifted
    assert digits.judge(image[:0], label[:0]) == Verdict(rows=0, is_judged=False, findings=())


def test_the_index_is_zero_for_equal_shares_and_symmetric() -> None:
    first, second = np.array([100.0, 300, 600]), np.array([50.0, 50, 900])
    assert stability_index(first, first) == 0
    assert stability_index(first, second) == pytest.approx(stability_index(second, first))
    assert stability_index(np.array([100_000.0, 100_000]), np.array([150_000, 50_000])) == pytest.approx(
        0.2747, abs=1e-3
    )


def test_the_distance_is_the_largest_gap() -> None:
    finding = compare("f", np.array([0.5, 0.3, 0.2]), 1000, np.array([10, 30, 60]))
    assert finding.ks == pytest.approx(0.4)
    assert finding.ks_limit == pytest.approx(0.3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_a_histogram_counts_every_value_it_was_made_of(values: list[float]) -> None:
    item = histogram(np.array(values))
    assert sum(item.shares) == pytest.approx(1, abs=1e-6)
    assert (item.count(np.array([-1.0, 2.0]))[[0, -1]] == 1).all()
    np.testing.assert_allclose(item.count(np.array(values)) / len(values), item.shares, atol=1e-6)
    assert item.shares[0] == item.shares[-1] == 0
