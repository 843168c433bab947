"""Ids, names, artifacts, events and launches."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.catalog.lineage import chain
from lepton.catalog.reference import Reference, parse
from lepton.core import errors
from lepton.core.artifact import File, Version, check_path, manifest_digest
from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import InvalidError, LeptonError
from lepton.core.event import Event, canonical
from lepton.core.ids import PREFIXES, check_name, first_id, is_id, last_id, make_id
from lepton.core.launch import Devices, Launch
from lepton.core.size import number_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)
times = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  made aware


@given(first=times, second=times)
def test_ids_sort_by_age(first: datetime, second: datetime) -> None:
    if first + timedelta(microseconds=1) < second:
        assert make_id("job", at=first) < make_id("job", at=second)


@pytest.mark.parametrize("kind", PREFIXES)
def test_ids_say_their_kind_and_are_never_names(kind: str) -> None:
    id = make_id(kind, at=NOW)
    assert is_id(id)
    assert id.startswith(PREFIXES[kind] + "_")
    with pytest.raises(InvalidError):
        check_name(id)


@pytest.mark.parametrize("name", ["", "../x", "a..b", "A", "a b", "a\x00", "😀", "-a", "a-", "a/b", "x" * 64, "a\n"])
def test_names_that_would_not_survive_are_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "mnist", "mnist-clean.v2", "a_b", "x" * 63])
def test_plain_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "./a", "a\x00", "a\\b", "a\n", "x" * 513])
def test_paths_that_leave_the_artifact_are_refused(path: str) -> None:
    with pytest.raises(InvalidError):
        check_path(path)


@given(st.lists(st.builds(File, path=st.text(max_size=5), digest=st.just("0" * 64), size_bytes=st.integers(0, 9))))
def test_a_manifest_does_not_depend_on_order(files: list[File]) -> None:
    assert manifest_digest(files) == manifest_digest(files[::-1])


@pytest.mark.parametrize(
    ("text", "reference"),
    [("mnist", Reference(name="mnist")), ("mnist@3", Reference(name="mnist", number=3))],
)
def test_references_are_read(text: str, reference: Reference) -> None:
    assert parse(text) == reference


@pytest.mark.parametrize("text", ["", "@", "a@", "a@0", "a@x", "a@-1", "a@99999999999999", "A@1"])
def test_malformed_references_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse(text)


@given(times)
def test_micros_keep_a_time_exactly(at: datetime) -> None:
    assert from_micros(to_micros(at)) == at


def test_the_canonical_bytes_of_an_event_never_change() -> None:
    event = Event(
        subject="job_1", kind="job", workspace="w", verb="created", why="ü", actor="a", at=NOW, data={"b": 1, "a": 2}
    )
    assert (
        canonical(event)
        == (
            '{"actor":"a","at":1777593600000000,"data":{"a":2,"b":1},"kind":"job","subject":"job_1",'
            '"verb":"created","why":"ü","workspace":"w"}'
        ).encode()
    )


def test_a_launch_survives_json() -> None:
    launch = Launch(key="k", job="j", command=("a", "b"), gpus=(1,), devices=Devices(cpu_milli=5), env={"A": "b"})
    assert Launch.from_json(launch.to_json()) == launch
    with pytest.raises(InvalidError):
        replace(launch, entry="m:f")


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_devices_add_and_take_away(a: int, b: int) -> None:
    first, second = Devices(cpu_milli=a), Devices(cpu_milli=b)
    assert (first + second).minus(second) == first
    assert first.fits_in(first + second)


def test_every_error_has_a_code_of_its_own_and_a_docstring() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LeptonError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(kind.__doc__ and 400 <= kind.status < 600 for kind in kinds)


def version(id: str, **parents: str) -> Version:
    return Version(
        id=id,
        workspace="w",
        kind="model",
        name="m",
        number=1,
        digest="d",
        size_bytes=0,
        files=(),
        parents=parents,
        created_at=NOW,
    )


def test_lineage_names_every_ancestor_once_nearest_first() -> None:
    known = {v.id: v for v in (version("raw"), version("ds", raw="raw"), version("m", dataset="ds", other="raw"))}
    links = list(chain(known["m"], lambda ids: [known[id] for id in ids]))
    assert [(link.version.id, link.depth) for link in links] == [("m", 0), ("ds", 1), ("raw", 1)]


def test_ids_of_a_kind_lie_between_the_first_and_the_last() -> None:
    for random in (bytes(9), b"\xff" * 9):
        made = make_id("job", at=NOW, random=lambda _, bits=random: bits)
        assert first_id("job", NOW) <= made < first_id("job", NOW + timedelta(microseconds=1)) < last_id("job")
    assert last_id("job") < first_id("node", NOW)


def test_one_of_a_thing_is_told_as_one() -> None:
    assert [number_of(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert number_of(1, "pack is", "packs are") == "1 pack is" and number_of(3, "pack is", "packs are") == "3 packs are"
