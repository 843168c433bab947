"""Samba, a real SMB 3 server, keeps the drivers' contract."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from lepton.core.errors import StorageRefusedError, StorageUnreachableError
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.opening import open_driver
from tests.backends.process import Storage
from tests.backends.proxy import Proxy
from tests.backends.samba import samba
from tests.backends.small import small_disk
from tests.contract.driver_contract import DriverContract, driver, opened
from tests.contract.driver_faults import (
    RASH,
    DriverFaults,
    assert_closed,
    assert_full,
    between,
    folder,
    moved,
    streamed_bytes,
)
from tests.ports import free_port

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with ExitStack() as stack:
        yield stack.enter_context(samba(stack.enter_context(small_disk())))


class TestSmb(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=False)


class TestSmbFaults(DriverFaults):
    pass


def share(storage: Storage, name: str) -> str:
    return storage.url.replace("/data/some/folder", f"/{name}")


def test_a_share_that_is_read_only_is_refused(storage: Storage) -> None:
    assert_closed(storage, share(storage, "shut"))


def test_a_share_that_is_full_says_so_and_takes_back_what_was_written(storage: Storage) -> None:
    assert_full(open_driver(share(storage, "small"), storage.credentials))


def test_a_share_that_is_not_there_is_refused(storage: Storage) -> None:
    with (
        closing(open_driver(share(storage, "none"), storage.credentials)) as driver,
        pytest.raises(StorageRefusedError),
    ):
        driver.head("k")


def test_what_went_wrong_before_the_server_said_a_status_is_told(storage: Storage, between: Proxy) -> None:
    gone = opened(moved(storage, free_port()), patience=RASH)
    with closing(gone) as driver, pytest.raises(StorageUnreachableError, match="Connection refused"):
        driver.head("k")
    between.stall()
    silent = opened(moved(storage, between.port), patience=RASH)
    with closing(silent) as driver, pytest.raises(StorageUnreachableError, match=r"[Tt]imed? ?out"):
        driver.head("k")
    nobody = replace(storage, credentials=Credentials())
    with closing(opened(nobody, patience=RASH)) as driver, pytest.raises(StorageRefusedError) as refused:
        driver.head("k")
    assert "STATUS" not in refused.value.message and len(refused.value.message) < 500, refused.value.message


def test_nobody_comes_in_through_the_open_door_of_another(storage: Storage) -> None:
    with closing(opened(storage, "mine")) as right:
        right.put("k", [b"x"])
        for credentials in (Credentials(user=storage.credentials.user), Credentials()):
            stranger = replace(storage, credentials=credentials)
            with closing(opened(stranger, "mine")) as driver, pytest.raises(StorageRefusedError):
                driver.head("k")
        assert right.head("k").size_bytes == 1


def test_memory_is_flat_however_large_the_object(storage: Storage) -> None:
    assert streamed_bytes(storage) < 100 << 20
