"""What every driver must do, run over each of them: a test file per storage, so that their servers start side by side.

Such a file has a module's fixture `storage`, and a subclass of `DriverContract` that says what its probe finds.
"""

import gc
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton.core.errors import (
    InvalidError,
    NameTakenError,
    NotFoundError,
    StaleError,
    StorageUnreachableError,
    UnsupportedError,
)
from lepton.vault.driver import CHUNK_BYTES, Capabilities, Driver
from lepton.vault.drivers.files import FileDriver
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.drivers.opening import open_driver
from lepton.vault.drivers.patience import Patience
from lepton.vault.drivers.probing import probe
from tests.backends.process import Storage

WRITERS, ADDERS = 16, 6
PATIENCE = Patience(connect_s=30, answer_s=60)
REFUSED = [
    *(
        "",
        "/etc/passwd",
        "../up",
        "a/../../up",
        "a//b",
        ".new/x",
        "a/.hidden",
        "a\n",
        "a\\b",
        "a\0b",
        "ends./x",
        "end ",
    ),
    *(f"a{sign}b" for sign in '<>:"|?*'),
    *("a/" + "x" * 256, "\u00fc" * 128, "a/" * 256 + "b", "x/" * 2000),
]
ODD = [
    *("with space/and more", "100%", "%41%2F", "a+b&c=d#e;f,g@h!$'()[]{}~^`", "\u00fcber/\u65e5\u672c/\U0001f600"),
    *("o\u0308de", "x" * 255, "\u00fc" * 127, "/".join(["y" * 100] * 5), "-dash", "~tilde", "n" * 120 + ".txt"),
]


def below(storage: Storage, name: str) -> str:
    """The address of a folder in the storage."""
    address, mark, query = storage.url.partition("?")
    return f"{address.rstrip('/')}/{name}{mark}{query}"


def opened(storage: Storage, name: str = "", *, patience: Patience = PATIENCE) -> Driver:
    """A driver of a folder of its own in the storage."""
    return open_driver(below(storage, name or uuid4().hex), storage.credentials, patience=patience)


