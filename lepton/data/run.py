"""The jobs of station 1: `ingest` reads a raw file, `clean` checks a dataset and sets faulty rows apart."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lepton.core.artifact import manifest_digest
from lepton.core.context import Context
from lepton.core.errors import InvalidError
from lepton.data.archive import read_archive
from lepton.data.checks import CHECKS, Names, find_faults, is_test
from lepton.data.images import read_rows, to_table
from lepton.data.spec import CleanSpec, IngestSpec
from lepton.vault.folder import describe
from lepton.vault.profile import profile
from lepton.vault.recipe import Recipe, fit_pixels
from lepton.vault.tables import Table, read_table, write_table


def ingest(context: Context) -> None:
    """Read the one file of input `raw`; publish the dataset, faulty rows and all.

    Raises:
        InvalidError: there is not exactly one file, or it cannot be read; the message names it.
        TooLargeError: it unpacks to more than the spec allows.
    """
    spec = IngestSpec.from_json(context.params)
    path = _only_file(context.input("raw"))
    context.progress(0.0, f"reading {path.name}")
    members = read_archive(path, max_files=spec.max_files, max_unpacked_bytes=spec.max_unpacked_bytes)
    table = to_table(read_rows(members, max_pixels=spec.max_pixels))
    folder = context.folder / "ingested"
    write_table(folder, table)
    _, height, width = table["image"].shape
    meta = {
        "rows": table.rows,
        "faulty": int((table["fault"] != "").sum()),
        "labelled": int((table["label"] != "").sum()),
        "height": height,
        "width": width,
        "file": path.name,
    }
    context.publish(kind="dataset", name=spec.name, folder=folder, meta=meta)
    context.metrics(0, rows=table.rows, faulty=meta["faulty"])
    context.progress(1.0, f"{table.rows} rows")


def clean(context: Context) -> None:
    """Check input `dataset`; publish the clean dataset, the quarantine, and a report of what was found.

    Raises:
        InvalidError: too few good rows are left to train and to test on.
    """
    spec = CleanSpec.from_json(context.params)
    source = context.input("dataset")
    table = read_table(source)
    context.progress(0.0, f"checking {table.rows} rows")
    check_N = find_faults(table, classes=spec.classes, blank_range=spec.blank_range)
    good = split_rows(table, check_N, spec)
    meta = {"rows_in": table.rows, "rows_out": good.rows} | {
        f"{name}_rows": end - first for name, (first, end) in good.splits.items()
    }
    counts = {check: int((check_N == check).sum()) for check in CHECKS}
    _publish_dataset(context, spec, good, manifest_digest(describe(source)), meta)
    _publish_quarantine(context, spec, table, check_N, counts)
    _publish_report(context, spec, quality(table, check_N, good, spec.classes), {**meta, **counts})
    context.metrics(0, rows_in=table.rows, rows_out=good.rows, **counts)
    context.progress(1.0, f"{good.rows} of {table.rows} rows are clean")


def split_rows(table: Table, check_N: Names, spec: CleanSpec) -> Table:
    """The good rows, those to train on first: columns image, label (place in the classes) and source."""
    good = table.take(np.flatnonzero(check_N == ""))
    is_test_N = is_test(good["image"], test_share=spec.test_share, seed=spec.seed)
    train = int((~is_test_N).sum())
    if not 0 < train < good.rows:
        raise InvalidError(
            f"Of {table.rows} rows {train} are left to train on and {good.rows - train} to test on",
            fix="Look at the labels and `classes`; give more rows, or another test_share.",
        )
    place = {label: number for number, label in enumerate(spec.classes)}
    order = np.argsort(is_test_N, kind="stable")
    label_N = np.array([place[label] for label in good["label"][order].tolist()], np.int32)
    columns = {"image": good["image"][order], "label": label_N, "source": good["source"][order]}
    return Table(columns=columns, splits={"train": (0, train), "test": (train, good.rows)})


def quality(table: Table, check_N: Names, good: Table, classes: tuple[str, ...]) -> dict[str, Any]:
    """The quality report: counts, class shares of each split, and every faulty row with its reason."""
    bad = np.flatnonzero(check_N != "").tolist()
    findings = [
        {
            "source": str(table["source"][row]),
            "check": str(check_N[row]),
            "label": str(table["label"][row]),
            "detail": str(table["fault"][row]),
        }
        for row in bad
    ]
    shares = {}
    for name in good.splits:
        count = Counter(good.split(name)["label"].tolist())
        shares[name] = {label: count[number] for number, label in enumerate(classes)}
    counts = Counter(finding["check"] for finding in findings)
    return {
        "format": 1,
        "rows_in": table.rows,
        "rows_out": good.rows,
        "checks": {check: counts[check] for check in CHECKS},
        "classes": shares,
        "findings": findings,
    }


def _publish_dataset(context: Context, spec: CleanSpec, good: Table, digest: str, meta: dict[str, Any]) -> None:
    """The clean rows, with the recipe and the reference profile fitted on those to train on."""
    folder = context.folder / "clean"
    train = good.split("train")
    mean, std = fit_pixels(train["image"])
    _, height, width = good["image"].shape
    write_table(folder, good)
    Recipe(
        height=height,
        width=width,
        classes=spec.classes,
        mean=mean,
        std=std,
        rows_in=meta["rows_in"],
        rows_out=good.rows,
        source_digest=digest,
    ).save(folder)
    profile(train["image"], train["label"], len(spec.classes)).save(folder)
    facts = {**meta, "rows": good.rows, "classes": list(spec.classes), "mean": mean, "std": std}
    context.publish(kind="dataset", name=spec.name, folder=folder, meta=facts)


def _publish_quarantine(
    context: Context, spec: CleanSpec, table: Table, check_N: Names, counts: dict[str, int]
) -> None:
    """The faulty rows as they came, with the check that found each."""
    folder = context.folder / "quarantine"
    rows = np.flatnonzero(check_N != "")
    write_table(folder, Table(columns={**table.take(rows).columns, "check_name": check_N[rows]}))
    context.publish(kind="dataset", name=spec.quarantine, folder=folder, meta={"rows": len(rows), **counts})


def _publish_report(context: Context, spec: CleanSpec, report: dict[str, Any], meta: dict[str, Any]) -> None:
    folder = context.folder / "report"
    folder.mkdir(exist_ok=True)
    (folder / "quality.json").write_text(json.dumps(report, indent=1) + "\n")
    context.publish(kind="report", name=spec.name, folder=folder, meta=meta)


def _only_file(folder: Path) -> Path:
    """The one file of a raw version."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if len(files) == 1:
        return files[0]
    names = ", ".join(path.name for path in files[:5]) or "none"
    raise InvalidError(
        f"The raw version has {len(files)} files ({names}), not one", fix="Pack all into one .zip or .tar.xz."
    )
