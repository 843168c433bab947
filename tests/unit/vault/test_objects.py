"""Objects are checked when they come in and when they go out."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton.core.errors import IntegrityError, InvalidError, NotFoundError, TooLargeError
from lepton.vault.driver import CHUNK_BYTES
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.objects import Objects

BODY = bytes(range(256)) * 5000
DIGEST = sha256(BODY).hexdigest()


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(LocalDriver(tmp_path))


def test_equal_bytes_are_kept_once(objects: Objects) -> None:
    assert not objects.has(DIGEST)
    assert objects.put_stream([BODY], DIGEST)
    assert not objects.put_stream([BODY[:7], BODY[7:]], DIGEST)
    assert objects.read(DIGEST) == BODY
    assert list(objects.list()) == [(DIGEST, len(BODY))]


@pytest.mark.parametrize("is_there", [False, True])
def test_bytes_that_do_not_match_their_name_are_refused(objects: Objects, is_there: bool) -> None:
    if is_there:
        objects.put(BODY)
    with pytest.raises(IntegrityError):
        objects.put_stream([b"other"], DIGEST)
    assert objects.has(DIGEST) is is_there


def test_more_bytes_than_allowed_are_refused_before_all_are_read(objects: Objects) -> None:
    sent = []

    def endless() -> object:
        while True:
            sent.append(1)
            yield b"x" * 1000

    with pytest.raises(TooLargeError):
        objects.put_stream(endless(), DIGEST, limit=10_000)  # type: ignore[arg-type]
    assert len(sent) == 11
    assert not objects.has(DIGEST)


def test_a_name_that_is_no_digest_is_refused(objects: Objects) -> None:
    for digest in ("", "../x", DIGEST.upper(), DIGEST[:-1]):
        with pytest.raises(InvalidError):
            objects.open(digest)


def test_an_unknown_object_is_not_found_at_the_call(objects: Objects) -> None:
    with pytest.raises(NotFoundError):
        objects.open(DIGEST)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, len(BODY) + 9), stop=st.none() | st.integers(0, len(BODY) + 9))
def test_a_range_is_the_slice(objects: Objects, start: int, stop: int | None) -> None:
    objects.put(BODY)
    if stop is not None and stop < start:
        start, stop = stop, start
    assert objects.read(DIGEST, start=start, stop=stop) == BODY[start:stop]


@pytest.mark.parametrize("at", [0, len(BODY) - 1])
def test_damaged_bytes_are_never_read_to_the_end(objects: Objects, tmp_path: Path, at: int) -> None:
    objects.put(BODY)
    path = tmp_path / "objects" / DIGEST[:2] / DIGEST[2:]
    damaged = bytearray(BODY)
    damaged[at] ^= 1
    path.write_bytes(damaged)
    seen = 0
    with pytest.raises(IntegrityError):
        for chunk in objects.open(DIGEST):
            seen += len(chunk)
    assert seen <= len(BODY) - (len(BODY) % CHUNK_BYTES)


def test_an_empty_object_can_be_kept(objects: Objects) -> None:
    assert objects.read(objects.put(b"")) == b""
