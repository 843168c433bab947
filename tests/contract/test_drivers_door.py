"""Our own receiving door keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends.door import door
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver
from tests.contract.driver_faults import DriverFaults, between, folder, streamed_bytes

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with door() as storage:
        yield storage


class TestDoor(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=True)


class TestDoorFaults(DriverFaults):
    has_login = False  # a token says who one is; see below


def test_memory_is_flat_however_large_the_object(storage: Storage) -> None:
    assert streamed_bytes(storage) < 200 << 20
