"""Our own receiving door keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends.door import door, serving
from tests.backends.process import Storage
from tests.backends.small import small_disk
from tests.contract.driver_contract import DriverContract, driver, opened
from tests.contract.driver_faults import DriverFaults, assert_full, between, folder, streamed_bytes
from tests.ports import free_port

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with door() as storage:
        yield storage


class TestDoor(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=True)


class TestDoorFaults(DriverFaults):
    has_login = False  # a token says who one is; see below


def test_a_disk_that_is_full_is_told_and_has_room_again_for_what_fits() -> None:
    with small_disk() as disk, serving(disk / "door", free_port(), "--free", "0") as storage:
        assert_full(opened(storage))


def test_memory_is_flat_however_large_the_object(storage: Storage) -> None:
    assert streamed_bytes(storage) < 200 << 20
