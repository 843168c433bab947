"""Cutting content, and encoding its pieces."""

import random

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.errors import IntegrityError
from lepton.vault.store.codecs import Codec, Encoder, Octets, Tier, decode
from lepton.vault.store.cutting import LEAST_BYTES, MOST_BYTES, Cutter

SEED = b"12345678"
CONTENT = random.Random(1).randbytes(3 << 20)


def cut(content: bytes, pieces: list[int] | None = None, seed: bytes = SEED) -> list[bytes]:
    at, parts = 0, []
    for size in pieces or []:
        parts.append(content[at : at + size])
        at += size
    return [bytes(chunk) for chunk in Cutter(seed).cut([*parts, content[at:]])]


def test_chunks_are_the_content_and_of_the_sizes_promised() -> None:
    chunks = cut(CONTENT)
    assert b"".join(chunks) == CONTENT and max(map(len, chunks)) <= MOST_BYTES
    assert min(map(len, chunks[:-1])) >= LEAST_BYTES


@given(st.lists(st.integers(0, 700_000), max_size=8))
def test_how_the_stream_comes_makes_no_difference(pieces: list[int]) -> None:
    assert cut(CONTENT, pieces) == cut(CONTENT)


def test_windows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut(CONTENT)
    monkeypatch.setattr("lepton.vault.store.cutting.WINDOW_BYTES", 300_000)
    assert cut(CONTENT) == whole


def test_an_edit_changes_few_chunks_and_a_seed_all_cuts() -> None:
    edited = CONTENT[:1_000_000] + b"new" + CONTENT[1_000_000:]
    assert len(set(cut(edited)) - set(cut(CONTENT))) <= 3
    lengths = {len(chunk) for chunk in cut(CONTENT)}
    assert len(lengths & {len(chunk) for chunk in cut(CONTENT, seed=b"87654321")}) <= 2


def test_nothing_is_cut_into_nothing() -> None:
    assert cut(b"") == []


def encode(chunk: bytes, tier: Tier = Tier.WARM) -> tuple[Codec, Octets]:
    return Encoder(tier).encode(chunk)


FLOATS = np.random.default_rng(1).standard_normal(16_384).astype("f4").tobytes()
KINDS = {
    "text": (b"the quick brown fox " * 3000, Codec.ZSTD),
    "floats": (FLOATS, Codec.SPLIT_4),
    "halves": (np.frombuffer(FLOATS, "<u2")[1::2].tobytes(), Codec.SPLIT_2),
    "noise": (random.Random(2).randbytes(60_000), Codec.RAW),
    "short": (b"abc" * 10, Codec.RAW),
    "empty": (b"", Codec.RAW),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_codec_suits_the_content(kind: str) -> None:
    chunk, wanted = KINDS[kind]
    codec, body = encode(chunk)
    assert codec == wanted and bytes(decode(codec, body, len(chunk))) == chunk


def test_hot_chunks_decode_fast_and_cold_ones_are_small() -> None:
    chunk = b"".join(b"row %d, value %d\n" % (at, at * at % 1009) for at in range(5000))
    sizes = {}
    for tier in Tier:
        codec, body = encode(chunk, tier)
        assert bytes(decode(codec, body, len(chunk))) == chunk
        assert (codec is Codec.LZ4) == (tier is Tier.HOT)
        sizes[tier] = len(body)
    assert sizes[Tier.COLD] < sizes[Tier.WARM] < sizes[Tier.HOT]


def test_a_writer_goes_on_as_long_as_chunks_are_alike() -> None:
    encoder, chance = Encoder(), random.Random(4)
    kinds = [KINDS[name] for name in ("text", "floats", "halves", "noise")]
    for _ in range(200):
        chunk, wanted = chance.choice(kinds)
        for _ in range(chance.randrange(4)):
            codec, body = encoder.encode(chunk)
            assert bytes(decode(codec, body, len(chunk))) == chunk
            assert len(body) <= 1.5 * len(encode(chunk)[1]), wanted


@given(st.binary(max_size=3000), st.sampled_from(Tier), st.integers(1, 40))
def test_every_chunk_comes_back(chunk: bytes, tier: Tier, times: int) -> None:
    codec, body = encode(chunk * times, tier)
    assert bytes(decode(codec, body, len(chunk * times))) == chunk * times


@pytest.mark.parametrize(
    ("codec", "body", "length"),
    [
        (1, zstandard.compress(bytes(10_000_000)), 1000),  # a bomb
        (1, zstandard.compress(bytes(1000)), 999),
        (1, b"no frame", 8),
        (4, zstandard.compress(bytes(1000)), 2000),
        (16, b"no block", 80),
        (0, b"abc", 4),
        (77, b"abc", 3),
        (0, bytes(MOST_BYTES + 1), MOST_BYTES + 1),
        (1, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100)), 100),
    ],
)
def test_what_decodes_to_something_else_is_refused(codec: int, body: bytes, length: int) -> None:
    with pytest.raises(IntegrityError):
        decode(codec, body, length)


def test_every_seed_cuts() -> None:
    for seed in (bytes(8), b"\xff" * 8, b"\1" + bytes(7), bytes(7) + b"\x80"):
        assert b"".join(bytes(chunk) for chunk in Cutter(seed).cut([b"some content"])) == b"some content"
