"""rclone's WebDAV server keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends import rclone
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver
from tests.contract.driver_faults import DriverFaults, assert_closed, between, folder, streamed_bytes

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with rclone.webdav() as storage:
        yield storage


class TestWebDav(DriverContract):
    probed = Capabilities(create_if_absent=False, replace_if_match=False, unique_etags=True, exact_names=False)


class TestWebDavFaults(DriverFaults):
    pass


def test_a_server_that_is_read_only_is_refused() -> None:
    with rclone.webdav("--read-only") as storage:
        (storage.folder / "files" / "some" / "folder").mkdir(parents=True)
        assert_closed(storage, storage.url)


def test_memory_is_flat_however_large_the_object(storage: Storage) -> None:
    assert streamed_bytes(storage) < 200 << 20  # httpx leaves holes in the heap; with 480 MiB it is as much
