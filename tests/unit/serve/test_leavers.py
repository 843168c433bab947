"""Who wants to end stays as long as somebody may need it, and no longer."""

import asyncio
from time import monotonic

from lepton.serve.allowance import Addresses
from lepton.serve.desk import Desk
from lepton.serve.frames import Frame, Kind, encode
from lepton.serve.lobby import Lobby
from tests.fuzz.front import GOOD, Worker, read_answers
from tests.unit.serve.test_lobby import connect, make_desk

PATIENCE_S = 600.0


class Ending(Worker):
    """A worker that can ask to end; told to, it is gone."""

    def __init__(self, desk: Desk, number: int) -> None:
        super().__init__(desk, number)
        self.ended = asyncio.Event()

    @property
    def is_gone(self) -> bool:
        return self.ended.is_set()

    def ask_to_end(self, *, is_ill: bool = False) -> None:
        self.link.data_received(encode(Frame(Kind.LEAVE, [], int(is_ill))))

    def close(self) -> None:
        self.ended.set()
        self.link.connection_lost(None)


class Stage:
    """A front of one endpoint with one client, without sockets."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.desk = make_desk("own")
        self.desk.leavers.patience_s = patience_s
        self.lobby = Lobby(self.desk, Addresses(()))
        self.worker = self.add()
        self.client, self.transport = connect(self.lobby)

    def add(self, number: int = 1) -> Ending:
        return Ending(self.desk, number)

    def ask(self, *workers: Ending) -> list[int]:
        """The statuses of what is answered at once."""
        self.client.data_received(GOOD)
        self.desk._pump()
        for worker in workers or (self.worker,):
            worker.work()
        found = read_answers(bytes(self.transport.written))
        self.transport.written.clear()
        return found


async def stopped_one_by_one() -> None:
    stage = Stage()
    assert stage.ask() == [200]
    stage.worker.ask_to_end()
    assert stage.ask() == [200], "the front is not asked to stop yet"
    assert not stage.worker.is_gone
    asking, transport = connect(stage.lobby)
    asking.data_received(GOOD[:-1])
    stage.lobby.drain()
    stage.client.check(monotonic() + 2)
    assert stage.transport.is_closed, "it is idle"
    stage.desk._let_go()
    assert not stage.worker.is_gone, "a request is on its way"
    asking.data_received(GOOD[-1:])
    stage.desk._pump()
    stage.worker.work()
    assert read_answers(bytes(transport.written)) == [200]
    assert b"connection: close" in transport.written.lower()
    assert not stage.worker.is_gone, "the front lets go of it when it ends"


async def others_stay() -> None:
    stage = Stage()
    other = stage.add(2)
    stage.worker.ask_to_end()
    assert stage.worker.is_gone
    other.ask_to_end()
    assert stage.ask(other) == [200]
    assert not other.is_gone
    third = stage.add(3)
    assert other.is_gone, "another has come"
    assert stage.ask(third) == [200]


async def both_leave_at_once() -> None:
    stage = Stage()
    other = stage.add(2)
    stage.client.data_received(GOOD)
    stage.desk._pump()
    stage.worker.ask_to_end()
    other.ask_to_end()
    stage.worker.work()
    assert not (stage.worker.is_gone and other.is_gone)
    assert read_answers(bytes(stage.transport.written)) == [200]


async def nobody_asks_the_front() -> None:
    stage = Stage(patience_s=0.001)
    stage.worker.ask_to_end()
    assert stage.ask() == [200]
    async with asyncio.timeout(30):
        await stage.worker.ended.wait()


async def not_kept() -> None:
    ill = Stage()
    ill.worker.ask_to_end(is_ill=True)
    assert ill.worker.is_gone, "another takes its place"
    shared = Stage(patience_s=0)
    shared.lobby.drain()
    shared.worker.ask_to_end()
    assert shared.worker.is_gone, "its front goes on"


def test_the_last_worker_stays_until_its_front_has_drained() -> None:
    asyncio.run(stopped_one_by_one())


def test_who_leaves_while_others_stay_is_let_go_at_once() -> None:
    asyncio.run(others_stay())


def test_of_two_that_leave_at_once_one_answers() -> None:
    asyncio.run(both_leave_at_once())


def test_the_last_worker_goes_in_the_end_if_its_front_stays() -> None:
    asyncio.run(nobody_asks_the_front())


def test_nobody_is_kept_who_is_ill_or_whose_front_goes_on() -> None:
    asyncio.run(not_kept())
