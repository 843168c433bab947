"""Large bodies pass through memory that two ends share, and nothing a peer says makes one read beyond it."""

import fcntl
import gc
import json
import os
from collections import deque
from collections.abc import Iterator
from socket import AF_UNIX, SOCK_SEQPACKET, send_fds, socketpair

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.serve.frames import BESIDE, SHARED, Entry, Frame, FrameError, Kind, encode
from lepton.serve.mailbox import Mailbox
from lepton.serve.sealed import SEALS
from lepton.serve.shared import LARGE_BYTES, PLACE, SEGMENT_BYTES, Ring, Wire

BIG = os.urandom(LARGE_BYTES + 1)


class Pair:
    """Two ends whose bytes are carried by hand."""

    def __init__(self) -> None:
        self.sent: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.lines = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self.ends = tuple(Wire(sent.append, Mailbox(line)) for sent, line in zip(self.sent, self.lines, strict=True))

    def carry(self) -> list[Frame]:
        """Bring everything to the other end; what the ends were told."""
        told: list[Frame] = []
        while any(self.sent):
            for at in (0, 1):
                while self.sent[at]:
                    told += self.ends[1 - at].feed(self.sent[at].popleft())
        return told

    def waiting_bytes(self, at: int) -> int:
        return sum(map(len, self.sent[at]))


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    for end in pair.ends:
        end.close()


def batch(*bodies: bytes) -> Frame:
    return Frame(Kind.BATCH, [Entry(id, body) for id, body in enumerate(bodies)])


def test_the_first_large_body_goes_in_its_frame_and_later_ones_beside_it(pair: Pair) -> None:
    for turn in range(3):
        for at in (0, 1):
            pair.ends[at].send(batch(b"small", BIG, b"", BIG * 3))
            assert (pair.waiting_bytes(at) > 4 * len(BIG)) == (turn == 0)
            assert pair.carry() == [batch(b"small", BIG, b"", BIG * 3)]


def open_files() -> set[str]:
    """Of this process, without what other tests have left to be collected."""
    gc.collect()
    return set(os.listdir("/proc/self/fd"))


def test_small_bodies_share_nothing(pair: Pair) -> None:
    pair.ends[0].send(batch(*[b"x" * LARGE_BYTES] * 10))
    before = open_files()
    assert pair.carry() == [batch(*[b"x" * LARGE_BYTES] * 10)]
    pair.ends[0].send(batch(b"small"))
    assert open_files() == before


def test_what_finds_no_room_goes_in_its_frame(pair: Pair) -> None:
    pair.ends[0].send(batch(BIG))
    pair.carry()
    huge = bytes(SEGMENT_BYTES // 2 - 100)
    pair.ends[0].send(batch(huge, huge, huge))
    pair.ends[0].send(batch(BIG))
    assert pair.waiting_bytes(0) > len(huge) + len(BIG)
    assert pair.carry() == [batch(huge, huge, huge), batch(BIG)]
    pair.ends[0].send(batch(huge, huge))
    assert pair.waiting_bytes(0) < 1000, "what was read is free again"
    assert pair.carry() == [batch(huge, huge)]


def test_a_closed_end_lets_go_of_its_files() -> None:
    before = open_files()
    pair = Pair()
    for _ in range(2):
        for end in pair.ends:
            end.send(batch(BIG))
        pair.carry()
    assert len(open_files()) > len(before)
    for end in pair.ends:
        end.close()
    assert open_files() == before


@given(st.lists(st.one_of(st.integers(1, 700), st.none()), max_size=60))
def test_a_ring_gives_no_byte_twice_and_frees_the_oldest_first(steps: list[int | None]) -> None:
    ring, taken = Ring(1000), deque[range]()
    for size in steps:
        if size is None:
            if taken:
                ring.free(1)
                taken.popleft()
            continue
        at = ring.take(size)
        if at is None:
            assert taken, "an empty ring takes all that fits it"
            continue
        place = range(at, at + size)
        assert at >= 0 and place.stop <= 1000
        assert all(place.stop <= other.start or other.stop <= place.start for other in taken)
        taken.append(place)


def offer(pair: Pair, fd: int, size: int) -> bytes:
    """What the first end hears when the other offers memory."""
    send_fds(pair.lines[1], [b"f"], [fd])
    return encode(Frame(Kind.OFFER, [Entry(0, json.dumps({"bytes": size}).encode())]))


def test_memory_that_can_shrink_or_is_smaller_than_it_says_is_refused(pair: Pair) -> None:
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    with pytest.raises(FrameError, match="can shrink"):
        pair.ends[0].feed(offer(pair, fd, 1 << 20))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    for size in (2 << 20, 0, -1, 1 << 62):
        with pytest.raises(FrameError):
            pair.ends[0].feed(offer(pair, fd, size))
    assert pair.ends[0].feed(offer(pair, fd, 1 << 20)) == []
    os.close(fd)


@pytest.mark.parametrize("about", [b"", b"[]", b"{}", b'{"bytes": "many"}', b'{"bytes": null}'])
def test_an_offer_that_cannot_be_read_is_refused(pair: Pair, about: bytes) -> None:
    with pytest.raises(FrameError):
        pair.ends[0].feed(encode(Frame(Kind.OFFER, [Entry(0, about)])))


def test_who_was_handed_no_memory_goes_on_without(pair: Pair) -> None:
    assert pair.ends[0].feed(encode(Frame(Kind.OFFER, [Entry(0, b'{"bytes": 1048576}')]))) == []
    assert not pair.sent[0], "it was not opened, and nobody is told that it was"
    pair.ends[0].send(batch(BIG))
    assert pair.carry() == [batch(BIG)]


def beside(place: bytes) -> bytes:
    stream = bytearray(encode(Frame(Kind.BATCH, [Entry(1, place, flags=SHARED)])))
    stream[3] |= BESIDE
    return bytes(stream)


def test_places_beyond_the_memory_are_refused(pair: Pair) -> None:
    with pytest.raises(FrameError, match="never offered"):
        pair.ends[1].feed(beside(PLACE.pack(0, 10)))
    pair.ends[0].send(batch(BIG))
    pair.carry()
    for place in (PLACE.pack(SEGMENT_BYTES, 1), PLACE.pack(0, SEGMENT_BYTES + 1), PLACE.pack(2**64 - 1, 2), b"short"):
        with pytest.raises(FrameError):
            pair.ends[1].feed(beside(place))
    with pytest.raises(FrameError, match="more shared bodies"):
        pair.ends[0].feed(encode(Frame(Kind.FREED, [], 9)))
