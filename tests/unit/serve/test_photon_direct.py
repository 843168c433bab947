"""A photon's handlers asked without FastAPI answer as with it; and the threads that plain ones run in."""

import asyncio
import json
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from io import BytesIO
from threading import Event, get_ident
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from lepton.serve.calls import Call, Head
from lepton.serve.frames import Media
from lepton.serve.photon import models
from lepton.serve.photon.crew import Crew
from lepton.serve.photon.exposition import joined, labelled
from lepton.serve.photon.images import PNGResponse
from lepton.serve.photon.lanes import Lane
from lepton.serve.photon.marks import handler
from lepton.serve.photon.program import PhotonProgram
from lepton.serve.program import Reply
from lepton.serve.routes import HANDLERS

Photon: Any = models.Photon
WAIT_S = 30


class Many(Photon):
    """Handlers of all kinds that could be asked directly, and some that could not."""

    handler_timeout = 1
    handler_max_concurrency = 2
    ran: list[str] = []  # noqa: RUF012  shared by tests

    @handler("add", example={"x": 1})
    def add(self, x: int, times: float = 1.5) -> float:
        return x * times

    @handler
    async def wait(self, s: float) -> float:
        await asyncio.sleep(s)
        return s

    @handler
    def rest(self, x, **more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN201
        return {"x": x, "more": more}

    @handler
    def empty(self) -> str:
        return "Zo\u00eb"

    @handler
    def nothing(self, x: int = 0) -> None:
        return None

    @handler
    def image(self, text: str) -> PNGResponse:
        return BytesIO(text.encode())  # type: ignore[return-value]

    @handler
    def page(self) -> HTMLResponse:
        return HTMLResponse("<p>", status_code=202, headers={"x-a": "b"})

    @handler
    def stream(self, n: int) -> StreamingResponse:
        return StreamingResponse(iter([b"ab"] * n))

    @handler
    def later(self) -> JSONResponse:
        return JSONResponse({}, background=BackgroundTask(self.ran.append, "later"))

    @handler
    def fail(self, how: str) -> None:
        raise {"os": OSError, "stop": StopIteration, "late": TimeoutError}[how]("it broke")

    @handler
    def strange(self) -> float:
        return float("nan")

    @handler("raw", use_raw_args=True)
    def raw(self, x: int) -> int:
        return x

    @handler("gone", cancel_on_disconnect=0.1)
    def gone(self) -> int:
        return 1

    @handler("by/{name}")
    def by(self, name: str) -> str:
        return name


def call(path: str, body: bytes, **headers: str) -> Call:
    named = {"host": "a", "content-length": str(len(body)), "content-type": "application/json", **headers}
    pairs = [(name.replace("_", "-"), value) for name, value in named.items() if value]
    return Call(1, body, Media.JSON, Head("POST", path, "", pairs, ("1.2.3.4", 5)))


async def told(reply: Reply) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, however they are told."""
    body = reply.body
    if reply.stream is not None:
        body = b"".join([piece async for piece in reply.stream])  # type: ignore[union-attr]
    lines = reply.headers.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    if reply.media == Media.JSON:
        headers["content-type"] = "application/json"
    headers.pop("vary", None)  # of the cross-origin rules, which ask for no origin here
    return reply.status, body, headers


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> PhotonProgram:
    monkeypatch.delenv("LEPTON_GANG_FOLDER", raising=False)
    Many.ran.clear()
    return PhotonProgram(Many())


def ways(program: PhotonProgram, path: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """How a path is answered directly, and how by the application."""
    works = program.works()
    found = next(work for work in works if work.operation.path == path and "POST" in work.operation.methods)
    assert found.answer is not None
    assert works[0].answer is not None
    return found.answer, works[0].answer


def test_what_depends_on_more_than_a_body_goes_through_the_application(program: PhotonProgram) -> None:
    direct = {work.operation.path for work in program.works()} - {"/"}
    assert direct == {
        *("/add", "/wait", "/rest", "/empty", "/nothing", "/image", "/page", "/stream", "/later", "/fail", "/strange")
    }
    numbers = [work.operation.id for work in program.works()]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == HANDLERS


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/add", b'{"x": 2}'),
        ("/add", b'{"x": "3", "times": 2, "y": 0}'),
        ("/add", b'{"x": "three"}'),
        ("/add", b"{}"),
        ("/add", b"[1]"),
        ("/add", b'"x"'),
        ("/add", b"null"),
        ("/add", b""),
        ("/add", b"{"),
        ("/add", b"\xff\xfe"),
        ("/add", '{"x": 1, "\u00e9": 2}'.encode("utf-16")),
        ("/add", b'{"x": ' + b"[" * 100_000),
        ("/add", b'{"x": NaN}'),
        ("/wait", b'{"s": 0.01}'),
        ("/wait", b'{"s": 5}'),
        ("/rest", b'{"x": null, "a": {"b": [1]}, "c": ""}'),
        ("/empty", b""),
        ("/empty", b"whatever"),
        ("/nothing", b"{}"),
        ("/nothing", b'{"x": 1.5}'),
        ("/image", b'{"text": "abc"}'),
        ("/page", b""),
        ("/stream", b'{"n": 3}'),
        ("/stream", b'{"n": 0}'),
        ("/later", b""),
        ("/fail", b'{"how": "os"}'),
        ("/fail", b'{"how": "stop"}'),
        ("/fail", b'{"how": "late"}'),
        ("/strange", b""),
    ],
)
def test_the_answer_is_the_same_either_way(program: PhotonProgram, path: str, body: bytes) -> None:
    async def course() -> None:
        direct, whole = ways(program, path)
        for headers in ({}, {"content_type": "application/json; charset=utf-8"}, {"content_type": "text/plain"}):
            asked = call(path, body, **headers)
            assert await told(await direct(asked)) == await told(await whole(asked))

    asyncio.run(course())


def test_what_is_done_after_the_answer_is_done(program: PhotonProgram) -> None:
    async def course() -> None:
        direct, _ = ways(program, "/later")
        await direct(call("/later", b""))
        async with asyncio.timeout(WAIT_S):
            while not Many.ran:
                await asyncio.sleep(0.001)

    asyncio.run(course())
    assert Many.ran == ["later"]


def test_another_origin_is_told_whether_it_may_read(program: PhotonProgram) -> None:
    async def course() -> None:
        direct, _ = ways(program, "/add")
        _, body, headers = await told(await direct(call("/add", b'{"x": 2}', origin="https://b.c")))
        assert (json.loads(body), "access-control-allow-origin" in headers) == (3.0, True)

    asyncio.run(course())


def test_both_ways_are_counted_alike(program: PhotonProgram) -> None:
    async def course() -> str:
        for answer in ways(program, "/add"):
            await answer(call("/add", b'{"x": 2}'))
            await answer(call("/add", b"{"))
        metrics = Call(2, b"", Media.JSON, Head("GET", "/metrics", "", [("host", "a")], ("", 0)))
        return (await ways(program, "/add")[1](metrics)).body.decode()  # type: ignore[no-any-return]

    text = asyncio.run(course())
    assert 'http_requests_total{handler="/add",method="POST",status="2xx"} 2.0' in text
    assert 'http_requests_total{handler="/add",method="POST",status="4xx"} 2.0' in text
    assert 'http_request_size_bytes_sum{handler="/add"} 18.0' in text
    assert 'http_response_size_bytes_count{handler="/add"} 4.0' in text


def test_a_handler_works_on_although_its_client_goes() -> None:
    done = []

    class Slow(Photon):
        @handler
        async def run(self) -> None:
            await asyncio.sleep(0.05)
            done.append(1)

    async def course() -> None:
        direct, _ = ways(PhotonProgram(Slow()), "/run")
        task = asyncio.ensure_future(direct(call("/run", b"")))
        await asyncio.sleep(0.01)
        task.cancel()
        async with asyncio.timeout(WAIT_S):
            while not done:
                await asyncio.sleep(0.001)

    asyncio.run(course())


def test_a_program_that_changes_its_application_is_asked_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(Photon):
        @handler
        def run(self) -> int:
            return 1

        @handler("more", mount=True)
        def more(self, app: FastAPI) -> FastAPI:
            @app.middleware("http")
            async def watch(request: Any, call_next: Any) -> Any:
                answer = await call_next(request)
                answer.headers["x-watched"] = "yes"
                return answer

            return FastAPI()

    class First(Photon):
        @handler("", mount=True)
        def whole(self) -> FastAPI:
            app = FastAPI()
            app.post("/run")(lambda: 2)
            return app

        @handler
        def run(self) -> int:
            return 1

    class Guarded(Photon):
        @handler
        def run(self) -> int:
            return 1

    for kind in (Watched, First):
        assert len(PhotonProgram(kind()).works()) == 1
    assert len(PhotonProgram(Guarded()).works()) == 3
    monkeypatch.setenv("LEPTON_LOCAL_DEPLOYMENT_TOKEN", "secret")
    assert len(PhotonProgram(Guarded()).works()) == 1


# threads


def in_loop(course: Callable[[Crew], Any], seats: int = 1, most: int = 4) -> Any:
    async def whole() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await course(Crew(seats, most))

    return asyncio.run(whole())


def test_no_more_calls_than_seats_run_at_a_time() -> None:
    running, most = [0], [0]

    def work() -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        Event().wait(0.002)
        running[0] -= 1
        return get_ident()

    async def course(crew: Crew) -> set[int]:
        return set(await asyncio.gather(*(crew.run(work) for _ in range(60))))

    assert len(in_loop(course, seats=3)) == 3
    assert most == [3]


def test_a_call_that_is_left_takes_nobody_s_seat_and_one_that_waits_is_not_begun() -> None:
    go, ran = Event(), []

    def hold() -> None:
        go.wait(WAIT_S)
        ran.append("held")

    async def course(crew: Crew) -> None:
        held = asyncio.ensure_future(crew.run(hold))
        behind = asyncio.ensure_future(crew.run(lambda: ran.append("behind")))
        last = asyncio.ensure_future(crew.run(lambda: ran.append("last")))
        await asyncio.sleep(0.01)
        behind.cancel()
        held.cancel()
        await last
        assert ran == ["last"]
        go.set()
        while ran != ["last", "held"] or crew._threads > 1:
            await asyncio.sleep(0.001)
        assert await crew.run(lambda: 7) == 7
        assert (crew._threads, crew._left) == (1, 0)

    in_loop(course)


def test_there_are_never_more_threads_than_most() -> None:
    go = Event()

    async def course(crew: Crew) -> int:
        left = [asyncio.ensure_future(crew.run(lambda: go.wait(WAIT_S))) for _ in range(20)]
        for each in left:
            await asyncio.sleep(0.002)
            each.cancel()
        threads = crew._threads
        go.set()
        assert await crew.run(lambda: 5) == 5
        return threads

    assert in_loop(course, most=4) <= 4


def test_what_a_call_raises_is_raised_and_its_context_is_the_caller_s() -> None:
    name: ContextVar[str] = ContextVar("name", default="none")

    def fail(kind: type[BaseException]) -> None:
        raise kind("x")

    async def course(crew: Crew) -> None:
        name.set("caller")
        assert await crew.run(name.get) == "caller"
        for kind, seen in ((ValueError, ValueError), (StopIteration, RuntimeError), (SystemExit, SystemExit)):
            with pytest.raises(seen, match="x"):
                await crew.run(partial(fail, kind))

    in_loop(course)


def test_a_lane_follows_the_loop_that_it_is_asked_in() -> None:
    run = Lane(seats=1, timeout_s=WAIT_S).wrap(lambda x: x + 1)
    assert [asyncio.run(run(number)) for number in range(3)] == [1, 2, 3]  # type: ignore[arg-type]


# metrics of several replicas


def test_samples_of_several_replicas_are_told_apart_and_families_once() -> None:
    one = '# HELP a A thing.\n# TYPE a counter\na{x="1"} 2.0\na{x="}"} 3.0\n# TYPE b gauge\nb 1.5\n'
    other = '# HELP a A thing.\n# TYPE a counter\na{x="1"} 5.0\n# TYPE c gauge\nc{replica="z"} NaN 17\n'
    assert joined({"1": one}) == one
    assert joined({"1": one, "2": other}).splitlines() == [
        "# HELP a A thing.",
        "# TYPE a counter",
        'a{x="1",replica="1"} 2.0',
        'a{x="}",replica="1"} 3.0',
        'a{x="1",replica="2"} 5.0',
        "# TYPE b gauge",
        'b{replica="1"} 1.5',
        "# TYPE c gauge",
        'c{replica="z",lepton_replica="2"} NaN 17',
    ]
    assert labelled("odd", "1") == "odd"
