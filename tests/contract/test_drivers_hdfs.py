"""A real NameNode and DataNode keep the drivers' contract, over their own protocol and over WebHDFS."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest

from lepton.vault.driver import Capabilities
from lepton.vault.drivers.credentials import Credentials
from tests.backends.hadoop import hadoop
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver

__all__ = ["driver"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Storage]:
    with pytest.MonkeyPatch.context() as patch, hadoop() as storage:
        patch.setenv("HADOOP_USER_NAME", "root")
        yield storage


class TestHdfs(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=False, unique_etags=False, exact_names=True)

    @pytest.fixture
    def storage(self, cluster: Storage) -> Storage:
        return cluster


class TestWebHdfs(DriverContract):
    probed = Capabilities(create_if_absent=True, replace_if_match=False, unique_etags=True, exact_names=True)
    user: ClassVar[str] = "root"

    @pytest.fixture
    def storage(self, cluster: Storage) -> Storage:
        url = f"webhdfs://127.0.0.1:{cluster.port}/web/folder"
        return replace(cluster, url=url, credentials=Credentials(user=self.user))
