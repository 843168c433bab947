"""OpenSSH's and rclone's SFTP servers keep the drivers' contract; only the first can create a key if it is absent."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from lepton.core.errors import StorageRefusedError
from lepton.vault.driver import Capabilities
from tests.backends import rclone
from tests.backends.openssh import openssh
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver, opened
from tests.contract.driver_faults import DriverFaults, between, folder

__all__ = ["between", "driver", "folder"]


@pytest.fixture(scope="module")
def of_openssh() -> Iterator[Storage]:
    with openssh() as storage:
        yield storage


@pytest.fixture(scope="module")
def of_rclone() -> Iterator[Storage]:
    with rclone.sftp() as storage:
        yield storage


class TestOpenSsh(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=False, unique_etags=False, exact_names=True)

    @pytest.fixture
    def storage(self, of_openssh: Storage) -> Storage:
        return of_openssh


class TestRclone(DriverContract):
    probed = Capabilities(create_if_absent=False, replace_if_match=False, unique_etags=False, exact_names=True)

    @pytest.fixture
    def storage(self, of_rclone: Storage) -> Storage:
        return of_rclone


class TestOpenSshFaults(DriverFaults):
    has_login = False

    @pytest.fixture
    def storage(self, of_openssh: Storage) -> Storage:
        return of_openssh


class TestRcloneLogin:
    def test_a_wrong_password_is_refused_also_after_a_right_one(self, of_rclone: Storage, folder: str) -> None:
        DriverFaults().test_a_wrong_secret_is_refused_also_after_a_right_one(of_rclone, folder)


def test_a_server_with_another_key_is_refused_and_its_key_named(of_rclone: Storage, of_openssh: Storage) -> None:
    for known in (of_openssh.credentials.host_key, ""):
        stranger = replace(of_rclone, credentials=replace(of_rclone.credentials, host_key=known))
        with closing(opened(stranger)) as driver, pytest.raises(StorageRefusedError, match="ssh-ed25519"):
            driver.head("k")
