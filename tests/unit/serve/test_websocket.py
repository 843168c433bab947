"""How a WebSocket ends, seen from its handler."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from lepton.serve.calls import Call, Head
from lepton.serve.websocket import Socket, accept


class Client:
    """A `program.Line` whose other end sends these pieces; an empty one says that it is gone."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    async def receive(self) -> bytes:
        assert self.pieces, "nothing more is waited for"
        return self.pieces.pop(0)

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def begin(self, status: int, headers: bytes) -> None:
        assert status == 101


def masked(code: Opcode, data: bytes) -> bytes:
    return Frame(code, data).serialize(mask=True)


HELLO = masked(Opcode.TEXT, b"hello")
GOODBYE = masked(Opcode.CLOSE, Close(1000, "").serialize())


async def opened(line: Client) -> Socket:
    request = ClientProtocol(parse_uri("ws://a/ws")).connect()
    call = Call(1, b"", 0, Head("GET", "/ws", "", [(k.lower(), v) for k, v in request.headers.raw_items()], ("a", 1)))
    socket = await accept(call, line)
    assert socket is not None
    await socket.open()
    return socket


async def echo(*pieces: bytes) -> tuple[list[str | bytes], Client]:
    """Answer all that comes, then close; what came."""
    line = Client(pieces)
    socket = await opened(line)
    heard: list[str | bytes] = []
    while (message := await socket.receive()) is not None:
        heard.append(message)
        await socket.send(message)
    await socket.close()
    return heard, line


def test_a_goodbye_that_comes_with_the_last_message_is_not_waited_for_again() -> None:
    heard, line = asyncio.run(echo(HELLO + HELLO + GOODBYE))
    assert heard == ["hello", "hello"]
    assert line.sent.count(b"\x88\x02\x03\xe8") == 1, "one goodbye in answer"


def test_a_goodbye_of_its_own_is_answered() -> None:
    heard, line = asyncio.run(echo(HELLO, GOODBYE))
    assert heard == ["hello"] and line.sent == b"\x81\x05hello\x88\x02\x03\xe8"


def test_a_client_that_is_gone_without_a_word_raises_nothing() -> None:
    heard, line = asyncio.run(echo(HELLO, b""))
    assert heard == ["hello"] and line.sent.startswith(b"\x81\x05hello")
    assert asyncio.run(echo(b""))[0] == []


def test_a_client_that_breaks_the_protocol_is_told_and_let_go() -> None:
    heard, line = asyncio.run(echo(HELLO, b"\x83\x80abcd"))
    assert heard == ["hello"] and line.sent.startswith(b"\x81\x05hello\x88") and b"\x03\xea" in line.sent


class Slow(Client):
    """One whose pieces come when the test lets them."""

    def __init__(self) -> None:
        super().__init__([])
        self.more: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self) -> bytes:
        return await self.more.get()


async def asked_while_busy() -> tuple[bytes, list[str | bytes | None], bytes]:
    """What is sent while the application is at something, what it then hears, and what is sent in all."""
    line = Slow()
    socket = await opened(line)
    ping = masked(Opcode.PING, b"are you there")
    for piece in (HELLO + HELLO, ping[:5], ping[5:], GOODBYE):
        await line.more.put(piece)
    async with asyncio.timeout(30):
        while b"are you there" not in line.sent or not line.more.empty():
            await asyncio.sleep(0)
    early = line.sent
    heard = [await socket.receive() for _ in range(2)]
    await socket.send("still here")
    heard.append(await socket.receive())
    await socket.close()
    return early, heard, line.sent


def test_pings_are_answered_at_once_and_a_goodbye_after_the_messages_before_it() -> None:
    early, heard, sent = asyncio.run(asked_while_busy())
    assert early == b"\x8a\x0dare you there"
    assert heard == ["hello", "hello", None]
    assert sent == early + b"\x81\x0astill here" + b"\x88\x02\x03\xe8"


async def only_says() -> bytes:
    """Of an application that only speaks, to a client that has said goodbye."""
    line = Slow()
    socket = await opened(line)
    await line.more.put(GOODBYE)
    async with asyncio.timeout(30):
        while not socket.is_closed:
            await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await socket.send("unheard")
    await socket.close()
    return line.sent


async def asks_for_ever(*, sends: bool) -> None:
    """An application that minds neither a goodbye nor what it is told."""
    line = Slow()
    socket = await opened(line)

    async def application() -> None:
        while True:
            if sends:
                with suppress(ConnectionError):
                    await socket.send("more")
            else:
                await socket.receive()

    await line.more.put(GOODBYE)
    async with asyncio.timeout(30):
        while not socket.is_closed:
            await asyncio.sleep(0)
        running = asyncio.ensure_future(application())
        for _ in range(3):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize("sends", [True, False])
