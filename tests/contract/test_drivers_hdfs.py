"""A real NameNode and DataNode keep the drivers' contract, over their own protocol and over WebHDFS."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import ClassVar

import httpx
import pytest

from lepton.core.errors import StorageFullError, StorageRefusedError
from lepton.vault.driver import Capabilities
from lepton.vault.drivers.credentials import Credentials
from tests.backends.hadoop import hadoop
from tests.backends.process import Storage
from tests.contract.driver_contract import DriverContract, driver, keys, opened, read
from tests.ports import free_port

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


def over_http(cluster: Storage, user: str = "root") -> Storage:
    return replace(cluster, url=f"webhdfs://127.0.0.1:{cluster.port}/over/http", credentials=Credentials(user=user))


def test_where_its_own_port_is_closed_http_is_used(cluster: Storage) -> None:
    closed = replace(
        cluster,
        url=f"hdfs://127.0.0.1:{free_port()}/some/folder?http={cluster.port}",
        credentials=Credentials(user="root"),
    )
    with closing(opened(cluster, "both")) as straight, closing(opened(closed, "both")) as driver:
        assert "http" in repr(driver)
        driver.put("k", [b"x"])
        assert read(straight, "k") == b"x"


def test_a_quota_that_is_exceeded_says_full(cluster: Storage) -> None:
    storage = over_http(cluster)
    with closing(opened(storage, "tight")) as driver:
        driver.put("small", [b"fits"])
        url = f"http://127.0.0.1:{cluster.port}/webhdfs/v1/over/http/tight"
        quota = {"op": "SETQUOTA", "user.name": "root", "namespacequota": "100", "storagespacequota": str(1 << 20)}
        with httpx.Client(trust_env=False) as client:
            assert client.put(url, params=quota).status_code == 200
        straight = replace(cluster, url=cluster.url.replace("/some/folder", "/over/http"))
        with closing(opened(straight, "tight")) as other:
            for one in (driver, other):
                with pytest.raises(StorageFullError):
                    one.put("large", [bytes(4 << 20)])
        assert keys(driver) == ["small"]


def test_a_user_without_rights_is_refused(cluster: Storage) -> None:
    with closing(opened(over_http(cluster), "mine")) as mine:
        mine.put("k", [b"x"])
    with closing(opened(over_http(cluster, "somebody"), "mine")) as other, pytest.raises(StorageRefusedError):
        other.put("k", [b"y"])
