"""What the state of a vault promises, over every database: keys, packs and branches that two servers may share."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from lepton.core.clock import ManualClock
from lepton.core.errors import LetGoError, NotFoundError, StaleError
from lepton.store import retained
from lepton.store.database import Database
from lepton.store.open import open_database
from lepton.store.vault import SqlState
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.sealing import Kind, fresh_key
from lepton.vault.store.state import FRESH, Move, Pack

ROOT_KEY = bytes(range(32))
TENANT, DOMAIN, OTHER = b"t" * 16, b"d" * 16, b"o" * 16
Opener = Callable[[], SqlState]


@pytest.fixture(params=["sqlite", "postgres"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same database, as one more server does."""
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres"))
    databases: list[Database] = []

    def opened() -> SqlState:
        databases.append(open_database(url, folder=tmp_path, clock=ManualClock()))
        return SqlState(databases[-1])

    yield opened
    for database in databases:
        database.close()


@pytest.fixture
def state(again: Opener) -> SqlState:
    made = again()
    ring = KeyRing(made, ROOT_KEY)
    ring.add_tenant(TENANT)
    for domain in (DOMAIN, OTHER):
        ring.add_domain(domain, tenant=TENANT)
    return made


def add_pack(state: SqlState, id: bytes, domain: bytes = DOMAIN, *, marked_at: int = 0) -> bytes:
    key = fresh_key()
    state.add_pack(
        domain, Pack(id, 100, 3, marked_at=marked_at), KeyRing(state, ROOT_KEY).seal_pack(id, key, domain=domain)
    )
    return key


def test_packs_come_in_order_with_their_keys(state: SqlState, again: Opener) -> None:
    keys = {id: add_pack(state, id) for id in (b"1" * 16, b"2" * 16, b"3" * 16)}
    add_pack(state, b"4" * 16, OTHER)
    other = again()
    assert other.packs(DOMAIN) == [Pack(id, 100, 3, seq) for seq, id in enumerate(keys, 1)]
    assert [pack.id for pack in other.packs(DOMAIN, after=1, limit=1)] == [b"2" * 16]
    assert {id: KeyRing(other, ROOT_KEY).pack(id) for id in keys} == keys


def test_a_pack_goes_only_when_it_was_marked_and_no_branch_moved(state: SqlState) -> None:
    one, two = b"1" * 16, b"2" * 16
    for id in (one, two):
        add_pack(state, id)
    state.mark_packs(DOMAIN, [one], at=10)
    state.mark_packs(DOMAIN, [one, two], at=20)  # what was marked before keeps its time
    steps = state.steps(DOMAIN)
    state.move(DOMAIN, Move("main", 1, b"v" * 32, 5))
    with pytest.raises(StaleError):
        state.drop_packs(DOMAIN, [one, two], marked_before=15, steps=steps)
    assert state.drop_packs(DOMAIN, [one, two], marked_before=15, steps=state.steps(DOMAIN)) == [one]
    assert [(pack.id, pack.seq, pack.is_gone) for pack in state.packs(DOMAIN)] == [(two, 2, False), (one, 3, True)]
    with pytest.raises(NotFoundError):
        KeyRing(state, ROOT_KEY).pack(one)


def test_a_move_that_uses_a_marked_pack_keeps_it_and_one_that_is_gone_refuses_it(state: SqlState) -> None:
    one = b"1" * 16
    add_pack(state, one)
    state.mark_packs(DOMAIN, [one], at=10)
    state.move(DOMAIN, Move("main", 1, b"v" * 32, 11), uses=[one])
    assert state.packs(DOMAIN)[0].marked_at == 0
    state.mark_packs(DOMAIN, [one], at=12)
    assert state.drop_packs(DOMAIN, [one], marked_before=13, steps=state.steps(DOMAIN)) == [one]
    with pytest.raises(StaleError, match="pruned"):
        state.move(DOMAIN, Move("main", 2, b"w" * 32, 14), uses=[one])
    assert state.head(DOMAIN, "main") == Move("main", 1, b"v" * 32, 11)


def test_a_pack_is_taken_back_only_while_nobody_has_named_it(state: SqlState) -> None:
    one, two, old = b"1" * 16, b"2" * 16, b"3" * 16
    for id, marked_at in ((one, FRESH), (two, FRESH), (old, 0)):
        add_pack(state, id, marked_at=marked_at)
    state.move(DOMAIN, Move("main", 1, b"v" * 32, 11), uses=[two])
    assert state.drop_packs(DOMAIN, [one], marked_before=15, steps=state.steps(DOMAIN)) == []
    assert state.take_back(OTHER, [one]) == []
    assert state.take_back(DOMAIN, [one, two, old]) == [one]
    assert [(pack.id, pack.is_gone) for pack in state.packs(DOMAIN)] == [(two, False), (old, False), (one, True)]
    assert state.take_back(DOMAIN, [one]) == []
    with pytest.raises(NotFoundError):
        KeyRing(state, ROOT_KEY).pack(one)
    with pytest.raises(StaleError, match="pruned"):
        state.move(DOMAIN, Move("main", 2, b"w" * 32, 14), uses=[one])


