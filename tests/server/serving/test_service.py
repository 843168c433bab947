"""A service over a real front and a real replica: handlers of every kind, bad input, and handlers that go wrong."""

import base64
import json
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets import Subprotocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.server.serving.house import House, Npy, Wire, open_service, wait_until


@pytest.fixture(scope="module")
def plain() -> Iterator[House]:
    with open_service("shop.py:Plain") as house:
        yield house


@pytest.fixture(scope="module")
def busy() -> Iterator[House]:
    with open_service("shop.py:Busy") as house:
        yield house


def post(house: House, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer, _ = house.ask("POST", path, data, **{"content_type": "application/json", **headers})
    return status, answer


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/greet", {"name": "Ada"}, "Hello Ada"),
        ("/echo", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("/anything", [1, "x", None], [1, "x", None]),
        ("/item", {"name": "pen", "price": 2}, {"name": "pen", "price": 2.0, "tags": []}),
        ("/point", {"at": {"x": 2, "y": 3}, "scale": 2}, {"x": 4, "y": 6}),
        ("/double", {"x": 2.5}, 5.0),
        ("/total", {"values": [[1, 2], [3, 4]]}, [4, 6]),
        ("/upload", {"file": base64.b64encode(b"abc").decode()}, {"size": 3, "name": "", "note": ""}),
    ],
)
def test_json_in_json_out(plain: House, path: str, body: Any, wanted: Any) -> None:
    assert post(plain, path, body) == (200, wanted)


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/greet", {"name": 5}, "name"),
        ("/greet", {}, "name: is missing"),
        ("/greet", {"name": "x", "langs": "en"}, "langs: is unknown"),
        ("/greet", b'{"name": ', "no JSON"),
        ("/greet", b"\xff", "no JSON"),
        ("/greet", b"[" * 100_000, "nested too deeply"),
        ("/echo", [1], "no JSON object"),
        ("/echo", b"[" * 100_000, "no JSON"),
        ("/item", {"name": "pen", "price": "2"}, "price"),
        ("/item", {"name": "pen", "price": 2, "tags": [1]}, "tags.0"),
        ("/point", {"at": {"y": 3}}, "at.x: is missing"),
        ("/double", {"x": "much"}, "x"),
        ("/total", {"values": [[1], [2, 3]]}, "values"),
        ("/upload", {"file": "?"}, "base64"),
        ("/double", b'{"x": NaN}', "x: should be a finite number"),
        ("/double", b'{"x": 1e999}', "x: should be a finite number"),
        ("/numbers", b'{"n": 1, "x": [NaN]}', "line 1 column 16"),
        ("/numbers", b'{"n": 1, "x": -Infinity}', "line 1 column 16"),
        ("/numbers", b'{"n": 1, "x": 1e999}', "infinity"),
        ("/item", b'{"name": "pen", "price": Infinity}', "line 1 column 26"),
        ("/point", b'{"at": {"x": NaN}}', "line 1 column 14"),
        ("/total", b'{"values": [1, NaN]}', "line 1 column 16"),
        ("/anything", b"[NaN]", "line 1 column 2"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_naming_the_field(plain: House, path: str, body: Any, word: str) -> None:
    status, answer = post(plain, path, body)
    assert status == 422
    assert word in answer["message"]
    assert answer["fix"]


def test_whole_numbers_keep_their_digits_and_what_json_has_no_word_for_is_null(plain: House) -> None:
    for n in (2**53 + 1, 2**70, -(2**70)):
        answer = post(plain, "/numbers", {"n": n, "x": n})[1]
        assert answer == {"n": n, "more": [{"x": n + 1, "y": 0}, [-n]], "nan": None, "x": n}
    assert post(plain, "/anything", b'{"a": 1, "a": 2}') == (200, {"a": 2}), "the last counts"
    status, answer, _ = plain.ask(
        "POST", "/numbers", msgpack.packb({"n": 1, "x": float("nan")}), content_type="application/msgpack"
    )
    assert status == 200 and str(msgpack.unpackb(answer)["x"]) == "nan"


def test_a_stream_of_objects_is_json(plain: House) -> None:
    status, answer, headers = plain.ask("POST", "/things", b"{}", content_type="application/json")
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.decode().split("\n\n") == [
        'data: {"x":18446744073709551616,"y":0}',
        'data: {"name":"pen","price":2.0,"tags":[]}',
        'data: {"set":[1],"at":{"x":1,"y":0}}',
        "data: text",
        'data: ["1.5"]',
        "",
    ]
    status, answer, headers = plain.ask("POST", "/rows", b"{}", content_type="application/json")
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert answer == b'{"x":1,"y":0}\n{"x":18446744073709551616,"y":0}\n'
    assert post(plain, "/answer_of_things", {"media": "text/event-stream"})[1] == b'data: {"x":1,"y":0}\n\ndata: 2\n\n'
    assert post(plain, "/answer_of_things", {"media": "text/plain"})[1] == b'{"x":1,"y":0}\ndata: 2\n\n'


def test_url_parameters_are_read_and_checked(plain: House) -> None:
    assert plain.ask("GET", "/items/7/a/b?q=x%20y&limit=1&limit=2")[:2] == (
        200,
        {"id": 7, "rest": "a/b", "q": "x y", "limit": [1, 2]},
    )
    status, answer, _ = plain.ask("GET", "/items/seven/a")
    assert (status, "id" in answer["message"]) == (422, True)
    assert plain.ask("GET", "/items/7/a?nope=1")[0] == 422
    body = json.dumps({"name": "n"}).encode()
    assert plain.ask("PUT", "/things/3", body, content_type="application/json")[:2] == (200, {"id": 3, "name": "n"})
    assert plain.ask("DELETE", "/things/3")[0] == 405


def test_a_path_is_the_same_however_it_is_escaped_but_an_escaped_slash_is_none(plain: House, busy: House) -> None:
    for path in (
        "/gr%C3%BC%C3%9Fe%20an/Zo%C3%AB",
        "/gr%c3%bc%c3%9fe%20an/Zo%c3%ab",
        "/%67r%C3%BC%C3%9Fe%20an/%5Ao%C3%AB",
    ):
        assert plain.ask("GET", path)[:2] == (200, "Grüße an Zoë")
    assert plain.ask("POST", "/gr%C3%BC%C3%9Fe%20an/A%2Fb%25", b"")[:2] == (200, "Grüße an A/b%")
    with plain.wire() as wire:
        status, body, _ = wire.ask("GET /grüße%20an/Zoë HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert status == 400 or json.loads(body) == "Grüße an Zoë"
    for path in ("/~old/100%25", "/%7eold/100%25", "/%7Eold/%31%30%30%25"):
        assert plain.ask("GET", path)[:2] == (200, "old")
    for path in (
        "/gr%C3%BC%C3%9Fe%20an%2FZo",
        "/%2F~old/100%25",
        "/x/../~old/100%25",
        "/x/%2e%2e/~old/100%25",
        "/~old/100%2525",
    ):
        assert plain.ask("GET", path)[0] == 404
    assert plain.ask("GET", "/items/7/a%2fb/%2e%2e/c")[1]["rest"] == "a/b/../c"
    for path in ("/files/%2e%2e/house.py", "/files/..%2fhouse.py", "/files%2Fshop.py"):
        assert busy.ask("GET", path)[0] == 404, path
    assert busy.ask("GET", "/%66iles/shop%2Epy")[0] == 200
    assert busy.ask("GET", "/app/hello/%C3%A4%20b")[:2] == (200, {"hello": "ä b"})


def test_other_bodies_come_back_in_their_own_form(plain: House) -> None:
    status, answer, headers = plain.ask("POST", "/echo", msgpack.packb({"a": 1}), content_type="application/msgpack")
    assert (status, msgpack.unpackb(answer), headers["content-type"]) == (200, {"a": 1}, "application/msgpack")
    status, answer, headers = plain.ask(
        "POST", "/total", Npy.dump(np.arange(6).reshape(2, 3)), content_type="application/x-npy"
    )
    assert (status, Npy.load(answer).tolist(), headers["content-type"]) == (200, [3, 5, 7], "application/x-npy")
    status, answer, _ = plain.ask("POST", "/raw", b"abc", content_type="application/octet-stream")
    assert (status, answer) == (200, b"cba")
    form = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nabcd\r\n--B\r\n'
    form += b'Content-Disposition: form-data; name="note"\r\n\r\nhi\r\n--B--\r\n'
    status, answer, _ = plain.ask("POST", "/upload", form, content_type="multipart/form-data; boundary=B")
    assert (status, answer) == (200, {"size": 4, "name": "a.txt", "note": "hi"})
    assert plain.ask("POST", "/echo", b"\xc1", content_type="application/msgpack")[0] == 422
    assert plain.ask("POST", "/total", b"no npy", content_type="application/x-npy")[0] == 422


def test_answers_that_are_not_json(plain: House) -> None:
    status, answer, headers = plain.ask("POST", "/page", b"{}", content_type="application/json")
    assert (status, answer, headers["x-kind"]) == (201, b"<h1>hi</h1>", "page")
    assert headers["content-type"] == "text/html; charset=utf-8"
    status, answer, headers = plain.ask("GET", "/file")
    assert status == 200 and b"A service with every kind of handler" in answer
    assert 'filename="shop.py"' in headers["content-disposition"]
    assert post(plain, "/nothing", {}) == (204, b"")
    assert post(plain, "/who?a=1", {"x": 3}, user_agent="me") == (
        200,
        {"x": 3, "agent": "me", "path": "/who", "query": "a=1"},
    )


def test_a_handler_that_raises_costs_only_its_caller(plain: House) -> None:
    status, answer, headers = plain.ask(
        "POST", "/greet", b'{"name": "x", "lang": "fr"}', content_type="application/json"
    )
    assert (status, answer["code"], answer["fix"], headers["x-lang"]) == (404, "no_language", "Use en.", "en")
    status, answer = post(plain, "/crash", {"how": "raise"})
    assert (status, answer["code"]) == (500, "handler")
    assert "RuntimeError: broken" in answer["message"]
    assert "Traceback" not in json.dumps(answer)
    assert "RuntimeError: broken" in wait_until(plain.log, "the log has the traceback")
    assert post(plain, "/crash", {"how": "json"})[1]["message"].startswith("The answer cannot be JSON")
    assert post(plain, "/crash", {"how": "no"}) == (200, "whole")


def test_batches_are_computed_together_and_one_bad_request_spoils_no_other(plain: House) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda x: post(plain, "/double", {"x": x}), [*range(30), -1, *range(30)]))
    assert [status for status, _ in answers] == [200] * 30 + [500] + [200] * 30
    assert [answer for status, answer in answers if status == 200] == [x * 2 for x in range(30)] * 2
    status, answer = post(plain, "/short", {"x": 1})
    assert status == 500 and "was given 1 requests and returned 0 answers" in answer["message"]


