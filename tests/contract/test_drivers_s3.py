"""SeaweedFS, a real S3, keeps the drivers' contract; a gateway that ignores conditions is found out."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest

from lepton.core.errors import InvalidError, StorageRefusedError
from lepton.vault.backup.locks import renew
from lepton.vault.backup.target import Target
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.opening import open_driver
from lepton.vault.drivers.probing import probe
from lepton.vault.drivers.s3 import S3Driver
from tests.backends import rclone
from tests.backends.process import Storage
from tests.backends.seaweed import READER, after_all, keep_versions, make_bucket, retain, seaweed, sent
from tests.contract.driver_contract import DriverContract, driver, opened
from tests.contract.driver_faults import DriverFaults, assert_closed, between, folder, streamed_bytes
from tests.contract.past import check_past, write_after, write_before

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with seaweed() as storage:
        yield storage


class TestS3(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=False, exact_names=True)


class TestS3Faults(DriverFaults):
    pass


def bucket_of(storage: Storage, name: str) -> Storage:
    return replace(storage, url=storage.url.replace("//vault/", f"//{name}/"))


def endpoint(storage: Storage) -> str:
    return f"http://127.0.0.1:{storage.port}"


def test_a_key_that_may_only_read_is_refused(storage: Storage) -> None:
    reader = replace(storage, credentials=replace(storage.credentials, user=READER))
    assert_closed(reader, storage.url)
    with closing(opened(reader)) as driver, pytest.raises(StorageRefusedError):
        driver.delete("k")


def test_a_bucket_that_is_not_there_is_refused_and_not_an_absent_key(storage: Storage) -> None:
    reader = replace(bucket_of(storage, "no-such"), credentials=replace(storage.credentials, user=READER))
    with closing(opened(reader)) as driver, pytest.raises(StorageRefusedError):
        driver.get("k")


def test_only_versions_under_a_default_lock_are_append_only(storage: Storage) -> None:
    at = endpoint(storage)
    for name, prepare in (
        ("plain", lambda name: make_bucket(at, name)),
        ("kept", lambda name: (make_bucket(at, name), keep_versions(at, name))),
        ("weak", lambda name: (make_bucket(at, name), retain(at, name, days=1, mode="GOVERNANCE"))),
        ("held", lambda name: (make_bucket(at, name), retain(at, name, days=2))),
    ):
        prepare(name)
        with closing(opened(bucket_of(storage, name))) as driver:
            found = driver.append_only()
        assert found.holds == (name == "held"), f"{name}: {found.reason}"
        assert found.reason
    assert "2 days" in found.reason


def test_what_is_append_only_cannot_be_lost_by_its_writer(storage: Storage) -> None:
    at = endpoint(storage)
    make_bucket(at, "ledger")
    retain(at, "ledger", days=1)
    with closing(opened(bucket_of(storage, "ledger"), "folder")) as driver:
        driver.put("k", [b"first"])
        driver.put("k", [b"second"])
        listed = sent(at, "GET", "ledger", query="versions").text
        versions = [part.partition("<")[0] for part in listed.split("<VersionId>")[1:]]
        assert len(set(versions)) == 2
        path = "ledger/some/prefix/folder/k"
        for version in versions:
            assert sent(at, "DELETE", path, query=f"versionId={version}").status_code == 403
            assert sent(at, "GET", path, query=f"versionId={version}").status_code == 200


def test_a_bucket_that_keeps_versions_is_read_as_it_was(storage: Storage) -> None:
    at = endpoint(storage)
    make_bucket(at, "past")
    keep_versions(at, "past")
    now = bucket_of(storage, "past")
    with closing(opened(now, "folder")) as driver, closing(opened(now, "folder-beside")) as beside:
        gone = write_before(driver)
        beside.put("x", [b""])
        for name in ("%01", "%EF%BF%BF", "%C3%A9%20%2B"):  # keys of others, that no XML can say and no driver takes
            sent(at, "PUT", f"past/some/prefix/folder/{name}.", body=b"x")
        moment = after_all(at, "past")
        write_after(driver)
        moments = (moment, moment.astimezone(timezone(timedelta(hours=5, minutes=30))))
        for then in moments:
            with closing(opened(as_of(now, then.isoformat()), "folder")) as past:
                check_past(past, gone)
        with closing(opened(as_of(now, "2020-01-01"), "folder")) as past:
            assert list(past.list()) == []
        with pytest.raises(InvalidError, match="as_of is no time"):
            opened(as_of(now, "yesterday"))


def test_of_more_versions_than_one_answer_holds_none_is_missed(storage: Storage) -> None:
    at = endpoint(storage)
    make_bucket(at, "many")
    keep_versions(at, "many")
    with closing(opened(bucket_of(storage, "many"), "folder")) as driver:
        for number in range(1100):
            driver.put(f"{number % 11}", [b"%d" % number])
        moment = after_all(at, "many")
        driver.put("0", [b"later"])
        with closing(opened(as_of(bucket_of(storage, "many"), moment.isoformat()), "folder")) as past:
            assert {head.key: b"".join(past.get(head.key)) for head in past.list()} == {
                str(key): b"%d" % (1089 + key) for key in range(11)
            }


def test_the_past_is_what_was_written_then_although_its_locks_were_renewed_since(storage: Storage) -> None:
    at = endpoint(storage)
    make_bucket(at, "renewed")
    retain(at, "renewed", days=1)
    now = bucket_of(storage, "renewed")
    with closing(opened(now, "f")) as driver:
        assert isinstance(driver, S3Driver)
        driver.put("pack", [b"true"])
        driver.put("large", [bytes(9 << 20)])
        moment = after_all(at, "renewed")
        driver.put("later", [b"x"])
        assert renew(Target(driver, ""), datetime.now(UTC) + timedelta(days=2), lambda: None) == 3
        for name in ("pack", "large"):
            driver.put(name, [b"lies"])
        after = after_all(at, "renewed")
        for then, wanted in ((moment, ["large", "pack"]), (after, ["large", "later", "pack"])):
            with closing(opened(as_of(now, then.isoformat()), "f")) as past:
                assert [head.key for head in past.list()] == wanted
                assert b"".join(past.get("pack")) == (b"true" if then == moment else b"lies")
                assert past.head("large").size_bytes == (9 << 20 if then == moment else 4)


def as_of(storage: Storage, moment: str) -> Storage:
    """The same, as it was then."""
    return replace(storage, url=f"{storage.url}&as_of={quote(moment)}")


def test_a_secret_that_is_wrong_does_not_say_append_only(storage: Storage) -> None:
    wrong = replace(storage.credentials, secret="wrong")
    with closing(opened(replace(storage, credentials=wrong))) as driver:
        assert not driver.append_only().holds


def test_a_gateway_that_ignores_conditions_is_found_out() -> None:
    with rclone.s3() as gateway:
        found = probe(lambda: open_driver(gateway.url, gateway.credentials))
        assert not found.create_if_absent
        assert not found.replace_if_match
        assert "told" in found.why_not["create_if_absent"]
        assert "accepted" in found.why_not["replace_if_match"]


def test_memory_is_flat_however_large_the_object(storage: Storage) -> None:
    assert streamed_bytes(storage) < 100 << 20


def test_a_lock_that_is_refused_stands_in_the_way_of_no_other(storage: Storage) -> None:
    at, present = endpoint(storage), datetime.now(UTC)
    make_bucket(at, "locks")
    retain(at, "locks", days=1)
    with closing(opened(bucket_of(storage, "locks"), "f")) as driver:
        for number in range(1100):
            driver.put(f"{number:04}", [b"x"])
        assert isinstance(driver, S3Driver)
        longer = present + timedelta(days=9)
        driver.extend_lock("0003", longer)
        place = Target(driver, "")
        assert renew(place, present + timedelta(days=3), lambda: None) == 1100
        ends = {key: lock(at, f"locks/some/prefix/f/{key}") for key in ("0003", "0004", "1099")}
        assert ends["0003"] == ("COMPLIANCE", longer.replace(microsecond=0))
        assert ends["0004"] == ends["1099"] == ("COMPLIANCE", (present + timedelta(days=3)).replace(microsecond=0))
        retain(at, "locks", days=40, mode="GOVERNANCE")
        for key in ("0001", "0007"):
            driver.put(key, [b"weakly locked"])
        with pytest.raises(StorageRefusedError, match=r"2 of 1100 .* of some/prefix/f/0001 .* GOVERNANCE") as told:
            renew(place, present + timedelta(days=5), lambda: None)
        assert "COMPLIANCE" in told.value.fix and "Allow" not in told.value.fix
        assert lock(at, "locks/some/prefix/f/1099")[1] == (present + timedelta(days=5)).replace(microsecond=0)
    reader = replace(bucket_of(storage, "locks"), credentials=replace(storage.credentials, user=READER))
    with closing(opened(reader, "f")) as driver:
        with pytest.raises(StorageRefusedError, match="1024 of 1024 locks") as told:
            renew(Target(driver, ""), present + timedelta(days=7), lambda: None)
        assert "Allow the key s3:PutObjectRetention" in told.value.fix


def lock(at: str, path: str) -> tuple[str, datetime]:
    """Mode and end of the lock of an object's newest version."""
    told = sent(at, "GET", path, query="retention").text
    (mode,), (until,) = re.findall("<Mode>(.*?)<", told), re.findall("<RetainUntilDate>(.*?)<", told)
    return mode, datetime.fromisoformat(until)
