"""nfs-ganesha, a real NFS 4 server, keeps the drivers' contract."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lepton.vault.driver import Capabilities
from lepton.vault.drivers.opening import open_driver
from tests.backends.ganesha import ganesha
from tests.backends.process import Storage
from tests.backends.small import small_disk
from tests.contract.driver_contract import DriverContract, driver
from tests.contract.driver_faults import DriverFaults, assert_closed, assert_full, between, folder

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with ExitStack() as stack:
        yield stack.enter_context(ganesha(stack.enter_context(small_disk())))


class TestNfs(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=False, unique_etags=True, exact_names=True)


class TestNfsFaults(DriverFaults):
    has_login = False


def test_an_export_that_is_read_only_is_refused(storage: Storage) -> None:
    assert_closed(storage, storage.url.replace("/data/", "/shut/"))


def test_an_export_that_is_full_says_so_and_takes_back_what_was_written(storage: Storage) -> None:
    assert_full(open_driver(storage.url.replace("/data/", "/small/")))
