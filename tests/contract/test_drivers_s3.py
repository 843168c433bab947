"""SeaweedFS, a real S3, keeps the drivers' contract."""

from collections.abc import Iterator

import pytest

from lepton.vault.driver import Capabilities
from tests.backends.process import Storage
from tests.backends.seaweed import seaweed
from tests.contract.driver_contract import DriverContract, driver

__all__ = ["driver"]


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with seaweed() as storage:
        yield storage


class TestS3(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=True, unique_etags=False, exact_names=True)