def read(driver: Driver, key: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(driver.get(key, start=start, stop=stop))


def keys(driver: Driver, prefix: str = "") -> list[str]:
    return [head.key for head in driver.list(prefix)]


@pytest.fixture
def driver(storage: Storage) -> Iterator[Driver]:
    with closing(opened(storage)) as driver:
        yield driver


class DriverContract:
    probed: ClassVar[Capabilities]

    def test_the_probe_finds_what_the_docs_say(self, storage: Storage) -> None:
        folder = uuid4().hex
        found = probe(lambda: opened(storage, folder))
        assert found.why_not.keys() == {name for name, value in found.to_json().items() if value is False}
        assert Capabilities.from_json({**found.to_json(), "why_not": {}}) == self.probed, found.why_not
        assert Capabilities.from_json(found.to_json()) == found
        with closing(opened(storage, folder)) as driver:
            assert keys(driver) == []
            if isinstance(driver, LocalDriver | FileDriver):
                there = driver._entries("")  # folders too
                assert [entry.name for entry in there if not entry.name.startswith(".")] == []

    def test_what_is_put_is_got_and_listed_in_order(self, driver: Driver) -> None:
        for key in ("b/2", "a", "b/10", "b.txt", "b-"):
            assert driver.put(key, [key.encode(), b"!"]).size_bytes == len(key) + 1
        assert read(driver, "b/2") == b"b/2!"
        assert keys(driver) == ["a", "b-", "b.txt", "b/10", "b/2"]
        assert keys(driver, "b/") == ["b/10", "b/2"]
        assert keys(driver, "b/1") == ["b/10"]
        assert keys(driver, "b") == ["b-", "b.txt", "b/10", "b/2"]
        assert keys(driver, "nothing/here") == keys(driver, "a/") == []
        assert driver.head("a") == next(driver.list("a"))

    def test_an_unknown_key_is_not_found_at_the_call(self, driver: Driver) -> None:
        with pytest.raises(NotFoundError):
            driver.get("before/anything")
        driver.put("folder/key", [b"x"])
        for key in ("nothing", "folder", "folder/key/below"):
            with pytest.raises(NotFoundError):
                driver.get(key)
            with pytest.raises(NotFoundError):
                driver.head(key)
            driver.delete(key)
        assert keys(driver) == ["folder/key"]
        driver.delete("folder/key")
        with pytest.raises(NotFoundError):
            driver.head("folder/key")

    @pytest.mark.parametrize("key", REFUSED, ids=lambda key: ascii(key)[:20])
    def test_a_key_that_is_no_name_is_refused(self, driver: Driver, key: str) -> None:
        for act in (driver.get, driver.head, driver.delete):
            with pytest.raises(InvalidError):
                act(key)
        with pytest.raises(InvalidError):
            driver.put(key, [b"x"])
        if driver.capabilities.create_if_absent:
            with pytest.raises(InvalidError):
                driver.create_if_absent(key, b"x")

    def test_odd_names_are_kept_as_they_are(self, driver: Driver) -> None:
        for key in ODD:
            driver.put(key, [key.encode()])
        assert keys(driver) == sorted(ODD)
        for key in ODD:
            assert read(driver, key) == key.encode()
            assert keys(driver, key) == [key]
            assert driver.head(key).size_bytes == len(key.encode())
            driver.delete(key)
        assert keys(driver) == []

    def test_a_write_of_other_bytes_changes_the_etag(self, driver: Driver) -> None:
        etags = [driver.put("k", [b"x" * size]).etag for size in (1, 2, 3)]
        assert len(set(etags)) == 3
        assert driver.head("k").etag == etags[-1] == next(driver.list()).etag
        if self.probed.unique_etags:
            same = {driver.put("k", [b"same"]).etag for _ in range(20)}
            assert len(same) == 20
            assert driver.head("k").etag in same

    def test_a_write_that_fails_leaves_the_key_as_it_was(self, driver: Driver) -> None:
        driver.put("k", [b"old"])

        def broken(size: int) -> Iterator[bytes]:
            yield b"n" * size
            raise ConnectionResetError("the sender went away")

        for key, size in (("k", 100_000), ("fresh", 0), ("large", 40 << 20)):
            with pytest.raises(ConnectionResetError, match="the sender went away"):
                driver.put(key, broken(size))
        assert read(driver, "k") == b"old"
        assert keys(driver) == ["k"]

    def test_an_empty_body_and_an_empty_chunk_are_bytes_too(self, driver: Driver) -> None:
        assert driver.put("none", []).size_bytes == driver.put("empty", [b"", b""]).size_bytes == 0
        assert driver.put("some", [b"", b"x", b"", b"y"]).size_bytes == 2
        assert [read(driver, key) for key in ("none", "empty", "some")] == [b"", b"", b"xy"]

    def test_a_reader_never_gets_a_mix(self, driver: Driver) -> None:
        driver.put("k", [b"a" * CHUNK_BYTES] * 12)
        chunks = driver.get("k")
        got = next(chunks)
        driver.put("k", [b"b" * 7])
        try:
            got += b"".join(chunks)
        except StorageUnreachableError:
            assert got  # what came before is of one version
        assert got == b"a" * len(got)
        assert read(driver, "k") == b"b" * 7

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(size=st.sampled_from([0, 1, 300]), start=st.integers(0, 320), length=st.none() | st.integers(0, 320))
    def test_a_range_is_the_slice(self, driver: Driver, size: int, start: int, length: int | None) -> None:
        body = bytes(number % 251 for number in range(size))
        try:
            driver.head(f"k{size}")
        except NotFoundError:
            driver.put(f"k{size}", [body])
        stop = None if length is None else start + length
        assert read(driver, f"k{size}", start, stop) == body[start:stop]

    def test_a_reading_that_nobody_begins_or_finishes_leaves_no_file_open(self, driver: Driver) -> None:
        driver.put("k", [bytes(3 << 20)])
        before = len(os.listdir("/proc/self/fd"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(20):
                driver.get("k")
                next(driver.get("k"))
            gc.collect()
        assert len(os.listdir("/proc/self/fd")) < before + 10  # a client may keep connections, not one for each

    def test_a_large_object_in_many_chunks_comes_back_whole_and_in_parts(self, driver: Driver) -> None:
        body = bytes(range(256)) * (4096 * 20) + b"end"
        sent = driver.put("k", (body[at : at + 1_000_003] for at in range(0, len(body), 1_000_003)))
        assert sent.size_bytes == driver.head("k").size_bytes == len(body)
        assert sent.etag == driver.head("k").etag
        assert read(driver, "k") == body
        assert read(driver, "k", 5, 9 * CHUNK_BYTES + 7) == body[5 : 9 * CHUNK_BYTES + 7]
        assert read(driver, "k", len(body) - 3) == b"end"

    def test_a_large_object_is_written_while_it_is_read_from_another_key(self, driver: Driver) -> None:
        body = [os.urandom(1 << 20) for _ in range(40)]
        driver.put("k", body)
        assert driver.put("copy", driver.get("k")).size_bytes == 40 << 20
        assert b"".join(driver.get("copy")) == b"".join(body)

    @pytest.mark.parametrize(("start", "stop"), [(-1, None), (5, 4)])
    def test_a_range_that_cannot_be_is_refused(self, driver: Driver, start: int, stop: int | None) -> None:
        driver.put("k", [b"body"])
        with pytest.raises(InvalidError):
            driver.get("k", start=start, stop=stop)

    def test_of_many_creators_one_wins_and_its_bytes_stay(self, driver: Driver) -> None:
        if not driver.capabilities.create_if_absent:
            with pytest.raises(UnsupportedError):
                driver.create_if_absent("k", b"x")
            assert keys(driver) == []
            return
        if not self.probed.create_if_absent:
            return  # believed, and refuted by the probe
        barrier = Barrier(WRITERS)

        def create(writer: int) -> bool:
            barrier.wait(timeout=60)
            try:
                driver.create_if_absent("folder/k", str(writer).encode())
            except NameTakenError:
                return False
            return True

        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(create, range(WRITERS)))
        assert won.count(True) == 1
        assert read(driver, "folder/k") == str(won.index(True)).encode()
        assert keys(driver) == ["folder/k"]

    def test_no_increment_is_lost_between_many_writers(self, driver: Driver) -> None:
        etag = driver.put("n", [b"0"]).etag
        if not driver.capabilities.replace_if_match:
            with pytest.raises(UnsupportedError):
                driver.replace_if_match("n", b"1", etag=etag)
            assert read(driver, "n") == b"0"
            return
        if not self.probed.replace_if_match:
            return  # believed, and refuted by the probe
        barrier = Barrier(ADDERS)

        def increment(_: int) -> None:
            barrier.wait(timeout=60)
            while not _added_one(driver):
                pass

        with ThreadPoolExecutor(ADDERS) as pool:
            list(pool.map(increment, range(ADDERS)))
        assert read(driver, "n") == str(ADDERS).encode()

    def test_a_key_that_is_gone_or_made_anew_does_not_match(self, driver: Driver) -> None:
        if not self.probed.replace_if_match:
            return
        etag = driver.put("k", [b"1"]).etag
        driver.delete("k")
        with pytest.raises(StaleError):
            driver.replace_if_match("k", b"2", etag=etag)
        driver.create_if_absent("k", b"1" if self.probed.unique_etags else b"other")
        with pytest.raises(StaleError):
            driver.replace_if_match("k", b"2", etag=etag)
        assert driver.replace_if_match("k", b"22", etag=driver.head("k").etag) == driver.head("k")

    def test_two_drivers_see_the_same_bytes(self, storage: Storage) -> None:
        with closing(opened(storage, "shared")) as one, closing(opened(storage, "shared")) as other:
            one.put("a/k", [b"1"])
            assert read(other, "a/k") == b"1"
            other.put("a/k", [b"2"])
            assert read(one, "a/k") == b"2"
            other.delete("a/k")
            assert keys(one) == []

    def test_a_driver_that_was_closed_opens_again(self, driver: Driver) -> None:
        driver.put("k", [b"1"])
        driver.close()
        assert read(driver, "k") == b"1"


def _added_one(driver: Driver) -> bool:
    etag = driver.head("n").etag
    try:
        driver.replace_if_match("n", str(int(read(driver, "n")) + 1).encode(), etag=etag)
    except StaleError:
        return False
    return True
