"""`lepton pool replay` of a list of pods: how many devices stay unused when machines are filled with fractions."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from lepton.cli.output import Session
from lepton.core.errors import InvalidError

if TYPE_CHECKING:
    from lepton.pool.fill import Filled


MOST_SEEDS = 1000


def seeds_of(text: str) -> list[int]:
    """Seeds from `42`, `42-51` or `1,2,7`."""
    try:
        found: list[int] = []
        for part in text.split(","):
            low, _, high = part.partition("-")
            seeds = range(int(low), int(high or low) + 1)
            found += seeds[: MOST_SEEDS + 1]
    except (ValueError, OverflowError):
        found = []
    if not 1 <= len(found) <= MOST_SEEDS:
        raise InvalidError(f"{text[:80]!r} names no seeds", fix="Give --seeds like 42-51 or 1,2,7.")
    return found


def show(session: Session, filled: dict[str, list["Filled"]], faults: Sequence[str]) -> None:
    """Print the figures of each policy."""
    raw: dict[str, Any] = {
        name: {
            "mean_unallocated": fmean(1 - each.given for each in runs),
            "runs": [
                {"seed": each.seed, "arrived": each.asked, "allocated": each.given, "unallocated": 1 - each.given}
                for each in runs
            ],
        }
        for name, runs in filled.items()
    }
    for fault in faults:
        click.echo(f"left out: {fault}", err=True)
    rows = [
        {
            "policy": name,
            "runs": str(len(found["runs"])),
            "unallocated GPUs": f"{100 * found['mean_unallocated']:.2f} %",
            "least": f"{100 * min(run['unallocated'] for run in found['runs']):.2f} %",
            "most": f"{100 * max(run['unallocated'] for run in found['runs']):.2f} %",
        }
        for name, found in raw.items()
    ]
    session.table(rows, {"left_out": list(faults), "policies": raw})
