"""HTTP/2 within a front: header blocks, frames out of order, flow control, and clients that wear it out."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.serve.heads import PREFACE, is_http2
from lepton.serve.http import Connection
from lepton.serve.protocols.http2 import huffman, wire
from lepton.serve.protocols.http2.connection import MAX_FRAME, TURN_FRAMES
from lepton.serve.protocols.http2.hpack import HeaderError, Reader, write_field, write_int
from lepton.serve.protocols.http2.patience import MANY_FRAMES
from lepton.serve.protocols.http2.wire import Code, Kind, Setting
from lepton.serve.protocols.inference.operations import SERVICE
from tests.fuzz.front import Transport, Worker
from tests.fuzz.http2 import MESSAGE, SETTINGS, call, head, make_front, read_frames, storm, throw, turn

STREAM = f"{SERVICE}ModelStreamInfer"


def test_only_the_preface_is_http2() -> None:
    assert is_http2(PREFACE) is is_http2(PREFACE + b"x") is True
    assert all(is_http2(PREFACE[:end]) is None for end in range(len(PREFACE)))
    assert is_http2(b"POST") is is_http2(b"PRI * HTTP/1.1") is is_http2(PREFACE[:-1] + b"x") is False


# header blocks


def packed(text: bytes) -> bytes:
    """A text in Huffman's code."""
    codes = {s: (g.first + at, g.bits) for g in huffman.GROUPS for at, s in enumerate(g.symbols)}
    bits = "".join(f"{codes[byte][0]:0{codes[byte][1]}b}" for byte in text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


@given(st.binary(max_size=200))
def test_what_is_packed_is_unpacked(text: bytes) -> None:
    assert huffman.decode(packed(text)) == text


@given(st.binary(max_size=60))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    try:
        text = huffman.decode(data)
    except ValueError:
        return
    assert packed(text) == data


@pytest.mark.parametrize("data", [b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", packed(b"a") + b"\xff"])
def test_a_wrong_end_of_a_packed_string_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="string"):
        huffman.decode(data)


def test_blocks_of_the_standard_are_read() -> None:  # RFC 7541, C.4
    reader = Reader(list, 16 << 10)
    first = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
    assert reader.read(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")) == first
    second = reader.read(bytes.fromhex("828684be5886a8eb10649cbf"))
    assert second == [*first, (b"cache-control", b"no-cache")]
    third = reader.read(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"))
    assert third[2:] == [(b":path", b"/index.html"), first[3], (b"custom-key", b"custom-value")]


def kept(name: bytes, value: bytes) -> bytes:
    """A field that the table keeps."""
    return b"\x40" + write_field(name, value)[1:]


def test_a_block_means_something_else_once_the_table_has_changed() -> None:
    reader = Reader(list, 16 << 10)
    newest = write_int(62, 7, 0x80)
    reader.read(kept(b"a", b"1"))
    assert reader.read(newest) == reader.read(newest) == [(b"a", b"1")]
    reader.read(kept(b"b", b"2"))
    assert reader.read(newest) == [(b"b", b"2")]
    assert reader.read(b"\x20") == []  # the table is emptied
    with pytest.raises(HeaderError):
        reader.read(newest)


def test_the_table_forgets_its_oldest() -> None:
    reader = Reader(list, 16 << 10)
    for number in range(100):
        reader.read(kept(b"name", b"%090d" % number))  # 126 bytes each: 32 fit
    assert reader.read(write_int(62 + 31, 7, 0x80)) == [(b"name", b"%090d" % 68)]
    with pytest.raises(HeaderError):
        reader.read(write_int(62 + 32, 7, 0x80))


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff",  # a number without end
        b"\xff\xff\xff\xff\xff\xff",
        b"\x00\x05ab",  # a string without end
        b"\x00",
        b"\x3f\xff\x7f",  # a larger table
        b"\x82\x20",  # a change of the table, too late
        b"\xbe",  # an empty table's entry
        kept(b"x", b"y" * 4000) + b"\xbe" * 5,  # small, but large once it is read
        write_field(b"authorization", b"Bearer a\r\nx: y"),
        write_field(b"x", b"a\x00"),
        write_field(b"Upper", b"a"),
        write_field(b"", b"a"),
        write_field(b"a b", b"a"),
        kept(b"x", b"\n"),
    ],
)
def test_a_block_that_cannot_be_is_refused(block: bytes) -> None:
    with pytest.raises(HeaderError):
        Reader(list, 16 << 10).read(block)


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_any_blocks_are_read_or_refused(blocks: list[bytes]) -> None:
    reader = Reader(list, 16 << 10)
    for block in blocks:
        try:
            reader.read(block)
        except HeaderError:
            return


# connections


def goaway(frames: list[tuple[int, int, int, bytes]]) -> Code | None:
    """Why the connection was ended."""
    told = [payload for kind, _, _, payload in frames if kind == Kind.GOAWAY]
    return Code(int.from_bytes(told[0][4:8], "big")) if told else None


def run(course: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await course()

    asyncio.run(whole())


H = wire.END_HEADERS
CALL = wire.frame(Kind.HEADERS, H, 1, head(f"{SERVICE}ModelInfer"))
ONE = (1).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([wire.frame(Kind.PING, 0, 0, b"12345678")], Code.PROTOCOL_ERROR),
        ([wire.frame(Kind.SETTINGS, wire.ACK, 0)], Code.PROTOCOL_ERROR),
        ([b"\x04\x00\x01\x00\x00\x00\x00\x00\x01"], Code.FRAME_SIZE_ERROR),
        ([SETTINGS, wire.frame(Kind.DATA, 0, 0, b"x")], Code.FLOW_CONTROL_ERROR),
        ([SETTINGS, wire.frame(Kind.DATA, 0, 1, b"x")], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.HEADERS, H, 2, head("/"))], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.HEADERS, H, 1, b"\x80")], Code.COMPRESSION_ERROR),
        ([SETTINGS, wire.frame(Kind.HEADERS, H | wire.PADDED, 1, b"\x09abc")], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.HEADERS, H | wire.PRIORITY, 1, b"abc")], Code.FRAME_SIZE_ERROR),
        ([SETTINGS, wire.frame(Kind.CONTINUATION, H, 1, b"")], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.HEADERS, 0, 1, b""), SETTINGS], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.HEADERS, 0, 1), wire.frame(Kind.CONTINUATION, H, 3)], Code.PROTOCOL_ERROR),
        (
            [SETTINGS, wire.frame(Kind.HEADERS, 0, 1), *[wire.frame(Kind.CONTINUATION, 0, 1)] * 99],
            Code.ENHANCE_YOUR_CALM,
        ),
        ([SETTINGS, CALL, CALL], Code.PROTOCOL_ERROR),
        ([wire.frame(Kind.SETTINGS, 0, 0, b"12345")], Code.FRAME_SIZE_ERROR),
        ([wire.settings({Setting.INITIAL_WINDOW_SIZE: 1 << 31})], Code.FLOW_CONTROL_ERROR),
        ([wire.settings({Setting.MAX_FRAME_SIZE: 100})], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.PING, 0, 0, b"1234567")], Code.FRAME_SIZE_ERROR),
        ([SETTINGS, wire.window_update(0, 0)], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.window_update(0, wire.MAX_WINDOW)], Code.FLOW_CONTROL_ERROR),
        ([SETTINGS, CALL, wire.window_update(1, wire.MAX_WINDOW)], Code.FLOW_CONTROL_ERROR),
        ([SETTINGS, wire.window_update(7, 1)], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.frame(Kind.WINDOW_UPDATE, 0, 0, b"123")], Code.FRAME_SIZE_ERROR),
        ([SETTINGS, wire.frame(Kind.PUSH_PROMISE, H, 1, ONE)], Code.PROTOCOL_ERROR),
        ([SETTINGS, wire.reset(1, Code.CANCEL)], Code.PROTOCOL_ERROR),
        ([SETTINGS, CALL, wire.frame(Kind.RST_STREAM, 0, 1, b"1")], Code.FRAME_SIZE_ERROR),
        ([SETTINGS, *[wire.frame(Kind.PING, 0, 0, b"12345678")] * 10_001], Code.ENHANCE_YOUR_CALM),
        ([SETTINGS, *[wire.frame(12, 0, 0)] * 10_001], Code.ENHANCE_YOUR_CALM),  # type: ignore[arg-type]
        ([SETTINGS, CALL, *[wire.frame(Kind.DATA, 0, 1)] * 10_001], Code.ENHANCE_YOUR_CALM),
        ([SETTINGS, CALL, *[wire.frame(Kind.DATA, wire.PADDED, 1, b"\x02  ")] * 10_001], Code.ENHANCE_YOUR_CALM),
        ([SETTINGS, CALL, *[wire.frame(Kind.DATA, 0, 1, b"\0")] * (MANY_FRAMES + 1)], Code.ENHANCE_YOUR_CALM),
        (
            [
                SETTINGS,
                *[CALL[:5] + n.to_bytes(4, "big") + CALL[9:] + wire.reset(n, Code.CANCEL) for n in range(1, 2100, 2)],
            ],
            Code.ENHANCE_YOUR_CALM,
        ),
    ],
)
def test_who_breaks_the_protocol_is_told_and_let_go(frames: list[bytes], code: Code) -> None:
    async def course() -> None:
        lobby, worker = make_front()
        answered = await throw(lobby, worker, [PREFACE + b"".join(frames)])
        assert goaway(answered) == code
        assert not lobby.connections and not lobby.own.open

    run(course)