def test_a_generator_streams_events_and_says_when_it_breaks_off(plain: House) -> None:
    status, answer, headers = plain.ask("POST", "/count_to", b'{"to": 3}', content_type="application/json")
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer == b"".join(b'data: {"number":%d}\n\n' % number for number in range(3))
    assert post(plain, "/count_to", {"to": 3, "fail_at": 0})[0] == 500
    _, answer = post(plain, "/count_to", {"to": 3, "fail_at": 2})
    assert answer.startswith(b'data: {"number":0}\n\ndata: {"number":1}\n\nevent: error\ndata: {"code":"handler"')
    _, answer = post(plain, "/count_to", {"to": 3, "exit_at": 1})
    assert answer.startswith(b'data: {"number":0}\n\nevent: error\ndata: {"code":"handler"')
    _, answer = post(plain, "/lines", {"size": 100_000, "count": 100})
    assert len(answer) == 10_000_000
    assert post(plain, "/count_to", {"to": 0}) == (200, b"")


def test_a_handler_that_is_cancelled_from_within_has_failed(plain: House) -> None:
    status, answer = post(plain, "/cancels_itself", {})
    assert status == 500 and answer["code"] == "handler" and "cancelled from within" in answer["message"]


def test_who_asks_for_what_is_not_there_is_told_what_is(plain: House) -> None:
    status, answer = post(plain, "/predict", {})
    assert (status, answer["code"]) == (404, "not_found")
    assert "POST /greet, POST /echo" in answer["fix"] and "more" in answer["fix"]


