"""An endpoint at a shared front whose workers make place for those of another wish: what waits is for these."""

import asyncio
import json
from pathlib import Path
from time import time
from typing import Any

from lepton.serve.allowance import Addresses, Allowance
from lepton.serve.desk import Desk
from lepton.serve.frames import Decoder, Entry, Frame, Kind, encode
from lepton.serve.heads import PREFACE
from lepton.serve.http import Connection
from lepton.serve.links import WorkerLink
from lepton.serve.lobby import Lobby
from lepton.serve.protocols.http2 import wire
from lepton.serve.protocols.inference.operations import FIRST_RPC, SERVICE
from lepton.serve.routes import Table
from lepton.serve.site import Place, Site
from lepton.serve.spec import EndpointSpec
from tests.fuzz.front import Transport, read_answers
from tests.fuzz.http2 import INFER, MESSAGE, SETTINGS, head
from tests.unit.serve.test_lobby import connect, make_desk

SAY = {"id": 16, "path": "/say"}
WISH = {"code": "ver_01hzzzzzzzzzzzzzzzzzzzzzzz", "entry": "a.py:A", "front": "ep_01hzzzzzzzzzzzzzzzzzzzzzzz"}


def make_spec(**wish: Any) -> EndpointSpec:
    return EndpointSpec.from_json({**WISH, **wish})


def ask(path: str, body: bytes = b"{}") -> bytes:
    line = f"POST /one{path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return line.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Gang:
    """A worker of a program: keeps what it is given, answers it when told to."""

    def __init__(self, desk: Desk, number: int, *operations: Any) -> None:
        self.link = WorkerLink(desk, number)
        self.asked: list[Entry] = []
        self.is_let_go = False
        self._decoder = Decoder()
        self.link.connection_made(self)  # type: ignore[arg-type]
        hello = json.dumps({"operations": operations, "room": 64}).encode()
        self.link.data_received(encode(Frame(Kind.HELLO, [Entry(0, hello)])))

    def write(self, data: bytes) -> None:
        frames = [frame for frame in self._decoder.feed(data) if frame.kind == Kind.BATCH]
        self.asked += [entry for frame in frames for entry in frame.entries]

    def close(self) -> None:
        self.is_let_go = True

    def answer(self) -> list[int]:
        """Answer all; the operations that were asked."""
        asked, self.asked = self.asked, []
        for entry in asked:
            self.link.data_received(encode(Frame(Kind.ANSWERS, [Entry(entry.id, b"{}", status=200)], 1)))
        return [entry.operation for entry in asked]


class Post:
    """An endpoint at a shared front."""

    def __init__(self, folder: Path, **wish: Any) -> None:
        place = Place("ep_1", "one", folder / "quota.json")
        self.site = Site(make_spec(**wish), place, tell=lambda _: None)
        self.desk = self.site.desk
        self.lobby = Lobby(make_desk("own"), Addresses(()))
        self.open()
        self.connection, self.transport = connect(self.lobby)

    def open(self) -> None:
        self.lobby.open(self.desk, self.site.spec.hosts)

    def renew(self, **wish: Any) -> None:
        self.site.renew(make_spec(**wish))
        self.open()

    def ask(self, *messages: bytes) -> None:
        for message in messages:
            self.connection.data_received(message)
        self.desk._pump()

    def answers(self) -> list[int]:
        return read_answers(bytes(self.transport.written))


async def gap(folder: Path) -> None:
    post = Post(folder)
    old = Gang(post.desk, 1, SAY, {"id": 17, "path": "/gone"}, {"id": 18, "path": "/kind", "media": ["NPY", "JSON"]})
    post.ask(ask("/say"))
    assert old.answer() == [16]
    old.link.connection_lost(None)
    post.ask(ask("/say"), ask("/gone"), ask("/kind"), ask("/say"))
    post.renew(deadline_ms=5000)
    kind = {"id": 19, "path": "/kind", "media": ["NPY"]}
    new = Gang(post.desk, 2, {"id": 16, "path": "/other"}, kind, {"id": 20, "path": "/say", "methods": ["POST", "PUT"]})
    post.desk._pump()
    assert new.answer() == [20, 20], "by their path, not by the number that it had"
    assert post.answers() == [200, 200, 503, 503, 200], "nobody answers the others, and nobody waits for it"
    post.ask(ask("/say"))
    assert new.answer() == [20]
    assert post.desk.meter.answers == {200: 4, 503: 2}, "it counts on"
    assert post.desk.longest_s == 5
    assert not post.desk.queue.waiting and not post.desk.open


def test_what_waits_is_asked_of_the_program_that_comes(tmp_path: Path) -> None:
    asyncio.run(gap(tmp_path))


async def late_body(folder: Path) -> None:
    post = Post(folder)
    Gang(post.desk, 1, SAY).link.connection_lost(None)
    whole = ask("/say", b'{"a": 1}')
    post.ask(whole[:-2])
    post.renew()
    new = Gang(post.desk, 2, {"id": 30, "path": "/say"})
    Gang(post.desk, 3, {"id": 30, "path": "/say"}).link.connection_lost(None)  # a second one of the same program
    post.ask(whole[-2:])
    assert new.answer() == [30]
    assert post.answers() == [200]


