"""OpenSSH's and rclone's SFTP servers keep the drivers' contract; only the first can create a key if it is absent."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from lepton.core.errors import NotFoundError, StorageRefusedError, StorageUnreachableError
from lepton.vault.backup.recovery import make_key
from lepton.vault.driver import Capabilities
from tests.backends import rclone
from tests.backends.openssh import openssh
from tests.backends.process import Storage
from tests.backends.proxy import proxy
from tests.contract.driver_contract import DriverContract, driver, opened
from tests.contract.driver_faults import RASH, DriverFaults, between, folder, moved

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


def test_a_login_that_is_cut_is_no_refusal(of_rclone: Storage) -> None:
    refused = list[int]()
    with proxy(of_rclone.port) as between:
        for sent in range(0, 4096, 128):
            between.cut_after(sent)
            with closing(opened(moved(of_rclone, between.port), patience=replace(RASH, attempts=1))) as driver:
                try:
                    driver.head("k")
                except StorageRefusedError:
                    refused.append(sent)
                except (StorageUnreachableError, NotFoundError):  # the last of them come through
                    pass
            between.heal()
    assert refused == []


def test_a_connection_that_is_cut_is_told_without_the_librarys_traceback(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    kit.write_text(make_key(platform="p", signer=bytes(32), at_least=0).to_text())
    with socket.create_server(("127.0.0.1", 0)) as door:
        Thread(target=hang_up, args=(door,), daemon=True).start()
        place = f"sftp://127.0.0.1:{door.getsockname()[1]}/x"
        command = [
            sys.executable,
            "-m",
            "lepton.cli.main",
            "vault",
            "verify",
            "--at",
            place,
            "--recovery-key",
            str(kit),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LEPTON_STORAGE_USER": "u"}
        )
    assert done.stderr.startswith(f"error: {place} does not answer"), done.stderr


def hang_up(door: socket.socket) -> None:
    """Take connections, and end them at once."""
    with suppress(OSError):
        while True:
            door.accept()[0].close()
