"""What a front answers to bytes that are cut, joined, too many, too slow or not HTTP at all."""

import json
from collections.abc import Iterator

import pytest

from tests.server.serving.house import House, open_house

BODY = b'{"inputs": [[0, 9], [1, 2]]}'
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
PREDICT = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
H2C = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
"""So Java's client asks by default."""
MAX_BODY = 100_000


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    limits = {"max_body_bytes": MAX_BODY, "head_s": 0.4, "body_s": 0.6, "idle_s": 0.8, "linger_s": 0.2}
    with open_house(limits=limits) as house:
        yield house


def label(body: bytes) -> str:
    return str(json.loads(body)["outputs"][0]["label"])


def test_a_request_in_single_bytes_is_the_same_request(house: House) -> None:
    with house.wire() as wire:
        for at in range(len(PREDICT)):
            wire.send(PREDICT[at : at + 1])
        status, body, _ = wire.read()
        assert (status, label(body)) == (200, "class-1")


def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    with house.wire() as wire:
        asks = []
        for number in range(150):
            body = b'{"inputs": [[%d, %d], [%d, %d]]}' % tuple(9 * (number % 4 == k) for k in range(4))
            asks.append(HEAD + b"X-Request-Id: r%d\r\nContent-Length: %d\r\n\r\n%b" % (number, len(body), body))
            if number % 10 == 3:
                asks.append(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: h%d\r\n\r\n" % number)
        wire.send(b"".join(asks))
        for number in range(150):
            status, body, headers = wire.read()
            assert (status, label(body), headers["x-request-id"]) == (200, f"class-{number % 4}", f"r{number}")
            if number % 10 == 3:
                assert wire.read()[2]["x-request-id"] == f"h{number}"


def test_a_chunked_body_with_trailers_is_read_and_the_connection_kept(house: House) -> None:
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:6], BODY[6:]))
    with house.wire() as wire:
        for _ in range(2):
            status, body, _ = wire.ask(CHUNKED + chunks + b"0\r\nContent-Type: text/x\r\n\r\n")
            assert (status, label(body)) == (200, "class-1")


@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_a_wish_to_speak_http2_with_a_body_is_ignored(house: House, size: int) -> None:
    plain = H2C + b"HTTP2-Settings: AAEAAEAAAAIAAAAA\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    halves = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:9], BODY[9:]))
    chunked = H2C + b"Transfer-Encoding: chunked\r\n\r\n" + halves + b"0\r\n\r\n"
    other = plain.replace(b"h2c", b"TLS/1.0, x")
    stream = (plain + chunked + PREDICT + other + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + chunked + PREDICT) * 3
    with house.wire() as wire:
        for at in range(0, len(stream), size):
            wire.send(stream[at : at + size])
        for _ in range(3):
            for wanted in ("class-1",) * 4 + ("",) + ("class-1",) * 2:
                status, body, headers = wire.read()
                assert (status, label(body) if wanted else "") == (200, wanted)
                assert headers.get("connection") != "close"


def test_a_wish_to_speak_http2_leaves_what_else_the_head_says(house: House) -> None:
    with house.wire() as wire:
        assert wire.ask(H2C + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))[0] == 100
        assert wire.ask(BODY)[0] == 200
        wire.send(H2C.replace(b"Upgrade,", b"close, Upgrade,") + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
        assert wire.read()[2]["connection"] == "close"
        assert wire.is_closed()
    with house.wire() as wire:
        assert wire.ask(H2C.replace(b"/predict", b"/nothing") + b"Content-Length: 2\r\n\r\n{}")[0] == 404
        assert wire.ask(PREDICT)[0] == 200


def test_a_long_body_in_single_bytes_and_one_after_it_are_read(house: House) -> None:
    long = BODY + b" " * (MAX_BODY - len(BODY))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in long) + b"0\r\n\r\n"
    with house.wire() as wire:
        wire.send(
            CHUNKED + chunks + PREDICT + HEAD + b"Content-Length: %d\r\n\r\n" % len(long) + long + CHUNKED + chunks
        )
        assert [wire.read()[0] for _ in range(4)] == [200] * 4


