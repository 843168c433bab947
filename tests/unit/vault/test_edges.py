"""Packed streams: what other programs pack is unpacked and the other way round, in flat memory; the rest is refused."""

import gzip
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from io import BytesIO

import cramjam
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.vault.edges import PACKERS, UNPACKERS, packed, unpacked

TEXT = b"".join(b"line %d of some text that packs well\n" % number for number in range(40_000))
NOISE = os.urandom(300_000)


def pack(kind: str, body: bytes) -> bytes:
    """As other programs do; lzop, where it is installed."""
    if kind == "gzip":
        return gzip.compress(body)
    if kind == "zstd":
        return zstandard.ZstdCompressor(write_checksum=True).compress(body)
    if kind == "snappy":
        return bytes(cramjam.snappy.compress(body)) or b"\xff\x06\x00\x00sNaPpY"  # of nothing it makes nothing
    lzop = shutil.which("lzop")
    if not lzop:
        pytest.skip("lzop is not installed")
    return subprocess.run([lzop, "-c"], input=body, capture_output=True, check=True).stdout


def cut(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


@pytest.mark.parametrize("kind", UNPACKERS)
@pytest.mark.parametrize("body", [b"", b"x", TEXT, NOISE], ids=["empty", "one", "text", "noise"])
def test_what_others_pack_is_unpacked(kind: str, body: bytes) -> None:
    whole = pack(kind, body)
    for size in (1000, 65_536, len(whole) + 1):
        assert b"".join(unpacked(kind, cut(whole, size))) == body


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_packed_can_be_read_by_others(kind: str) -> None:
    whole = b"".join(packed(kind, cut(TEXT + NOISE, 100_000)))
    read = {
        "gzip": gzip.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().stream_reader(BytesIO(body)).read(),
        "snappy": lambda body: bytes(cramjam.snappy.decompress(body)),
    }
    assert read[kind](whole) == TEXT + NOISE
    assert b"".join(unpacked(kind, cut(whole, 777))) == TEXT + NOISE


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(sorted(PACKERS)), body=st.binary(max_size=5000), step=st.integers(1, 700))
def test_any_bytes_come_back(kind: str, body: bytes, step: int) -> None:
    assert b"".join(unpacked(kind, cut(b"".join(packed(kind, cut(body, step))), step))) == body


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_several_members_are_one_stream(kind: str) -> None:
    assert b"".join(unpacked(kind, cut(pack(kind, b"one ") + pack(kind, b"two"), 5))) == b"one two"


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_zeros_behind_a_gzip_stream_are_padding_and_nothing_else_is(step: int) -> None:
    whole = pack("gzip", b"one ") + pack("gzip", b"two")
    for zeros in (1, 511, 3 << 19):
        assert b"".join(unpacked("gzip", cut(whole + bytes(zeros), max(step, zeros // 1000)))) == b"one two"
    for more in (b"\0x", b"\0\0" + whole, b"x\0"):
        with pytest.raises(InvalidError, match="no whole gzip"):
            b"".join(unpacked("gzip", cut(whole + more, step)))
    with pytest.raises(InvalidError, match="no whole gzip"):
        b"".join(unpacked("gzip", cut(bytes(512), step)))


@pytest.mark.parametrize("kind", UNPACKERS)
def test_what_is_cut_off_or_damaged_is_refused(kind: str) -> None:
    whole = pack(kind, TEXT[:50_000])
    ends = [at for at in (0, 1, 9, 20, len(whole) // 2, len(whole) - 1) if not (kind == "snappy" and at == 10)]
    for end in ends:
        with pytest.raises(InvalidError, match="no whole"):
            b"".join(unpacked(kind, cut(whole[:end], 100)))
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        changed = whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]
        try:
            found = b"".join(unpacked(kind, [changed]))
        except InvalidError:
            continue
        assert found == TEXT[:50_000], f"byte {at} changed what comes out"
    with pytest.raises(InvalidError):
        b"".join(unpacked(kind, [whole, b"more"]))
    with pytest.raises(InvalidError):
        b"".join(unpacked(kind, [b"no such stream"]))


@pytest.mark.parametrize("kind", UNPACKERS)
def test_a_bomb_is_unpacked_with_flat_memory(kind: str) -> None:
    if kind == "lzo":
        bomb = pack(kind, bytes(100_000_000))
    else:
        bomb = b"".join(packed(kind, (bytes(1 << 20) for _ in range(300))))
    tracemalloc.start()
    size = sum(len(piece) for piece in unpacked(kind, cut(bomb, 1 << 16)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size >= 100_000_000 and peak < 80_000_000, peak


def test_an_lzop_block_that_claims_too_much_is_refused() -> None:
    whole = bytearray(pack("lzo", TEXT))
    at = bytes(whole).index((256 << 10).to_bytes(4, "big"))
    whole[at : at + 4] = (1 << 31).to_bytes(4, "big")
    with pytest.raises(InvalidError, match="2147483648 bytes"):
        b"".join(unpacked("lzo", [bytes(whole)]))