def test_a_request_that_was_half_sent_is_asked_of_the_program_that_came_meanwhile(tmp_path: Path) -> None:
    asyncio.run(late_body(tmp_path))


async def beside(folder: Path) -> None:
    post = Post(folder)
    old = Gang(post.desk, 1, {**SAY, "is_repeatable": True})
    post.ask(ask("/say"), ask("/say"))
    assert len(old.asked) == 2
    post.renew()
    assert not old.is_let_go, "it answers first what it has"
    new = Gang(post.desk, 2, {"id": 30, "path": "/say", "is_repeatable": True})
    post.ask(ask("/say"))
    assert (len(old.asked), len(new.asked)) == (2, 1)
    old.asked = old.asked[:1]
    assert old.answer() == [16]
    old.link.connection_lost(None)
    post.desk._pump()
    assert new.answer() == [30, 30], "what it has not answered is asked of the other, by its own number"
    assert post.answers() == [200, 200, 200]
    idle = Post(folder)
    old = Gang(idle.desk, 1, SAY)
    idle.renew()
    assert old.is_let_go


def test_workers_that_make_place_answer_what_they_have_and_get_nothing_more(tmp_path: Path) -> None:
    asyncio.run(beside(tmp_path))


async def wish(folder: Path) -> None:
    post = Post(folder, quota_per_day=2, hosts=["a.example"], max_body_bytes=2048)
    old = Gang(post.desk, 1, SAY)
    post.ask(ask("/say"), ask("/say"), ask("/say"))
    assert old.answer() == [16, 16] and post.answers() == [200, 200, 429]
    post.renew(quota_per_day=3, hosts=["b.example"], max_body_bytes=1024)
    new = Gang(post.desk, 2, SAY)
    assert [post.lobby.lead(b"/", host)[0] is post.desk for host in (b"a.example", b"b.example")] == [False, True]
    connection, transport = connect(post.lobby)
    connection.data_received(ask("/say") * 2)
    post.desk._pump()
    assert new.answer() == [16] and read_answers(bytes(transport.written)) == [200, 429], "one more, not three"
    connection, transport = connect(post.lobby)
    connection.data_received(ask("/say", b" " * 1500))
    assert read_answers(bytes(transport.written)) == [413]


def test_the_new_wish_holds_and_what_was_used_of_a_quota_is_used(tmp_path: Path) -> None:
    asyncio.run(wish(tmp_path))


async def stream(folder: Path) -> None:
    post = Post(folder)
    old = Gang(post.desk, 1, INFER)
    connection, transport = Connection(post.lobby), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    opening = [SETTINGS, *frames(1, MESSAGE)]
    connection.data_received(PREFACE + b"".join(opening))
    post.desk._pump()
    assert old.answer() == [FIRST_RPC]
    old.link.connection_lost(None)
    transport.protocol.data_received(frames(1, MESSAGE)[1])
    post.renew()
    new = Gang(post.desk, 2, {**INFER, "is_repeatable": False})
    transport.protocol.data_received(frames(1, MESSAGE)[1])
    post.desk._pump()
    assert new.answer() == [FIRST_RPC, FIRST_RPC]


def frames(number: int, message: bytes) -> list[bytes]:
    block = head(f"{SERVICE}ModelStreamInfer", lepton_endpoint="one")
    return [
        wire.frame(wire.Kind.HEADERS, wire.END_HEADERS, number, block),
        wire.frame(wire.Kind.DATA, 0, number, message),
    ]


def test_a_stream_of_grpc_goes_on_with_the_workers_that_come(tmp_path: Path) -> None:
    asyncio.run(stream(tmp_path))


def test_limits_that_change_keep_what_was_counted() -> None:
    allowance, now = Allowance(rate=1, burst=5), time()
    assert allowance.take_some(b"a", 5, now)[0] == 5
    allowance.limit(rate=1, burst=2, quota=0)
    assert allowance.take_some(b"a", 5, now)[0] == 0
    assert allowance.take_some(b"b", 5, now)[0] == 2
    allowance.limit(rate=0, burst=0, quota=6)
    assert allowance.take_some(b"a", 5, now)[0] == 1


def test_an_operation_has_an_heir_only_if_that_reads_the_same() -> None:
    was = {"id": 3, "path": "/a", "methods": ["GET", "PUT"], "has_body": False}
    route = Table({"operations": [was]}).find(b"GET", b"/a")
    for other, has in ((was, True), ({"id": 9}, True), ({"methods": ["GET"]}, False), ({"is_headed": True}, False)):
        table = Table({"operations": [{**was, **other}, {"id": 5, "path": "/b"}]})
        assert (table.heir(route, Table({"operations": [was]})) is not None) is has, other  # type: ignore[arg-type]