def test_tiny_frames_leave_others_their_turn() -> None:
    async def course() -> None:
        lobby, worker = make_front()
        first, busy = Connection(lobby), Transport()
        first.connection_made(busy)  # type: ignore[arg-type]
        body = (4 * TURN_FRAMES).to_bytes(5, "big") + bytes(4 * TURN_FRAMES - 1)  # of a message without its last byte
        frames = [wire.frame(Kind.DATA, 0, 1, body[at : at + 1]) for at in range(len(body))]
        first.data_received(PREFACE + SETTINGS + CALL + b"".join(frames))
        (stream,) = busy.protocol.streams.values()
        read = len(stream._body)
        assert read < TURN_FRAMES, "the rest waits for its turn"
        answered = await throw(lobby, worker, [PREFACE + b"".join([SETTINGS, *call(1)])])
        assert [number for kind, _, number, _ in answered if kind == Kind.DATA] == [1]
        while busy.protocol._is_resting:
            await asyncio.sleep(0)
        assert read < len(stream._body) == len(body)

    run(course)


def trailers(frames: list[tuple[int, int, int, bytes]]) -> dict[int, dict[bytes, bytes]]:
    """Stream -> the fields of its last header block."""
    return {
        number: dict(Reader(list, 1 << 16).read(block)) for kind, _, number, block in frames if kind == Kind.HEADERS
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_session_that_comes_in_pieces_is_answered_alike(size: int) -> None:
    async def course() -> None:
        lobby, worker = make_front()
        data = PREFACE + b"".join(
            [SETTINGS, *call(1), *call(3, STREAM, MESSAGE * 3), *call(5, f"{SERVICE}ServerReady")]
        )
        frames = await throw(lobby, worker, [data[at : at + size] for at in range(0, len(data), size)])
        bodies = [(number, payload) for kind, _, number, payload in frames if kind == Kind.DATA]
        assert [body for number, body in bodies if number == 1] == [b"\0\0\0\0\x02{}"]
        assert [body for number, body in bodies if number == 3] == [b"\0\0\0\0\x04\x12\x02{}"] * 3
        assert [body for number, body in bodies if number == 5] == [b"\0\0\0\0\x02\x08\x01"]
        assert {number: fields[b"grpc-status"] for number, fields in trailers(frames).items()} == {
            1: b"0",
            3: b"0",
            5: b"0",
        }

    run(course)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b"3"),
        (b"\0\0\0", b"3"),
        (MESSAGE[:-1], b"3"),
        (MESSAGE + b"x", b"3"),
        (MESSAGE + MESSAGE, b"3"),
        (b"\x01" + MESSAGE[1:], b"12"),
        (b"\0\xff\xff\xff\xff", b"8"),
    ],
)
@pytest.mark.parametrize("path", [f"{SERVICE}ModelInfer", STREAM])
def test_a_body_that_is_not_one_message_is_refused(data: bytes, status: bytes, path: str) -> None:
    async def course() -> None:
        lobby, worker = make_front()
        frames = await throw(lobby, worker, [PREFACE + SETTINGS, *call(1, path, data), *call(3)])
        is_fine = path == STREAM and data in (b"", MESSAGE + MESSAGE)
        assert trailers(frames)[1][b"grpc-status"] == (b"0" if is_fine else status)
        assert trailers(frames)[3][b"grpc-status"] == b"0"
        assert goaway(frames) is None

    run(course)


