"""A folder of this machine keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends.process import Storage, scratch
from tests.contract.driver_contract import DriverContract, driver

__all__ = ["driver"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with scratch("local") as folder:
        yield Storage(url=str(folder))


class TestLocal(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=True, exact_names=True)
