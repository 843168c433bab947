"""nfs-ganesha, a real NFS 4 server, keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends.ganesha import ganesha
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver

__all__ = ["driver"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with ganesha() as storage:
        yield storage


class TestNfs(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=False, unique_etags=True, exact_names=True)
