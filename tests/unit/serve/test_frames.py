"""Frames read the same however the stream is cut, and what is no frame is refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.serve.frames import ENTRY, HEAD, MAGIC, PROTOCOL, Decoder, Entry, Frame, FrameError, Kind, encode

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
ENTRIES = st.builds(Entry, U64, st.binary(max_size=40), U32, U32, U16, U8, U8, U8)
FRAMES = st.builds(Frame, st.sampled_from(Kind), st.lists(ENTRIES, max_size=4), U16, st.just(False))


@given(frames=st.lists(FRAMES, max_size=5), cuts=st.lists(st.integers(0, 900)))
def test_any_split_of_the_stream_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(encode, frames))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    decoder = Decoder()
    got = [frame for a, b in itertools.pairwise(edges) for frame in decoder.feed(stream[a:b])]
    assert got == frames


@given(garbage=st.binary(min_size=1, max_size=200))
def test_garbage_is_refused_or_waits_for_more_but_never_gives_a_frame(garbage: bytes) -> None:
    stream = bytes([garbage[0] ^ 0x55 if garbage[:1] == MAGIC[:1] else garbage[0]]) + garbage[1:]
    decoder = Decoder()
    if len(stream) < HEAD.size:
        assert decoder.feed(stream) == []
    else:
        with pytest.raises(FrameError):
            decoder.feed(stream)


@given(frame=FRAMES, place=st.integers(0, HEAD.size - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_head_never_passes_for_the_same_frame(frame: Frame, place: int, bit: int) -> None:
    stream = bytearray(encode(frame))
    stream[place] ^= 1 << bit
    try:
        got = Decoder().feed(bytes(stream))
    except FrameError:
        return
    assert got != [frame]


@pytest.mark.parametrize(
    "head",
    [
        HEAD.pack(MAGIC, PROTOCOL + 1, Kind.BATCH, 0, 0, 0),
        HEAD.pack(MAGIC, PROTOCOL, 99, 0, 0, 0),
        HEAD.pack(MAGIC, PROTOCOL, Kind.BATCH, 0, 2, ENTRY.size),
        HEAD.pack(MAGIC, PROTOCOL, Kind.BATCH, 0, 0, 1001),
        HEAD.pack(MAGIC, PROTOCOL, Kind.BATCH, 0, 1, ENTRY.size) + ENTRY.pack(1, 5, 0, 0, 0, 0, 0, 0),
        HEAD.pack(MAGIC, PROTOCOL, Kind.BATCH, 0, 0, 3) + b"abc",
    ],
    ids=["version", "kind", "too few bytes", "too large", "body outside", "bytes left over"],
)
def test_a_frame_that_contradicts_itself_is_refused(head: bytes) -> None:
    with pytest.raises(FrameError):
        Decoder(max_bytes=1000).feed(head)


def test_another_version_is_called_by_its_number() -> None:
    with pytest.raises(FrameError, match=f"version 3 .* version {PROTOCOL}"):
        Decoder().feed(HEAD.pack(MAGIC, 3, Kind.HELLO, 0, 0, 0))


@pytest.mark.parametrize("entry", [Entry(-1), Entry(2**64), Entry(1, deadline_ms=2**32), Entry(1, status=70_000)])
def test_a_number_that_does_not_fit_is_refused(entry: Entry) -> None:
    with pytest.raises(FrameError):
        encode(Frame(Kind.BATCH, [entry]))
