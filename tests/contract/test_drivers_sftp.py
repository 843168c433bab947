"""rclone's sftp server keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends import rclone
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver

__all__ = ["driver"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with rclone.sftp() as storage:
        yield storage


class TestSftp(DriverContract):
    probed = Capabilities(create_if_absent=False, replace_if_match=False, unique_etags=False, exact_names=True)
