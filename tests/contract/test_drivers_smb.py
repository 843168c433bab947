"""Samba, a real SMB 3 server, keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends.process import Storage
from tests.backends.samba import samba
from tests.contract.driver_contract import DriverContract, driver

__all__ = ["driver"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with samba() as storage:
        yield storage


class TestSmb(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=False)