@pytest.mark.parametrize("how", ["interrupt", "leave", "end", "cancel"])
def test_a_handler_that_wants_to_exit_gets_a_500_and_the_replica_lives_on(plain: House, how: str) -> None:
    pid = post(plain, "/pid", {})[1]
    for path in ("/crash", "/leave"):
        status, answer = post(plain, path, {"how": how})
        assert (status, answer["code"]) == (500, "handler")
    with plain.wire() as wire:
        body = json.dumps({"how": how}).encode()
        wire.send(b"POST /stream_and_leave HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert wire.read(has_body=False)[0] == 200
        told = [wire.line() for _ in range(3)]
        assert told[1] == b"data: one\n"
        assert how == "cancel" or wire.line().endswith(b"\r\n"), "an error event follows"
        assert how != "cancel" or wire.is_closed(), "it is cut short"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: post(plain, "/double", {"x": x})[0], (1, -13, 2, -13)))
    assert found == [200, 500, 200, 500]
    assert post(plain, "/pid", {})[1] == pid


def test_an_application_that_wants_to_exit_does_not(busy: House) -> None:
    assert busy.ask("GET", "/app/leave")[0] == 500
    assert busy.processes["1"].poll() is None
    assert busy.ask("GET", "/app/hello/ada")[0] == 200