def test_an_application_that_minds_no_goodbye_leaves_others_their_turn(sends: bool) -> None:
    asyncio.run(asks_for_ever(sends=sends))


def test_an_application_that_only_speaks_hears_a_goodbye_too() -> None:
    assert asyncio.run(only_says()) == b"\x88\x02\x03\xe8"


def frame(code: int, data: bytes = b"", *, fin: bool = True, bits: int = 0) -> bytes:
    """A masked frame, in order or not."""
    size = len(data)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([(0x80 if fin else 0) | bits | code]) + length + bytes(4) + data


UTF8 = "κόσμε".encode()
GOOD: list[tuple[list[bytes], list[str | bytes]]] = [
    ([frame(1, b"a", fin=False), frame(0, b"b", fin=False), frame(0, b"c")], ["abc"]),
    ([frame(1, b"a", fin=False), frame(9, b"ping"), frame(0, b"b")], ["ab"]),
    ([frame(2, b"\xff", fin=False), frame(10, b"pong"), frame(0, b"\xfe")], [b"\xff\xfe"]),
    ([frame(1, UTF8[:3], fin=False), frame(0, UTF8[3:])], ["κόσμε"]),
    ([frame(1), frame(2)], ["", b""]),
    ([frame(1, b"x" * 125), frame(1, b"y" * 126), frame(1, b"z" * 65535)], ["x" * 125, "y" * 126, "z" * 65535]),
    ([frame(9, b"p" * 125)], []),
]
BAD = {
    "reserved bit": ([frame(1, b"a", bits=0x40)], 1002),
    "reserved code": ([frame(3, b"a")], 1002),
    "reserved control code": ([frame(11, b"a")], 1002),
    "unmasked": ([b"\x81\x01a"], 1002),
    "long ping": ([frame(9, b"p" * 126)], 1002),
    "ping in parts": ([frame(9, b"p", fin=False)], 1002),
    "goes on with nothing": ([frame(0, b"a")], 1002),
    "a message within one": ([frame(1, b"a", fin=False), frame(1, b"b")], 1002),
    "no UTF-8": ([frame(1, b"a\xffb")], 1007),
    "no UTF-8 in its first part": ([frame(1, b"a\xff", fin=False)], 1007),
    "a letter cut short": ([frame(1, UTF8[:1], fin=False), frame(0)], 1007),
    "a surrogate": ([frame(1, b"\xed\xa0\x80")], 1007),
    "too long": ([b"\x82\xff" + (17 << 20).to_bytes(8, "big") + bytes(4) + b"x" * 100], 1009),
    "too long in parts": ([frame(2, b"x", fin=False), b"\x80\xff" + (16 << 20).to_bytes(8, "big") + bytes(4)], 1009),
    "absurdly long": ([b"\x82\xff" + b"\xff" * 8 + bytes(4)], 1009),
    "a goodbye of one byte": ([frame(8, b"\x03")], 1002),
    "a goodbye that cannot be": ([frame(8, (1005).to_bytes(2, "big"))], 1002),
    "a goodbye below all codes": ([frame(8, (999).to_bytes(2, "big"))], 1002),
    "a goodbye of no UTF-8": ([frame(8, (1000).to_bytes(2, "big") + b"\xff")], 1007),
}


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("number", range(len(GOOD)))
def test_messages_come_whole_however_they_are_cut(number: int, size: int) -> None:
    frames, wanted = GOOD[number]
    heard, line = asyncio.run(echo(*in_pieces(b"".join(frames) + GOODBYE, size)))
    assert heard == wanted
    pinged = [one for one in frames if one[0] == 0x89]
    assert all(b"\x8a" + bytes([one[1] & 0x7F]) + one[6:] in line.sent for one in pinged)
    assert line.sent.endswith(b"\x88\x02\x03\xe8")


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("name", BAD)
def test_what_breaks_the_protocol_is_told_by_its_code(name: str, size: int) -> None:
    frames, code = BAD[name]
    heard, line = asyncio.run(echo(*in_pieces(HELLO + b"".join(frames), size), b""))
    assert heard == ["hello"]
    told = line.sent.removeprefix(b"\x81\x05hello")
    assert (told[:1], told[2:4]) == (b"\x88", code.to_bytes(2, "big")), told


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 3000, 4999])
def test_a_goodbye_is_answered_with_its_own_code(code: int) -> None:
    _, line = asyncio.run(echo(frame(8, code.to_bytes(2, "big") + b"bye")))
    assert line.sent[2:4] == code.to_bytes(2, "big")