def test_a_fresh_pack_is_marked_as_any_other(state: SqlState) -> None:
    one = b"1" * 16
    add_pack(state, one, marked_at=FRESH)
    state.mark_packs(DOMAIN, [one], at=10)
    assert state.drop_packs(DOMAIN, [one], marked_before=10, steps=0) == []
    assert state.drop_packs(DOMAIN, [one], marked_before=11, steps=0) == [one]


def test_a_branch_takes_each_step_once(state: SqlState, again: Opener) -> None:
    servers = [again() for _ in range(4)]

    def step(turn: int) -> bool:
        with suppress(StaleError):
            servers[turn % 4].move(DOMAIN, Move("main", turn // 8 + 1, bytes([turn]) * 32, turn))
            return True
        return False

    for first in range(0, 40, 8):
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(step, range(first, first + 8))) == 1
    assert [move.epoch for move in state.moves(DOMAIN, "main")] == [5, 4, 3, 2, 1]
    assert [move.epoch for move in state.moves(DOMAIN, "main", before=4, limit=2)] == [3, 2]
    with pytest.raises(StaleError):
        state.move(DOMAIN, Move("main", 7, b"x" * 32, 50))


def test_branches_are_told_by_name_and_time(state: SqlState) -> None:
    for name, at in (("b", 10), ("a", 20), ("tags/z", 30)):
        state.move(DOMAIN, Move(name, 1, name[0].encode() * 32, at))
    state.move(DOMAIN, Move("a", 2, b"", 25))
    assert [move.name for move in state.heads(DOMAIN)] == ["b", "tags/z"]
    assert [move.name for move in state.heads(DOMAIN, after="b", limit=1)] == ["tags/z"]
    assert state.heads(OTHER) == [] and state.head(OTHER, "a") is None
    assert state.head(DOMAIN, "a") == Move("a", 2, b"", 25)
    assert state.move_at(DOMAIN, "a", 24) == Move("a", 1, b"a" * 32, 20)
    assert state.move_at(DOMAIN, "a", 25) == Move("a", 2, b"", 25)
    assert state.move_at(DOMAIN, "a", 19) is None


def test_packs_are_added_by_two_servers_while_a_third_rotates(state: SqlState, again: Opener) -> None:
    servers, rotating = [again(), again()], KeyRing(again(), ROOT_KEY)

    def add(turn: int) -> tuple[bytes, bytes]:
        id = turn.to_bytes(16, "big")
        while True:
            with suppress(StaleError):
                return id, add_pack(servers[turn % 2], id)

    def rotate(turn: int) -> None:
        rotating.rotate_tenant(TENANT) if turn % 2 else rotating.rotate_domain(DOMAIN)

    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(add, turn) for turn in range(30)]
        turning = [pool.submit(rotate, turn) for turn in range(6)]
        keys = dict(each.result() for each in adding)
        for each in turning:
            with suppress(StaleError):  # overtaken five times
                each.result()
    fresh = KeyRing(again(), ROOT_KEY)
    assert {id: fresh.pack(id) for id in keys} == keys
    assert [pack.seq for pack in state.packs(DOMAIN)] == list(range(1, 31))


def test_a_key_sealed_under_an_older_key_is_refused_and_nothing_is_kept(state: SqlState) -> None:
    ring, id = KeyRing(state, ROOT_KEY), os.urandom(16)
    row = ring.seal_pack(id, fresh_key(), domain=DOMAIN)
    ring.rotate_domain(DOMAIN)
    with pytest.raises(StaleError):
        state.add_pack(DOMAIN, Pack(id, 1, 1), row)
    assert state.find(Kind.PACK, id) is None and state.packs(DOMAIN) == []
    ring.erase_domain(DOMAIN)
    with pytest.raises(StaleError):
        state.put([row])


def test_no_branch_comes_to_a_version_that_was_let_go_and_none_goes_at_which_one_stands(
    state: SqlState, again: Opener
) -> None:
    old, new = b"1" * 32, b"2" * 32
    state.move(DOMAIN, Move("main", 1, old, 10))
    state.move(DOMAIN, Move("main", 2, new, 20))
    database = again()._database
    assert database.write(lambda tx: retained.add(tx, DOMAIN, [old, new], 30)) == [old]
    assert state.let_go(DOMAIN, [old, new]) == {old: 30} and state.let_go(OTHER, [old]) == {}
    for step in (Move("main", 3, old, 40), Move("side", 1, old, 40)):
        with pytest.raises(LetGoError):
            state.move(DOMAIN, step)
    assert state.head(DOMAIN, "main") == Move("main", 2, new, 20) and state.head(DOMAIN, "side") is None
    assert database.read(lambda tx: retained.moves_of(tx, DOMAIN)) == {
        "main": list(reversed(state.moves(DOMAIN, "main")))
    }