def test_the_documents_tell_every_handler(plain: House) -> None:
    _, spec, _ = plain.ask("GET", "/openapi.json")
    assert spec["paths"]["/greet"]["post"]["summary"] == "Greet one person."
    fields = spec["paths"]["/greet"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(fields) == {"name", "lang"}
    item = spec["paths"]["/item"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert item["properties"]["price"]["type"] == "number"
    assert spec["components"]["schemas"]["Point"]["properties"]["x"]["type"] == "integer"
    parameters = spec["paths"]["/items/{id}/{rest}"]["get"]["parameters"]
    assert [(one["name"], one["in"]) for one in parameters] == [
        ("id", "path"),
        ("rest", "path"),
        ("q", "query"),
        ("limit", "query"),
    ]
    status, page, _ = plain.ask("GET", "/docs")
    assert status == 200 and b"Greet one person" in page
    assert b"http://" not in page and b"https://" not in page
    _, about, _ = plain.ask("GET", "/")
    assert "POST /greet" in about["handlers"]


def test_whole_numbers_of_any_size_pass_through_a_body_that_is_taken_whole(plain: House) -> None:
    body = b'{"big":18446744073709551616,"low":-9223372036854775809,"x":0.5,"text":"99999999999999999999"}'
    status, answer, _ = plain.ask("POST", "/echo", body, content_type="application/json")
    assert (status, answer) == (200, json.loads(body))
    assert isinstance(answer["big"], int) and isinstance(answer["low"], int)


@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_a_replica_that_dies_loses_only_what_it_had_begun(how: str) -> None:
    with open_service("shop.py:Plain", workers=2) as house:
        wait_until(lambda: b"workers_ready 2" in house.ask("GET", "/metrics")[1], "both are there")
        status, answer = post(house, "/crash", {"how": how})
        assert (status, answer["code"]) == (503, "unavailable")
        assert {post(house, "/greet", {"name": str(n)})[0] for n in range(20)} == {200}


def test_async_handlers_share_a_replica_up_to_its_concurrency(busy: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        most = list(pool.map(lambda _: post(busy, "/wait", {"seconds": 0.2})[1], range(8)))
    assert max(most) == 4
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(lambda _: post(busy, "/block", {"seconds": 0.2})[1], range(4)))
    assert len(names) == 4


def test_who_hangs_up_cancels_what_is_done_for_it(busy: House) -> None:
    before = busy.ask("GET", "/state")[1]["cancelled"]
    body = b'{"seconds": 30}'
    with busy.wire() as wire:
        wire.send(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        wait_until(lambda: busy.ask("GET", "/state")[1]["open"] == 1, "it is being worked on")
    wait_until(lambda: busy.ask("GET", "/state")[1]["cancelled"] == before + 1, "it was cancelled")
    body = b'{"count": 100000, "pause": 0.01}'
    with busy.wire() as wire:
        wire.send(b"POST /tokens HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        assert wire.read(has_body=False)[0] == 200
    wait_until(lambda: busy.ask("GET", "/state")[1]["cancelled"] == before + 2, "the stream was ended")


def test_a_stream_reaches_a_client_piece_by_piece(busy: House) -> None:
    body = b'{"count": 3, "pause": 0.05}'
    with busy.wire() as wire:
        wire.send(b"POST /tokens HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        _, _, headers = wire.read(has_body=False)
        assert headers["transfer-encoding"] == "chunked"
        assert wire.line() == b"a\r\n" and wire.line() == b"data: t0\n"


def test_messages_that_come_with_the_handshake_are_read(busy: House) -> None:
    ask = b"GET /app/talk HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    glued = b"\x81\x83\0\0\0\0one" + b"\x81\x83\0\0\0\0two"
    with busy.wire() as wire:
        wire.send(ask + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n" + glued)
        assert wire.read(has_body=False)[0] == 101
        said = [b"\x81\x0cyou said " + word for word in (b"one", b"two")]
        assert wire.take(len(b"".join(said))) == b"".join(said)


def test_background_work_is_done_after_the_answer(busy: House) -> None:
    assert post(busy, "/later", {"name": "mail"}) == (200, "soon")
    wait_until(lambda: busy.ask("GET", "/state")[1]["done"] == ["mail"], "it is done")


def test_applications_are_mounted_with_their_paths(busy: House) -> None:
    assert busy.ask("GET", "/app/hello/ada?loud=true")[:2] == (200, {"hello": "ADA"})
    assert busy.ask("GET", "/app/nope")[0] == 404
    assert busy.ask("GET", "/wsgi/x/y")[:2] == (200, b"GET /x/y")
    assert busy.ask("POST", "/wsgi/x", b"body")[:2] == (200, b"POST /xbody")
    parts = iter([b"in ", b"parts"])  # which go in chunks
    assert busy.ask("POST", "/wsgi/x", parts)[:2] == (200, b"POST /xin parts")  # type: ignore[arg-type]
    status, answer, _ = busy.ask("GET", "/files/shop.py")
    assert status == 200 and b"every kind of handler" in answer
    assert busy.ask("GET", "/files/../house.py")[0] == 404


def test_a_websocket_talks_to_a_mounted_application(busy: House) -> None:
    host, port = busy.address
    with connect(f"ws://{host}:{port}/app/talk") as socket:
        for text in ("one", "zwei äöü", "x" * 100_000):
            socket.send(text)
            assert socket.recv(timeout=10) == f"you said {text}"
    assert busy.ask("GET", "/state")[0] == 200


def test_sigterm_ends_a_replica_once_its_front_lets_go(busy: House) -> None:
    with open_service("shop.py:Plain") as house:
        assert post(house, "/greet", {"name": "x"})[0] == 200
        for process in house.processes.values():
            process.send_signal(signal.SIGTERM)
        assert [process.wait(15) for process in house.processes.values()] == [0, 0]


def test_the_last_replica_answers_until_its_front_is_asked_to_end_as_well() -> None:
    body = b'{"name": "x"}'
    ask = b"POST /greet HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with open_service("shop.py:Plain", deadline_ms=2000) as house, Wire(house.address) as wire:
        assert wire.ask(ask + body)[0] == 200
        house.processes["1"].send_signal(signal.SIGTERM)
        end = monotonic() + 1
        while monotonic() < end:
            status, _, headers = wire.ask(ask + body)
            assert (status, "connection" in headers) == (200, False)
        wire.send(ask)
        house.processes["front"].send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(house.address), "the front drains")
        assert house.processes["1"].poll() is None
        status, _, headers = wire.ask(body)
        assert (status, headers["connection"]) == (200, "close")
        assert [process.wait(15) for process in house.processes.values()] == [0, 0]


PAIR = """
from threading import Event
from lepton.serve import Service, handler

class Pair(Service):
    concurrency = 2

    @handler
    def work(self) -> int:
        Event().wait(0.1)
        return 1
"""


def test_what_could_not_be_answered_in_time_by_a_replica_with_several_threads_is_refused_at_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "pair.py").write_text(PAIR)
    with open_service("pair.py", code=tmp_path, deadline_ms=1000) as house, ThreadPoolExecutor(60) as pool:
        assert [post(house, "/work", {})[0] for _ in range(10)] == [200] * 10
        told = list(pool.map(lambda _: house.ask("POST", "/work", b"{}"), range(60)))
        refused = [(body["code"], headers["retry-after"]) for status, body, headers in told if status == 503]
        assert len(refused) > 20 and set(refused) == {("busy", "1")}
        assert f'lepton_dropped_total{{why="overload"}} {len(refused)}'.encode() in house.ask("GET", "/metrics")[1]
        assert post(house, "/work", {})[0] == 200


def is_refused(address: tuple[str, int]) -> bool:
    try:
        Wire(address).__exit__()
    except ConnectionRefusedError:
        return True
    return False


def test_large_bodies_pass_through_memory_that_front_and_replica_share(plain: House) -> None:
    for size in (70_000, 1_000_000, 7_000_000, 100):
        data = random.Random(size).randbytes(size)
        for _ in range(3):
            status, answer, _ = plain.ask("POST", "/raw", data, content_type="application/octet-stream")
            assert (status, answer == data[::-1]) == (200, True)
    maps = Path(f"/proc/{plain.processes['front'].pid}/maps").read_text()
    assert "lepton-bodies" in maps
    with ThreadPoolExecutor(8) as pool:
        bodies = [random.Random(n).randbytes(3_000_000) for n in range(8)]
        found = pool.map(lambda data: plain.ask("POST", "/raw", data, content_type="application/octet-stream"), bodies)
        assert [answer == data[::-1] for (_, answer, _), data in zip(found, bodies, strict=True)] == [True] * 8


def test_a_replica_that_is_asked_to_end_first_answers_what_it_has_begun() -> None:
    with open_service("shop.py:Busy", workers=2) as house:
        wait_until(lambda: b"workers_ready 2" in house.ask("GET", "/metrics")[1], "both are there")
        with ThreadPoolExecutor(4) as pool:
            waits = [pool.submit(post, house, "/wait", {"seconds": 1}) for _ in range(4)]
            wait_until(lambda: b"requests_held 4" in house.ask("GET", "/metrics")[1], "all have been begun")
            house.processes["1"].send_signal(signal.SIGTERM)
            assert house.processes["1"].wait(30) == 0
            assert [wait.result()[0] for wait in waits] == [200] * 4
        assert post(house, "/wait", {"seconds": 0})[0] == 200
        assert b"workers_ready 1" in house.ask("GET", "/metrics")[1]


def test_a_handler_talks_over_a_websocket() -> None:
    with open_service("talk.py") as house:
        host, port = house.address
        with connect(f"ws://{host}:{port}/rooms/blue?times=2") as socket:
            for message in ("hi", "x" * 100_000):
                socket.send(message)
                assert [socket.recv(timeout=30) for _ in range(2)] == [f"blue: {message}"] * 2
            socket.send(b"\x00\xff")
            assert [socket.recv(timeout=30) for _ in range(2)] == [b"\x00\xff"] * 2
            socket.send("leave")
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=30)
            assert socket.close_code == 1000
        with connect(f"ws://{host}:{port}/rooms/red") as socket:
            socket.send("fail")
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=30)
            assert socket.close_code == 1011
        with connect(f"ws://{host}:{port}/pick", subprotocols=[Subprotocol("v1"), Subprotocol("v2")]) as socket:
            assert socket.subprotocol == "v2"
            socket.send("seven")
            assert json.loads(socket.recv(timeout=30)) == {"code": "seven"}
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://{host}:{port}/pick")
        assert caught.value.response.status_code == 400
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://{host}:{port}/rooms/blue?times=many")
        assert caught.value.response.status_code == 422
        status, answer, headers = house.ask("GET", "/rooms/blue")
        assert (status, headers["upgrade"], "WebSocket" in answer["message"]) == (426, "websocket", True)
        assert answer["code"] == "upgrade"
        assert house.ask("POST", "/rooms/blue", b"{}")[0] == 405
        assert "101" in house.ask("GET", "/openapi.json")[1]["paths"]["/rooms/{room}"]["get"]["responses"]


@pytest.mark.parametrize("path", ["/nag", "/shrug", "/app/nag"])
def test_who_talks_on_after_a_goodbye_holds_up_nobody(path: str) -> None:
    with open_service("talk.py") as house:
        host, port = house.address
        with connect(f"ws://{host}:{port}{path}", close_timeout=0.2) as socket:  # nobody answers its goodbye
            assert socket.recv(timeout=30) == "more"
        assert house.ask("GET", "/ends")[:2] == (200, "here")
        assert "Traceback" not in house.log()


def test_a_stream_over_http_1_0_ends_with_its_connection(plain: House) -> None:
    body = b'{"to": 2}'
    with plain.wire() as wire:
        wire.send(b"POST /count_to HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        status, _, headers = wire.read(has_body=False)
        assert (status, "transfer-encoding" in headers) == (200, False)
        assert wire.line() == b'data: {"number":0}\n'
        assert wire.is_closed()


def test_handlers_share_a_path_with_a_parameter(plain: House) -> None:
    assert plain.ask("GET", "/parts/3")[:2] == (200, "part 3")
    status, answer, _ = plain.ask("PUT", "/parts/3", b'{"size": 5}', content_type="application/json")
    assert (status, answer) == (200, 15)
    assert plain.ask("DELETE", "/parts/3")[0] == 405


def test_headers_of_a_handler_do_not_break_the_framing(plain: House) -> None:
    status, body, headers = plain.ask("POST", "/proxied", b"{}", content_type="application/json")
    assert (status, body, headers["content-length"], headers["content-type"]) == (200, b"hello", "5", "text/csv")
    assert headers["x-a"] == "b" and "transfer-encoding" not in headers
    assert post(plain, "/unheard_of", {})[0] == 500


def test_errors_of_streams_say_all_that_they_can(plain: House) -> None:
    status, body, _ = plain.ask("POST", "/breaks_off", b"{}", content_type="application/json")
    assert status == 200 and body.startswith(b"data: one\n\nevent: error\ndata: ") and b"full" in body
    status, _, headers = plain.ask("POST", "/too_soon", b"{}", content_type="application/json")
    assert (status, headers["retry-after"]) == (429, "9")