class Line:
    """An open connection, without a socket."""

    def __init__(self, **limits: float) -> None:
        self.lobby, self.worker = make_front(**limits)
        self.transport = Transport()
        first = Connection(self.lobby)
        first.connection_made(self.transport)  # type: ignore[arg-type]
        first.data_received(PREFACE)
        self.feed(b"")

    def feed(self, *frames: bytes) -> list[tuple[int, int, int, bytes]]:
        """What is answered to some frames."""
        self.transport.protocol.data_received(b"".join(frames))
        turn(self.lobby, self.worker, self.transport)
        return self.taken()

    def check(self, after_s: float) -> list[tuple[int, int, int, bytes]]:
        """What is said so much later."""
        self.transport.protocol.check(monotonic() + after_s)
        turn(self.lobby, self.worker, self.transport)
        return self.taken()

    def taken(self) -> list[tuple[int, int, int, bytes]]:
        frames = read_frames(bytes(self.transport.written))
        self.transport.written.clear()
        return frames


def data_frames(number: int, data: bytes) -> bytes:
    """A part of a body, in frames that are small enough."""
    pieces = [data[at : at + MAX_FRAME] for at in range(0, len(data), MAX_FRAME)]
    return b"".join([wire.frame(Kind.DATA, 0, number, piece) for piece in pieces])


