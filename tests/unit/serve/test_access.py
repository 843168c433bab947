"""A token is asked about once, remembered for a while, and longer while the server is away."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import UnavailableError
from lepton.serve.access import FRESH_S, PAUSE_S, STALE_S, Gate, Verdict, bearer
from lepton.serve.answers import BAD_TOKEN, FORBIDDEN, HIDDEN, NO_ACCESS_CHECK
from lepton.serve.server import Server


class Book:
    """A server with known tokens."""

    def __init__(self) -> None:
        self.known = {b"good": 200, b"weak": 403, b"blind": 404}
        self.is_away = False
        self.asked: list[bytes] = []

    async def get(self, path: str, token: bytes) -> tuple[int, bytes]:
        assert path == "/security/access?endpoint=ep_1"
        self.asked.append(token)
        await asyncio.sleep(0)
        if self.is_away:
            raise UnavailableError("away")
        return self.known.get(token, 401), b""


async def verdict(gate: Gate, token: bytes) -> Verdict:
    is_known, found = gate.look(token)
    if is_known:
        return found
    done: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
    gate.ask(token, done.set_result)
    return await done


def make() -> tuple[Gate, Book, ManualClock]:
    book, clock = Book(), ManualClock()
    return Gate(book, "ep_1", clock.monotonic), book, clock  # type: ignore[arg-type]


def run(story: Callable) -> None:
    asyncio.run(story(*make()))


def test_each_answer_of_the_server_has_its_own() -> None:
    async def story(gate: Gate, book: Book, clock: ManualClock) -> None:
        assert await verdict(gate, b"good") is None
        assert await verdict(gate, b"weak") == FORBIDDEN
        assert await verdict(gate, b"blind") == HIDDEN
        assert await verdict(gate, b"wrong") == BAD_TOKEN

    run(story)


def test_equal_questions_at_one_time_are_asked_once_and_remembered() -> None:
    async def story(gate: Gate, book: Book, clock: ManualClock) -> None:
        assert await asyncio.gather(*(verdict(gate, b"good") for _ in range(20))) == [None] * 20
        clock.advance(FRESH_S - 1)
        await verdict(gate, b"good")
        assert book.asked == [b"good"]
        clock.advance(1)
        book.known[b"good"] = 401
        assert await verdict(gate, b"good") == BAD_TOKEN

    run(story)


def test_while_the_server_is_away_old_verdicts_count_but_not_for_ever() -> None:
    async def story(gate: Gate, book: Book, clock: ManualClock) -> None:
        await verdict(gate, b"good")
        await verdict(gate, b"weak")
        book.is_away = True
        clock.advance(FRESH_S)
        assert await verdict(gate, b"good") is None
        assert await verdict(gate, b"weak") == FORBIDDEN
        asked = len(book.asked)
        await verdict(gate, b"good")
        assert len(book.asked) == asked, "a server that is away is not asked at every request"
        assert await verdict(gate, b"new") == NO_ACCESS_CHECK
        clock.advance(STALE_S - FRESH_S)
        assert await verdict(gate, b"good") == NO_ACCESS_CHECK
        book.is_away = False
        clock.advance(PAUSE_S)
        assert await verdict(gate, b"good") is None

    run(story)


def test_the_server_is_asked_over_http_and_found_again_where_its_file_says(tmp_path: Path) -> None:
    async def story() -> None:
        seen: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        listener = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        file = tmp_path / "url"
        file.write_text(f"http://127.0.0.1:{port}/base\n")
        server = Server("http://127.0.0.1:1", file)
        with pytest.raises(UnavailableError):
            await server.get("/x?y=1", b"tok")
        assert await server.get("/x?y=1", b"tok") == (403, b"")
        assert seen[0].startswith(b"GET /base/api/v1/x?y=1 HTTP/1.1\r\n")
        assert b"\r\nAuthorization: Bearer tok\r\n" in seen[0]
        listener.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer  abc ", b"abc"),
        (b"Basic abc", None),
        (b"Bearer", None),
        (b"Bearer ", None),
        (None, None),
    ],
)
def test_only_a_bearer_header_has_a_token(header: bytes | None, token: bytes | None) -> None:
    assert bearer(header) == token
