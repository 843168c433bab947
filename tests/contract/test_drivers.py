"""What every driver must do, run over each of them."""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton.core.errors import InvalidError, NameTakenError, NotFoundError, StaleError
from lepton.vault.driver import CHUNK_BYTES, Driver
from lepton.vault.drivers.local import LocalDriver

DRIVERS: dict[str, Callable[[Path], Driver]] = {"local": LocalDriver}
WRITERS = 16


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return DRIVERS[request.param](tmp_path / "vault")


def read(driver: Driver, key: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(driver.get(key, start=start, stop=stop))


def test_what_is_put_is_got_and_listed_in_order(driver: Driver) -> None:
    for key in ("b/2", "a", "b/10", "b.txt"):
        assert driver.put(key, [key.encode(), b"!"]).size_bytes == len(key) + 1
    assert read(driver, "b/2") == b"b/2!"
    assert [head.key for head in driver.list()] == ["a", "b.txt", "b/10", "b/2"]
    assert [head.key for head in driver.list("b/")] == ["b/10", "b/2"]
    assert [head.key for head in driver.list("b/1")] == ["b/10"]
    assert list(driver.list("nothing/here")) == []
    assert driver.head("a") == next(driver.list("a"))


def test_an_unknown_key_is_not_found_at_the_call(driver: Driver) -> None:
    driver.put("folder/key", [b"x"])
    for key in ("nothing", "folder", "folder/key/below"):
        with pytest.raises(NotFoundError):
            driver.get(key)
        with pytest.raises(NotFoundError):
            driver.head(key)
        driver.delete(key)
    driver.delete("folder/key")
    with pytest.raises(NotFoundError):
        driver.head("folder/key")


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../../up", "a//b", ".new/x", "a/.hidden", "a\n", "a\\b"]
)
def test_a_key_that_is_no_name_is_refused(driver: Driver, key: str) -> None:
    for act in (driver.get, driver.head, driver.delete):
        with pytest.raises(InvalidError):
            act(key)
    with pytest.raises(InvalidError):
        driver.put(key, [b"x"])


def test_every_write_changes_the_etag(driver: Driver) -> None:
    etags = {driver.put("k", [b"same"]).etag for _ in range(20)}
    assert len(etags) == 20
    assert driver.head("k").etag in etags


def test_a_write_that_fails_leaves_the_key_as_it_was(driver: Driver) -> None:
    driver.put("k", [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"n" * 100_000
        raise ConnectionResetError("the sender went away")

    for key in ("k", "fresh"):
        with pytest.raises(ConnectionResetError):
            driver.put(key, broken())
    assert read(driver, "k") == b"old"
    assert [head.key for head in driver.list()] == ["k"]


def test_a_reader_keeps_the_bytes_it_began_with(driver: Driver) -> None:
    driver.put("k", [b"a" * CHUNK_BYTES, b"a" * 5])
    chunks = driver.get("k")
    first = next(chunks)
    driver.put("k", [b"b"])
    assert first + b"".join(chunks) == b"a" * (CHUNK_BYTES + 5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), start=st.integers(0, 320), length=st.none() | st.integers(0, 320))
def test_a_range_is_the_slice(driver: Driver, body: bytes, start: int, length: int | None) -> None:
    driver.put("k", [body])
    stop = None if length is None else start + length
    assert read(driver, "k", start, stop) == body[start:stop]


def test_a_reading_that_nobody_begins_or_finishes_leaves_no_file_open(driver: Driver) -> None:
    driver.put("k", [bytes(3 << 20)])
    before = os.listdir("/proc/self/fd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        driver.get("k")
        next(driver.get("k"))
    assert os.listdir("/proc/self/fd") == before


def test_a_range_over_several_chunks_is_the_slice(driver: Driver) -> None:
    body = bytes(range(256)) * 10_000
    driver.put("k", [body])
    assert read(driver, "k", 5, 2 * CHUNK_BYTES + 7) == body[5 : 2 * CHUNK_BYTES + 7]


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 4)])
def test_a_range_that_cannot_be_is_refused(driver: Driver, start: int, stop: int | None) -> None:
    driver.put("k", [b"body"])
    with pytest.raises(InvalidError):
        driver.get("k", start=start, stop=stop)


def test_of_many_creators_one_wins_and_its_bytes_stay(driver: Driver) -> None:
    barrier = Barrier(WRITERS)

    def create(writer: int) -> bool:
        barrier.wait(timeout=30)
        try:
            driver.create_if_absent("k", str(writer).encode())
        except NameTakenError:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(create, range(WRITERS)))
    assert won.count(True) == 1
    assert read(driver, "k") == str(won.index(True)).encode()


def test_no_increment_is_lost_between_many_writers(driver: Driver) -> None:
    driver.create_if_absent("n", b"0")
    barrier = Barrier(WRITERS)

    def increment(_: int) -> None:
        barrier.wait(timeout=30)
        for _ in range(5):
            while not _added_one(driver):
                pass

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(increment, range(WRITERS)))
    assert read(driver, "n") == str(WRITERS * 5).encode()


def _added_one(driver: Driver) -> bool:
    etag = driver.head("n").etag
    try:
        driver.replace_if_match("n", str(int(read(driver, "n")) + 1).encode(), etag=etag)
    except StaleError:
        return False
    return True


def test_a_key_that_is_gone_or_made_anew_does_not_match(driver: Driver) -> None:
    etag = driver.put("k", [b"1"]).etag
    driver.delete("k")
    with pytest.raises(StaleError):
        driver.replace_if_match("k", b"2", etag=etag)
    driver.create_if_absent("k", b"1")
    with pytest.raises(StaleError):
        driver.replace_if_match("k", b"2", etag=etag)