def test_a_refused_request_whose_body_does_not_come_is_answered_soon(house: House) -> None:
    with house.wire() as wire:
        assert wire.ask(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")[0] == 404
        assert wire.is_closed()


def test_expect_100_is_answered_before_the_body_and_in_turn(house: House) -> None:
    with house.wire() as wire:
        wire.send(PREDICT + HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert wire.read()[0] == 200
        assert wire.read()[0] == 100
        assert wire.ask(BODY)[0] == 200


def test_expect_100_for_a_body_that_is_too_large_is_refused_before_it_is_sent(house: House) -> None:
    with house.wire() as wire:
        head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        assert wire.ask(head)[0] == 413
        assert wire.is_closed()


REFUSED: dict[str, tuple[bytes, int]] = {
    "both lengths": (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "both lengths, other order": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 28\r\nContent-Length: 3\r\n\r\n" + BODY, 400),
    "a signed length": (HEAD + b"Content-Length: +28\r\n\r\n" + BODY, 400),
    "a list of lengths": (HEAD + b"Content-Length: 28, 28\r\n\r\n" + BODY, 400),
    "an endless length": (HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n", 400),
    "another coding": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "a disguised coding": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "a bad chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "a negative chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    "a NUL in a header": (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
    "a NUL in the URL": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a WebSocket with a body": (
        HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
        400,
    ),
    "both lengths and an upgrade": (H2C + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths and an upgrade": (H2C + b"Content-Length: 28\r\nContent-Length: 3\r\n\r\n" + BODY, 400),
    "another coding and an upgrade": (H2C + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "a bad chunk after an upgrade": (H2C + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "two hosts and an upgrade": (H2C + b"Host: b\r\nContent-Length: 28\r\n\r\n" + BODY, 400),
    "another protocol with an upgrade": (
        b"POST /predict RTSP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    "large headers and an upgrade": (
        H2C + b"HTTP2-Settings: %b\r\nContent-Length: 3\r\n\r\nabc" % (b"a" * 20_000),
        431,
    ),
    "another version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "a version between": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "a version that never was": (b"GET / HTTP/2.7\r\nHost: a\r\n\r\n", 505),
    "no version": (b"GET / HTTP/one\r\nHost: a\r\n\r\n", 400),
    "chunks before HTTP/1.1": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", 400),
    "a large trailer": (CHUNKED + b"0\r\nX: %b\r\n\r\n" % (b"a" * 40_000), 431),
    "a trailer without end": (CHUNKED + b"0\r\nX: %b" % (b"a" * 60_000), 431),
    "many trailers": (CHUNKED + b"0\r\n%b\r\n" % (b"X: a\r\n" * 101), 431),
    "a large chunk extension": (CHUNKED + b"1;%b\r\na\r\n0\r\n\r\n" % (b"a" * 60_000), 400),
    "a chunk extension without end": (CHUNKED + b"1\r\na\r\n1;%b" % (b"a" * 60_000), 400),
    "a chunk size without end": (CHUNKED + b"0" * 60_000, 400),
    "another expectation": (HEAD + b"Expect: magic\r\nContent-Length: 3\r\n\r\nabc", 417),
    "a long URL": (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 9000), 414),
    "large headers": (b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * 20_000), 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % (b"X: a\r\n" * 101), 431),
    "a large body": (HEAD + b"Content-Length: %d\r\n\r\n%b" % (MAX_BODY + 1, bytes(MAX_BODY + 1)), 413),
    "a large chunked body": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (MAX_BODY + 1, bytes(MAX_BODY + 1)),
        413,
    ),
    "no body": (HEAD + b"\r\n", 411),
    "a form": (b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
    "a packed body": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415),
    "no such path": (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a wrong method": (b"GET /predict HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "another protocol": (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    "another protocol, newer": (b"GET / RTSP/1.1\r\nHost: a\r\n\r\n", 400),
    "a stream's protocol": (b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", 400),
    "spaces in the first line": (b"GET  /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in Host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a tab in Host": (b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", 400),
    "a path in Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a user in Host": (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    "two names in Host": (b"GET / HTTP/1.1\r\nHost: a b/c@d\r\n\r\n", 400),
    "a port that is none": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "letters beyond ASCII in Host": (b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n", 400),
    "a target of another scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target with a user": (b"GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target without a host": (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target with a fragment": (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a whole target but no host": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    "an endless chunk": (CHUNKED + b"ffffffffffffffff\r\nabc", 400),
    "an endless chunk, cut off": (CHUNKED + b"fffffffffffffffe\r\n", 400),
    "a huge second chunk": (CHUNKED + b"3\r\nabc\r\n%x;a=b\r\na" % MAX_BODY, 413),
    "a signed chunk size": (CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk size with 0x": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400),
    "a space before a chunk size": (CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk size beyond all": (CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n", 400),
    "a coding in quotes": (HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "a coding after a vertical tab": (HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "a folded coding": (HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "a tunnel": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 404),
}


@pytest.mark.parametrize(("data", "wanted"), REFUSED.values(), ids=REFUSED)
def test_a_bad_request_gets_its_status_and_a_way_out(house: House, data: bytes, wanted: int) -> None:
    with house.wire() as wire:
        status, body, _ = wire.ask(data)
        assert status == wanted, body
        told = json.loads(body)
        assert set(told) == {"code", "message", "fix"}
        assert all(told.values())
    assert house.predict([[0, 9], [1, 2]])[0] == 200, "and the next client is served"


@pytest.mark.parametrize("name", [name for name, (_, wanted) in REFUSED.items() if wanted in (400, 505)])
def test_nothing_after_a_doubtful_message_is_taken_for_a_request(house: House, name: str) -> None:
    with house.wire() as wire:
        wire.send(REFUSED[name][0] + PREDICT)
        assert wire.read()[0] in (400, 505)
        assert wire.is_closed()


CHUNKED_PREDICT = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
QUOTED = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY) + len(PREDICT) + 4, BODY + b"\r\n" + PREDICT + b"\r\n")
"""Its body holds a whole request, which is none."""


@pytest.mark.parametrize("before", [b"", b"\r\n", PREDICT, CHUNKED_PREDICT, QUOTED], ids=range(5))
@pytest.mark.parametrize("line", [b"POST /predict RTSP/1.1", b"POST  /predict HTTP/1.1"])
@pytest.mark.parametrize("size", [1, 7, 50, 100_000])
def test_an_equal_request_beside_another_protocols_does_not_make_it_http(
    house: House, before: bytes, line: bytes, size: int
) -> None:
    wrong = PREDICT.replace(b"POST /predict HTTP/1.1", line)
    stream = before + wrong + PREDICT
    with house.wire() as wire:
        for at in range(0, len(stream), size):
            wire.send(stream[at : at + size])
        if before.strip():
            assert wire.read()[0] == (422 if before is QUOTED else 200)
        assert wire.read()[0] == 400
        assert wire.is_closed()


def test_a_body_may_hold_what_would_be_a_wrong_line(house: House) -> None:
    wrong = b"POST /predict RTSP/1.1\r\n\r\n"
    for data in (wrong, b"\r\n\r\n" + wrong + b"\r\n\r\n", b"\r\n\r\n"):
        whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
        parts = CHUNKED + b"%x\r\n%b\r\n0\r\nX: a\r\n\r\n" % (len(data), data)
        stream = (whole + PREDICT + parts + PREDICT) * 2
        for size in (1, 7, 50, 100_000):
            with house.wire() as wire:
                for at in range(0, len(stream), size):
                    wire.send(stream[at : at + size])
                assert [wire.read()[0] for _ in range(8)] == [422, 200] * 4


def test_what_follows_a_last_request_is_ignored(house: House) -> None:
    with house.wire() as wire:
        wire.send(PREDICT.replace(b"Host", b"Connection: close\r\nHost") + b"\0junk" + PREDICT)
        status, _, headers = wire.read()
        assert (status, headers["connection"]) == (200, "close")
        assert wire.is_closed()


def test_a_small_refused_request_keeps_its_connection(house: House) -> None:
    with house.wire() as wire:
        assert wire.ask(b"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")[0] == 404
        assert wire.ask(PREDICT)[0] == 200


@pytest.mark.parametrize(("begun", "status"), [(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 431), (b"GET /", 414)])
def test_headers_or_a_url_that_never_end_are_refused_within_bounds(house: House, begun: bytes, status: int) -> None:
    with house.wire() as wire:
        assert wire.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + begun)[0] == 200
        for _ in range(20):
            wire.send(b"a" * 4000)
        assert wire.read()[0] == status


def test_large_headers_may_come_in_parts(house: House) -> None:
    head = HEAD + b"X: %b\r\n" % (b"a" * 4000) * 3
    with house.wire() as wire:
        for at in range(0, len(head), 1000):
            wire.send(head[at : at + 1000])
            assert house.ask("GET", "/healthz")[0] == 200
        assert wire.ask(PREDICT.removeprefix(HEAD))[0] == 200


@pytest.mark.parametrize("part", [b"", b"GET / HT", HEAD, PREDICT[:-1]])
def test_a_client_that_stalls_is_let_go(house: House, part: bytes) -> None:
    with house.wire() as wire:
        wire.send(part)
        if part:
            assert wire.read()[0] == 408
        assert wire.is_closed()


def test_a_client_that_drips_its_headers_is_let_go(house: House) -> None:
    with house.wire() as wire:
        wire.socket.settimeout(0.05)
        data = b""
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100:
            wire.send(bytes([byte]))
            try:
                data = wire.socket.recv(1000)
                break
            except TimeoutError:
                continue
        assert data.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_read_is_read_no_further(house: House) -> None:
    with house.wire() as wire:
        wire.socket.settimeout(0.3)
        sent = 0
        with pytest.raises(OSError):
            while sent < 400 << 20:
                sent += wire.socket.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
        assert sent < 100 << 20
    assert house.predict([[0, 9], [1, 2]])[0] == 200


def test_head_options_and_old_http(house: House) -> None:
    with house.wire() as wire:
        wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        status, body, headers = wire.read(has_body=False)
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 50
        status, _, headers = wire.ask(b"OPTIONS /predict HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (status, headers["allow"]) == (200, "OPTIONS, POST")
        assert wire.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
        assert wire.ask(b"GET http://a/healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
        wire.send(b"HEAD /predict HTTP/1.1\r\nHost: a\r\n\r\n")
        status, _, headers = wire.read(has_body=False)
        assert (status, headers["allow"]) == (405, "OPTIONS, POST")
        assert wire.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")[0] == 200
        assert wire.ask(PREDICT)[0] == 200
        assert wire.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")[0] == 200
        assert wire.is_closed()
    with house.wire() as wire:
        assert wire.ask(b"GET /healthz HTTP/1.0\r\n\r\n")[0] == 200
        assert wire.is_closed()


@pytest.mark.parametrize("name", ["", "a" * 129, "caf\xe9"])
def test_an_unfit_request_id_is_replaced(house: House, name: str) -> None:
    with house.wire() as wire:
        head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + name.encode("latin-1") + b"\r\n\r\n"
        _, _, headers = wire.ask(head)
        assert headers["x-request-id"] not in ("", name)


def test_random_bytes_never_stop_the_front(house: House) -> None:
    seed = 7
    for _ in range(60):
        seed = seed * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
        data = bytearray(PREDICT)
        for shift in (0, 20, 40):
            data[(seed >> shift) % len(data)] = seed >> (shift + 8) & 255
        with house.wire() as wire:
            wire.send(bytes(data))
    assert house.predict([[0, 9], [1, 2]])[0] == 200
    assert house.processes["front"].poll() is None
    assert "Traceback" not in house.log()
