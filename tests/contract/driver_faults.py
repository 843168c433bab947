"""What every driver must do when its storage is gone, slow, closed or full. Used as `driver_contract` is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import ClassVar
from uuid import uuid4

import pytest

from lepton.core.errors import (
    NotFoundError,
    StorageFullError,
    StorageRefusedError,
    StorageUnreachableError,
)
from lepton.vault.driver import Driver
from lepton.vault.drivers.credentials import VARIABLES
from lepton.vault.drivers.opening import open_driver
from lepton.vault.drivers.patience import Patience
from tests.backends.process import Storage
from tests.backends.proxy import Proxy, proxy
from tests.backends.small import SIZE_BYTES
from tests.contract.driver_contract import below, keys, opened, read
from tests.ports import free_port

MIB = 1 << 20
HASTY = Patience(connect_s=2, answer_s=3, attempts=2, pause_s=0.05)
RASH = Patience(connect_s=1, answer_s=0.4, attempts=2, pause_s=0.01)
"""For what cannot succeed anyway."""
DEADLINE_S = 90.0
"""For what would else hang for ever."""


def moved(storage: Storage, port: int) -> Storage:
    """The same storage at another port."""
    return replace(storage, url=storage.url.replace(f":{storage.port}", f":{port}"), port=port)


def in_time(act: object, *arguments: object) -> object:
    """The result of a call that must end."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(act, *arguments).result(timeout=DEADLINE_S)  # type: ignore[arg-type]
    finally:
        pool.shutdown(wait=False)


def write(driver: Driver, key: str, size: int) -> None:
    driver.put(key, (bytes([at % 251]) * MIB for at in range(size)))


@pytest.fixture
def between(storage: Storage) -> Iterator[Proxy]:
    with proxy(storage.port) as between:
        yield between


@pytest.fixture
def folder() -> str:
    return uuid4().hex


class DriverFaults:
    """Over a network."""

    has_login: ClassVar[bool] = True

    def test_a_put_that_is_cut_leaves_no_half(self, storage: Storage, between: Proxy, folder: str) -> None:
        with (
            closing(opened(storage, folder)) as straight,
            closing(opened(moved(storage, between.port), folder, patience=HASTY)) as driver,
        ):
            straight.put("old", [b"old"])
            assert read(driver, "old") == b"old"
            between.cut_after(20 * MIB)
            for key in ("old", "new"):
                with pytest.raises(StorageUnreachableError):
                    in_time(write, driver, key, 40)
            assert keys(straight) == ["old"]
            assert read(straight, "old") == b"old"

    def test_a_get_that_stalls_ends(self, storage: Storage, between: Proxy, folder: str) -> None:
        with closing(opened(moved(storage, between.port), folder, patience=HASTY)) as driver:
            write(driver, "k", 40)
            chunks = driver.get("k")
            first = next(chunks)
            between.stall()
            with pytest.raises(StorageUnreachableError):
                in_time(b"".join, chunks)
            assert first == (bytes([0]) * MIB + bytes([1]) * MIB)[: len(first)] or len(first) > 2 * MIB

    def test_a_get_that_is_cut_goes_on(self, storage: Storage, between: Proxy, folder: str) -> None:
        with closing(opened(moved(storage, between.port), folder, patience=HASTY)) as driver:
            write(driver, "k", 40)
            chunks = driver.get("k")
            got = next(chunks)
            between.cut()
            got += bytes(in_time(b"".join, chunks))  # type: ignore[call-overload]
            assert got == b"".join(bytes([at % 251]) * MIB for at in range(40))

    def test_a_storage_that_is_gone_or_silent_is_unreachable(self, storage: Storage, between: Proxy) -> None:
        between.stall()
        for port in (free_port(), between.port):
            with closing(opened(moved(storage, port), patience=RASH)) as driver:
                for act in (lambda: driver.head("k"), lambda: driver.put("k", [b"x"]), lambda: list(driver.list())):
                    with pytest.raises(StorageUnreachableError):
                        in_time(act)

    def test_a_wrong_secret_is_refused_also_after_a_right_one(self, storage: Storage, folder: str) -> None:
        if not self.has_login:
            return
        wrong = [self.with_wrong_secret(storage), replace(storage.credentials, user="nobody-of-that-name")]
        with closing(opened(storage, folder)) as right:
            right.put("k", [b"x"])
            for credentials in wrong:
                with closing(opened(replace(storage, credentials=credentials), folder, patience=HASTY)) as driver:
                    for act in (lambda: driver.head("k"), lambda: driver.put("k", [b"y"]), lambda: list(driver.list())):
                        with pytest.raises(StorageRefusedError) as refused:
                            act()
                        assert_silent(refused.value, storage, credentials.secret)
                    assert_silent(repr(driver), storage, credentials.secret)
            assert read(right, "k") == b"x"

    def with_wrong_secret(self, storage: Storage) -> object:
        return replace(storage.credentials, secret=storage.credentials.secret + "!")


def assert_silent(told: object, storage: Storage, *secrets: str) -> None:
    """No secret in what is told, nor in what caused it."""
    while told is not None:
        for secret in {storage.credentials.secret, storage.credentials.private_key, *secrets} - {""}:
            assert secret not in f"{told} {told!r} {getattr(told, 'fix', '')}"
        told = getattr(told, "__cause__", None)


def assert_closed(storage: Storage, url: str) -> None:
    """A storage that may only be read says so, and shows what is there."""
    with closing(open_driver(url, storage.credentials)) as driver:
        with pytest.raises(StorageRefusedError):
            driver.put("k", [b"x"])
        if driver.capabilities.create_if_absent:
            with pytest.raises(StorageRefusedError):
                driver.create_if_absent("k", b"x")
        assert "k" not in keys(driver)


def assert_full(driver: Driver) -> None:
    """A storage for 8 MiB says that it is full, and has room again for what fits."""
    with closing(driver):
        driver.put("small", [b"fits"])
        with pytest.raises(StorageFullError):
            write(driver, "large", 2 * SIZE_BYTES // MIB)
        assert keys(driver) == ["small"]
        with pytest.raises(NotFoundError):
            driver.head("large")
        write(driver, "half", SIZE_BYTES // MIB // 2)
        assert driver.head("half").size_bytes == SIZE_BYTES // 2


STREAMED = """
import resource, sys
from lepton.vault.drivers.credentials import from_environment
from lepton.vault.drivers.credentials import VARIABLES
from lepton.vault.drivers.opening import open_driver

driver = open_driver(sys.argv[1], from_environment())
driver.put("warm", [bytes(24 << 20)])
sum(map(len, driver.get("warm")))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
driver.put("k", (bytes([number]) * (1 << 20) for number in range(240)))
assert sum(map(len, driver.get("k"))) == 240 << 20
driver.close()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""


def streamed_bytes(storage: Storage) -> int:
    """How much more memory a process needs to put and get 240 MiB than 24."""
    secrets = {VARIABLES[name]: getattr(storage.credentials, name) for name in VARIABLES}
    command = [sys.executable, "-c", STREAMED, below(storage, uuid4().hex)]
    env = {**os.environ, **{name: value for name, value in secrets.items() if value}}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