def test_answers_keep_to_the_windows_of_the_client() -> None:
    async def course() -> None:
        line = Line()
        data = line.feed(wire.settings({Setting.INITIAL_WINDOW_SIZE: 4}), *call(1))
        assert [payload for kind, _, _, payload in data if kind == Kind.DATA] == [b"\0\0\0\0"]
        line.feed(wire.settings({Setting.INITIAL_WINDOW_SIZE: 2}))  # two more than it takes are under way: -2 is left
        assert line.feed(wire.window_update(1, 2)) == []
        assert line.feed(wire.window_update(1, 1)) == [(Kind.DATA, 0, 1, b"\x02")]
        kinds = [(kind, flags, payload[:1]) for kind, flags, _, payload in line.feed(wire.window_update(1, 100))]
        assert kinds == [(Kind.DATA, 0, b"{"), (Kind.HEADERS, wire.END_HEADERS | wire.END_STREAM, b"\0")]

    run(course)


def test_a_stream_is_worked_on_a_little_ahead_and_may_not_send_more_than_its_window() -> None:
    async def course() -> None:
        line = Line()
        protocol = line.transport.protocol
        protocol.data_received(SETTINGS + wire.frame(Kind.HEADERS, H, 1, head(STREAM)))
        many = data_frames(1, MESSAGE * 30_000)
        for _ in range(4):
            protocol.data_received(many)
        assert goaway(line.taken()) is None
        assert len(protocol.streams[1]._calls) == 64
        protocol.data_received(many)
        assert goaway(line.taken()) == Code.FLOW_CONTROL_ERROR

    run(course)


@pytest.mark.parametrize("path", [f"{SERVICE}ModelInfer", STREAM])
def test_what_is_not_whole_is_bounded_over_all_calls_of_a_connection(path: str) -> None:
    async def course() -> None:
        line = Line()
        line.feed(SETTINGS)
        part = b"\0\0\x7f\0\0" + b"x" * 200_000
        statuses = {}
        for number in range(1, 2 * 40, 2):
            line.feed(wire.frame(Kind.HEADERS, H, number, head(path)))
            for piece in [part, *[part[5:]] * 9]:
                if number in line.transport.protocol.streams:
                    statuses |= trailers(line.feed(data_frames(number, piece)))
        assert {fields[b"grpc-status"] for fields in statuses.values()} == {b"8"}
        assert line.transport.protocol.partial_bytes <= 64 << 20
        line.transport.protocol.connection_lost(None)
        assert line.transport.protocol.partial_bytes == 0

    run(course)


def test_streams_over_the_limit_are_refused_and_may_be_tried_again() -> None:
    async def course() -> None:
        line = Line()
        opened = [CALL[:5] + n.to_bytes(4, "big") + CALL[9:] for n in range(1, 2 * 300, 2)]
        frames = line.feed(SETTINGS, *opened)
        refused = [payload for kind, _, _, payload in frames if kind == Kind.RST_STREAM]
        assert refused == [Code.REFUSED_STREAM.to_bytes(4, "big")] * 44

    run(course)


@pytest.mark.parametrize(
    ("frames", "after_s", "code"),
    [
        ([], 11, Code.ENHANCE_YOUR_CALM),  # no settings
        ([SETTINGS, wire.frame(Kind.HEADERS, 0, 1)], 11, Code.ENHANCE_YOUR_CALM),  # half a head
        ([SETTINGS, CALL[:20]], 61, Code.ENHANCE_YOUR_CALM),  # half a frame
        ([SETTINGS], 76, Code.NO_ERROR),  # silence
    ],
)
def test_slow_and_silent_clients_are_let_go(frames: list[bytes], after_s: float, code: Code) -> None:
    async def course() -> None:
        line = Line()
        line.feed(*frames)
        assert goaway(line.check(after_s - 2)) is None
        assert goaway(line.check(after_s)) == code

    run(course)


