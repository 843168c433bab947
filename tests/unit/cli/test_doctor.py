"""What `lepton doctor` says of the extras, where it has that from, and of what holds workers."""

from importlib.metadata import PackageNotFoundError, metadata

import pytest

from lepton.cli import doctor


def test_extras_are_read_from_the_requirements() -> None:
    lines = [
        "click>=8.1",
        "httpx<1,>=0.27; python_version > '3'",
        "numpy>=1.26; extra == 'serve'",
        "python-multipart>=0.0.12; extra == 'serve'",
        'psycopg[binary]>=3.2; python_version > "3" and extra == "postgres"',
        "lepton-platform[serve]; extra == 'walk'",
    ]
    assert doctor.extras(lines) == {"serve": ["numpy", "python-multipart"], "postgres": ["psycopg"]}


def test_each_layer_that_holds_workers_has_a_row_that_says_why_it_is_missing() -> None:
    layers = {"landlock": 7, "namespaces": False, "filter": True, "lacks": {"namespaces": "Operation not permitted"}}
    rows = {row["what"].removeprefix("isolation: "): row for row in doctor._isolation(layers)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "landlock": "ok",
        "namespaces": "missing",
        "filter": "ok",
    }
    assert rows["landlock"]["detail"] == "version 7" and not rows["landlock"]["to add it"]
    assert rows["namespaces"]["detail"] == "Operation not permitted" and rows["namespaces"]["to add it"]


def test_every_extra_of_the_project_has_a_row() -> None:
    try:
        known = set(metadata(doctor.DISTRIBUTION).get_all("Provides-Extra") or ())
    except PackageNotFoundError:
        pytest.skip("it runs from its source")
    rows = {row["what"].removeprefix("extra ") for row in doctor._extras()}
    assert rows == known and {"serve", "docs", "notebook"} <= rows


def test_without_a_distribution_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTION", "no-such-distribution-of-lepton")
    (row,) = doctor._extras()
    assert row["state"] == "none" and "is not installed" in row["detail"]
