"""When a version was written, where the bucket says only when it was changed last."""

from datetime import UTC, datetime, timedelta

from lepton.vault.driver import Version
from lepton.vault.drivers.s3_versions import dated, written

AT = datetime(2026, 11, 28, 10, 53, 2, tzinfo=UTC)


def version(id: str, *, minutes: int, key: str = "k") -> Version:
    return Version(key=key, id=id, at=AT + timedelta(minutes=minutes), size_bytes=1, etag="e", is_newest=False)


def test_ids_of_seaweedfs_tell_a_time_and_those_of_others_none() -> None:
    told = written("6713cff35ebe8281ee134235d163d210")  # counted down
    assert told is not None and told.replace(microsecond=0) == AT
    assert written("18ec300ca1417d7eee134235d163d210") == told  # as older ones count
    for other in ("null", "3HL4kqtJvjVBH40Nrjfkd", "0f8fad5b-d9cb-469f-a165-70867728950e", "ff" * 32):
        assert written(other) is None


def test_a_version_that_was_changed_later_has_the_time_at_which_it_was_written() -> None:
    (found,) = dated([version("6713cff35ebe8281ee134235d163d210", minutes=90)])
    assert found.at == AT


def test_ids_that_are_no_times_are_not_believed() -> None:
    listed = [version("6713cff35ebe8281ee134235d163d210", minutes=90), version("a" * 32, minutes=5, key="l")]
    assert [found.at for found in dated(listed)] == [found.at for found in listed]
    ahead = [version("6713cff35ebe8281ee134235d163d210", minutes=-60 * 48)]
    assert [found.at for found in dated(ahead)] == [found.at for found in ahead]


def test_no_version_is_younger_than_one_that_came_after_it() -> None:
    listed = [
        version("c", minutes=9),
        version("b", minutes=30),
        version("a", minutes=1),
        version("z", minutes=40, key="l"),
    ]
    assert [found.at for found in dated(listed)] == [AT + timedelta(minutes=count) for count in (9, 9, 1, 40)]