def test_calls_that_come_slowly_or_wait_too_long_end_alone() -> None:
    async def course() -> None:
        line = Line()
        line.feed(SETTINGS, CALL, wire.frame(Kind.DATA, 0, 1, MESSAGE[:3]))
        assert trailers(line.check(61))[1][b"grpc-status"] == b"4"
        late = wire.frame(Kind.HEADERS, H, 3, head(f"{SERVICE}ModelInfer", grpc_timeout="500m"))
        line.feed(late, wire.frame(Kind.DATA, 0, 3, MESSAGE[:3]))
        assert trailers(line.check(1))[3][b"grpc-status"] == b"4"
        line.feed(wire.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
        assert not [kind for kind, _, _, _ in line.feed(*call(5)) if kind == Kind.DATA]
        assert (Kind.RST_STREAM, 0, 5, Code.CANCEL.to_bytes(4, "big")) in line.check(76)
        assert line.transport.protocol.partial_bytes == 0

    run(course)


def test_a_front_that_many_share_finds_the_endpoint_of_a_call() -> None:
    async def course() -> None:
        line = Line()
        other = make_front()[0].own
        worker = Worker(other)
        other.name = "digits"
        line.lobby.open(other, ("digits.example",))
        method = f"{SERVICE}ModelInfer"
        ways = ({":authority": "digits.example:80"}, {":path": f"/digits{method}"}, {"lepton-endpoint": "digits"})
        for number, way in zip((1, 3, 5), ways, strict=True):
            block = head(method, **way)
            opened = wire.frame(Kind.HEADERS, H, number, block)
            line.feed(SETTINGS, opened, wire.frame(Kind.DATA, wire.END_STREAM, number, MESSAGE))
            other._pump()
            worker.work()
            assert trailers(line.feed())[number][b"grpc-status"] == b"0", way
        assert other.meter.answers[200] == 3
        assert not line.lobby.own.meter.answers
        unknown = wire.frame(Kind.HEADERS, H, 7, head(method, **{"lepton-endpoint": "none"}))
        frames = line.feed(unknown, wire.frame(Kind.DATA, wire.END_STREAM, 7, MESSAGE))
        assert trailers(frames)[7][b"grpc-status"] == b"12", "the front serves a model itself"
        line.lobby.own.open_empty()
        for number, more in ((9, {"lepton-endpoint": "none"}), (11, {})):
            opened = wire.frame(Kind.HEADERS, H, number, head(method, **more))
            frames = line.feed(opened, wire.frame(Kind.DATA, wire.END_STREAM, number, MESSAGE))
            told = trailers(frames)[number]
            assert (told[b"grpc-status"], b"lepton-endpoint" in told[b"grpc-message"]) == (b"5", True)

    run(course)


def test_a_drain_ends_each_connection_with_its_last_call() -> None:
    async def course() -> None:
        line = Line()
        line.feed(SETTINGS, CALL)
        line.lobby.drain()
        (told,) = [payload for kind, _, _, payload in line.feed() if kind == Kind.GOAWAY]
        assert told[:8] == b"\x7f\xff\xff\xff\0\0\0\0", "it shall ask elsewhere, but for what is on its way"
        assert trailers(line.feed(*call(3)))[3][b"grpc-status"] == b"0"
        (told,) = [payload for kind, _, _, payload in line.check(2.0) if kind == Kind.GOAWAY]
        assert told[:8] == b"\0\0\0\3\0\0\0\0"
        refused = line.feed(*call(5))
        assert (Kind.RST_STREAM, 0, 5, Code.REFUSED_STREAM.to_bytes(4, "big")) in refused
        assert not line.transport.is_closed
        frames = line.feed(wire.frame(Kind.DATA, wire.END_STREAM, 1, MESSAGE))
        assert trailers(frames)[1][b"grpc-status"] == b"0"
        assert line.transport.is_closed

    run(course)


def test_a_front_lives_through_a_storm_of_mutated_sessions() -> None:
    seen = asyncio.run(storm(1500, seed=7))
    assert seen["DATA"] > 300 and seen["GOAWAY"] > 500
