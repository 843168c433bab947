"""Of many endpoints at a front only those are looked at that have something to do."""

import asyncio
from time import monotonic

import pytest

from lepton.serve.allowance import Addresses, Allowance
from lepton.serve.answers import failed as failed_because
from lepton.serve.desk import Desk
from lepton.serve.exchange import Limits
from lepton.serve.http import Connection
from lepton.serve.lobby import Lobby
from lepton.serve.queue import Queue
from tests.fuzz.front import GOOD, Transport, Worker, read_answers

REASON = failed_because("one", "OSError: secret")
AT_ONE = GOOD.replace(b"/predict", b"/one/predict")


def make_desk(name: str, deadline_s: float = 60) -> Desk:
    queue = Queue(max_batch=32, max_waiting=4096, max_waiting_bytes=1 << 28)
    return Desk(queue, limits=Limits(), deadline_s=deadline_s, name=name, gate=None, prefix="f")


def connect(lobby: Lobby) -> tuple[Connection, Transport]:
    connection, transport = Connection(lobby), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport


async def story() -> None:
    lobby = Lobby(make_desk("own"), Addresses(()))
    desks = {name: make_desk(name) for name in ("one", "two")}
    for desk in desks.values():
        lobby.open(desk, ())
    assert not lobby.awake
    worker = Worker(desks["one"])
    connection, transport = connect(lobby)
    for _ in range(3):
        connection.data_received(AT_ONE)
        desks["one"]._pump()
        assert lobby.awake == {desks["one"]}
        lobby.sweep(monotonic())
        assert lobby.awake == {desks["one"]}, "a worker has something"
        worker.work()
        lobby.sweep(monotonic())
        assert not lobby.awake
    assert read_answers(bytes(transport.written)) == [200, 200, 200]


async def late() -> None:
    lobby = Lobby(make_desk("own"), Addresses(()))
    without, hung = make_desk("without", -1), make_desk("hung", -1)
    lobby.open(without, ())
    lobby.open(hung, ())
    Worker(hung)
    for name, desk in (("without", without), ("hung", hung)):
        connection, transport = connect(lobby)
        connection.data_received(GOOD.replace(b"/predict", f"/{name}/predict".encode()))
        assert lobby.awake == {desk}
        lobby.sweep(monotonic())
        assert read_answers(bytes(transport.written))[0] in (503, 504)
        assert desk.meter.dropped["late"] == 1
        lobby.sweep(monotonic())
        assert not lobby.awake


async def crowd() -> None:
    lobby = Lobby(make_desk("own"), Addresses(()))
    desk = make_desk("one")
    desk.allowance = Allowance(quota=3)
    lobby.open(desk, ())
    connection, transport = connect(lobby)
    connection.data_received(AT_ONE * 2)
    worker = Worker(desk)
    connection.data_received(AT_ONE * 3)
    desk._pump()
    worker.work()
    assert read_answers(bytes(transport.written)) == [200, 200, 200, 429, 429], "what was held counts once"
    assert desk.meter.dropped["quota"] == 2


def test_of_those_that_come_together_the_first_are_within_the_quota() -> None:
    asyncio.run(crowd())


async def failed() -> None:
    lobby = Lobby(make_desk("own"), Addresses(()))
    desk = make_desk("one")
    lobby.open(desk, ())
    connection, transport = connect(lobby)
    connection.data_received(AT_ONE * 2)
    assert not transport.written, "they wait for a worker"
    desk.fail(REASON)
    connection.data_received(AT_ONE)
    assert read_answers(bytes(transport.written)) == [503] * 3
    transport.written.clear()
    desk.fail(None)
    connection.data_received(AT_ONE)
    assert not transport.written, "it is tried again"
    worker = Worker(desk)
    desk._pump()
    worker.work()
    desk.fail(REASON)
    connection.data_received(AT_ONE)
    desk._pump()
    worker.work()
    assert read_answers(bytes(transport.written)) == [200, 200], "who is there answers"
    connection.data_received(AT_ONE)
    desk.leave(worker.link)
    connection.data_received(AT_ONE)
    assert read_answers(bytes(transport.written)) == [200, 200, 503, 503], "the last one has gone"


def test_who_closes_late_does_not_close_another_of_the_same_name() -> None:
    lobby = Lobby(make_desk("own"), Addresses(()))
    old, new = make_desk("one"), make_desk("one")
    for desk, host in ((old, "old.example"), (new, "new.example")):
        lobby.open(desk, (host,))
    lobby.close(old)
    assert lobby.lead(b"/one/x?y", b"a") == (new, b"/x?y", b"/one")
    assert lobby.lead(b"/x", b"old.example")[0] is lobby.own
    assert lobby.lead(b"/x", b"new.example:80") == (new, b"/x", b"")
    assert lobby.lead(b"/x", b"New.Example.:80") == (new, b"/x", b""), "a name with its final dot is the same"
    assert lobby.lead(b"*", b"other")[0] is lobby.own
    lobby.close(new)
    assert lobby.lead(b"/one/x", b"new.example")[0] is lobby.own


async def absolute(target: bytes) -> bytes:
    """Of a request with that target to a front of `one.example` and `two.example`, whose Host is the first: what its
    worker at the second is given."""
    lobby = Lobby(make_desk("own"), Addresses(()))
    desks = {name: make_desk(name) for name in ("one", "two")}
    for name, desk in desks.items():
        lobby.open(desk, (f"{name}.example",))
    workers = [Worker(desk) for desk in desks.values()]
    connection, _ = connect(lobby)
    connection.data_received(b"GET %b HTTP/1.1\r\nHost: one.example\r\nX: y\r\n\r\n" % target)
    for desk in desks.values():
        desk._pump()
    return b"".join(workers[1]._inbox)


@pytest.mark.parametrize("target", [b"http://two.example/app/x?y", b"HTTPS://two.example:80/app/x?y"])
def test_whose_a_request_is_its_whole_target_says_before_host(target: bytes) -> None:
    given = asyncio.run(absolute(target))
    assert b"GET /app/x?y HTTP/1.1\r\nHost: two.example" in given and b"one.example" not in given
    assert not asyncio.run(absolute(b"/app/x?y"))


def test_of_an_endpoint_that_has_failed_nobody_waits_for_a_worker() -> None:
    asyncio.run(failed())


def test_an_endpoint_is_looked_at_while_it_has_something_and_no_longer() -> None:
    asyncio.run(story())


def test_what_is_late_is_answered_whether_it_waits_for_a_worker_or_in_the_queue() -> None:
    asyncio.run(late())


async def whose_is_it(orders: list[tuple[str, tuple[str, ...]]]) -> str:
    lobby = Lobby(make_desk("own"), Addresses(()))
    desks = {name: make_desk(name) for name in ("old", "new")}
    for name, hosts in orders:
        lobby.open(desks[name], hosts)
    return lobby.lead(b"/x", b"a.example")[0].name


@pytest.mark.parametrize("then", [[("new", ("a.example",)), ("old", ())], [("old", ()), ("new", ("a.example",))]])
def test_a_host_that_another_endpoint_takes_is_its_in_whichever_order_it_is_told(
    then: list[tuple[str, tuple[str, ...]]],
) -> None:
    assert asyncio.run(whose_is_it([("old", ("a.example",)), *then])) == "new"
