"""Has the input of a model drifted from what it was trained on? Pure: histograms in, a verdict out.

Each feature is compared in two ways: the population stability index (sum of (p - q) ln(p / q) over the bins, where 0.1
is small and 0.25 large by custom) and the Kolmogorov-Smirnov distance (largest gap between the two cumulative shares).
Both are larger by chance in a small sample, so both limits fall with its size:

    PSI limit = 0.2 + 2 (bins - 1) / rows        chance alone gives about (bins - 1) / rows
    KS limit  = 0.1 + 2 / sqrt(rows)             chance alone exceeds 1.95 / sqrt(rows) once in a thousand

A feature's score is the larger of index / limit; 1 or more is drift. Classes have no order, so only the index counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lepton.vault.profile import Profile, Values

CLASSES = "predicted_class"
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One feature beside its reference."""

    feature: str
    psi: float
    psi_limit: float
    ks: float
    """0 for classes."""
    ks_limit: float
    score: float
    """1 or more is drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a sample says as a whole: as much as its worst feature."""

    rows: int
    is_judged: bool
    """False when the sample is too small to say anything."""
    findings: tuple[Finding, ...]
    """Worst first."""

    @property
    def is_drifted(self) -> bool:
        """Whether some feature has drifted."""
        return self.is_judged and self.score >= 1

    @property
    def score(self) -> float:
        """Of the worst feature; 0 for an empty sample."""
        return self.findings[0].score if self.findings else 0.0


def judge(reference: Profile, features: Mapping[str, Values], class_N: Counts, *, min_rows: int) -> Verdict:
    """Compare a sample with the training rows.

    Args:
        reference: the profile that travels in the model.
        features: what `vault.profile.features` measured of the sample.
        class_N: the class that the model named for each row.
        min_rows: a smaller sample is not judged.
    """
    rows = len(class_N)
    if rows == 0:
        return Verdict(rows=0, is_judged=False, findings=())
    findings = [
        compare(name, np.array(item.shares), reference.rows, item.count(features[name]))
        for name, item in reference.features.items()
        if name in features
    ]
    named = np.bincount(class_N, minlength=len(reference.classes))
    findings.append(compare(CLASSES, np.array(reference.classes), reference.rows, named, has_order=False))
    worst_first = sorted(findings, key=lambda finding: (-finding.score, finding.feature))
    return Verdict(rows=rows, is_judged=rows >= min_rows, findings=tuple(worst_first))


def compare(feature: str, share_B: Values, reference_rows: int, count_B: Counts, *, has_order: bool = True) -> Finding:
    """One feature: the reference's shares of each bin against the sample's counts."""
    bins, rows = len(share_B), int(count_B.sum())
    psi = stability_index(share_B * reference_rows, count_B)
    gap_B = np.abs(np.cumsum(count_B) / rows - np.cumsum(share_B))
    ks = float(gap_B.max()) if has_order else 0.0
    psi_limit, ks_limit = 0.2 + 2 * (bins - 1) / rows, 0.1 + 2 / rows**0.5
    return Finding(
        feature=feature,
        psi=round(psi, 4),
        psi_limit=round(psi_limit, 4),
        ks=round(ks, 4),
        ks_limit=round(ks_limit, 4),
        score=round(max(psi / psi_limit, ks / ks_limit), 4),
    )


def stability_index(first_B: npt.NDArray[np.floating], second_B: npt.NDArray[np.generic]) -> float:
    """PSI of two counts over the same bins; half a row is added to each bin, so that an empty one is no infinity."""
    p_B, q_B = (
        (np.asarray(count, np.float64) + 0.5) / (count.sum() + 0.5 * len(count)) for count in (first_B, second_B)
    )
    return float(((p_B - q_B) * np.log(p_B / q_B)).sum())
