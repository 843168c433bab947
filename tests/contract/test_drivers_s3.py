"""SeaweedFS, a real S3, keeps the drivers' contract; a gateway that ignores conditions is found out."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from lepton.core.errors import StorageRefusedError
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.opening import open_driver
from lepton.vault.drivers.probing import probe
from tests.backends import rclone
from tests.backends.process import Storage
from tests.backends.seaweed import READER, keep_versions, make_bucket, retain, seaweed, sent
from tests.contract.driver_contract import DriverContract, driver, opened
from tests.contract.driver_faults import DriverFaults, assert_closed, between, folder, streamed_bytes

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
