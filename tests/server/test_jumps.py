"""A clock that is set ahead, and back again, neither stops what is done by time nor lets anything go too early."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from lepton.core.clock import AHEAD_S, ManualClock, believed, to_micros
from lepton.server import backups, sending
from lepton.server.config import ServerConfig
from lepton.server.house import open_house as opened_data
from lepton.server.jumps import LONGEST_S, Jumps, Seen, step
from lepton.store import domains, facts, leases, storage
from lepton.vault.backup.forgetting import MARKS
from lepton.vault.backup.retention import Keep, kept
from lepton.vault.backup.target import FORGETTING, MAKING, Busy, Target
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.store.files import pack_folder
from tests.server.house import House, open_house
from tests.server.test_ownership import prune_for, turn
from tests.server.test_schedules import Clockwork
from tests.server.test_storage import packs_in, put, run

DAY, YEAR = 86_400, 365 * 86_400
S = 1_000_000


def test_a_time_that_lies_ahead_is_none() -> None:
    assert believed(5 * S, 7 * S) == 5 * S and believed(7 * S + AHEAD_S * S, 7 * S) == 7 * S + AHEAD_S * S
    assert believed(8 * S + AHEAD_S * S, 7 * S) == 0


def doubt_s(*looks: tuple[float, float, str]) -> float:
    """What is doubted after looks at (wall clock, count of seconds, start of the machine)."""
    seen = [Seen(wall=int(wall * S), ticks=int(ticks * S), boot=boot) for wall, ticks, boot in looks]
    last = seen[0]
    for now in seen[1:]:
        last = step(last, now)
    return sum(size for size, _ in last.doubts) / S


def test_what_the_clock_moved_by_itself_is_doubted_until_it_cannot_matter() -> None:
    start = (1e9, 0.0, "a")
    assert doubt_s(start, (1e9 + 40 * DAY, 40 * DAY, "a")) == 0
    assert doubt_s(start, (1e9 + YEAR + 60, 60, "a")) == YEAR
    assert doubt_s(start, (1e9 + YEAR, 0, "a"), (1e9 + YEAR + LONGEST_S, LONGEST_S, "a")) == 0
    assert doubt_s(start, (1e9 + YEAR, 0, "a"), (1e9, 0, "a")) == 0
    assert doubt_s(start, (1e9 + YEAR, 0, "a"), (1e9 + 5 * DAY, 0, "a")) == 5 * DAY
    assert doubt_s(start, (1e9 - YEAR, 0, "a"), (1e9 - YEAR + 60, 60, "a")) == 0
    assert doubt_s(start, (1e9 + DAY, 5, "b")) == 0, "it was off"
    assert doubt_s(start, (1e9 + YEAR, 5, "b")) == YEAR - DAY


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def garbage(house: House) -> set[Path]:
    """A pack that nobody ever names."""
    folder, platform = house.config.data / "vault", house.platform
    before = set(packs_in(folder))
    (domain,) = (id for workspace, id in platform.database.read(domains.every) if workspace == "default")
    lost = platform.objects.vault.domain(domain).chunks.writing()
    lost.put(os.urandom(40_000))
    lost.finish()
    return set(packs_in(folder)) - before


def here(house: House, packs: set[Path]) -> int:
    return len(packs & set(packs_in(house.config.data / "vault")))


def test_a_jump_ahead_lets_nothing_go_that_time_would_keep(data: Path) -> None:
    with open_house(data) as house:
        assert put(house, "stays") == 201 and put(house, "stays", b"again") == 201
        made = garbage(house)
        prune_for(house, 1)
        house.ask("PUT", "/vault/retention?workspace=default", {"last": 1})
        assert put(house, "stays", b"once more") == 201
        house.clock.jump(YEAR)
        for hours in range(4):  # marked a moment ago
            turn(house, "pruning")
            assert here(house, made) == 1, hours
            assert house.ask("GET", "/vault/retention?workspace=default")["let_go"] == 0
            house.clock.jump(DAY + 1)
        doubt_s = Jumps(house.platform.database, house.clock).doubt_s()
        assert doubt_s == YEAR + 4 * (DAY + 1)
        prune_for(house, 1 + LONGEST_S // DAY)
        assert here(house, made) == 0, "it is not kept for ever"
        assert Jumps(house.platform.database, house.clock).doubt_s() == 0


def test_after_a_visit_to_the_future_pruning_goes_on(data: Path) -> None:
    with open_house(data) as house:
        assert put(house, "stays") == 201
        turn(house, "pruning")
        house.clock.jump(YEAR)
        made = garbage(house)
        prune_for(house, 1)  # marks it
        house.clock.jump(-YEAR)
        made |= garbage(house)
        turn(house, "pruning")
        last = int(house.platform.database.read(lambda tx: facts.get(tx, "pruned_at")))
        assert last == to_micros(house.clock.now()), "it is due at once"
        assert here(house, made) == 2, "what was marked in the future waits from now on"
        prune_for(house, 2)
        assert here(house, made) == 0 and len(made) == 2


def test_after_a_visit_to_the_future_backups_are_made_and_the_newest_stay(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    with open_house(data) as house:
        house.version()
        run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
        clockwork = Clockwork(house)
        clockwork.schedule(safe, every_s=DAY, keep=Keep(last=1))
        assert clockwork.after(1).last_number == 1
        house.clock.jump(YEAR)
        assert clockwork.after(1).last_number == 2
        house.clock.jump(-YEAR)
        for number in (3, 4):
            place = clockwork.after(DAY if number == 4 else 60)
            assert (place.last_number, place.fault) == (number, ""), "due at once"
            assert Target(LocalDriver(safe), str(safe)).numbers() == [number], "the newest is that made last"
        assert clockwork.alerts("firing") == []
        marks = (safe / MARKS).read_text()
        assert str(to_micros(house.clock.now()) + YEAR * S)[:4] not in marks


def test_a_failure_of_the_future_is_tried_again_now(data: Path, tmp_path: Path) -> None:
    with open_house(data) as house:
        clockwork = Clockwork(house)
        clockwork.schedule(tmp_path / "safe", every_s=DAY)
        house.clock.jump(YEAR)
        assert "no recovery key" in clockwork.after(1).fault
        house.clock.jump(-YEAR)
        run("recovery-key", "--out", tmp_path / "kit.json", "--data", data)
        assert clockwork.after(1).last_number == 1


def test_what_was_sent_in_the_future_and_never_came_is_swept_a_day_later(tmp_path: Path) -> None:
    clock = ManualClock()
    with open_house(tmp_path / "data") as house:
        assert put(house, "a") == 201
    target = Target(LocalDriver(tmp_path / "between"), str(tmp_path / "between"))
    with opened_data(ServerConfig(data=tmp_path / "data"), clock) as folder:
        clock.jump(YEAR)
        domain = bytes(range(16))
        sending.begin(folder, target, "20300101T000000000000-00000000", domain)
        target.driver.put(f"{pack_folder(domain)}aa/{'aa' * 16}", [b"left"])
        clock.jump(-YEAR)
        assert sending.sweep(folder, target) == 0, "it may be under way"
        clock.advance(DAY + 60)
        assert sending.sweep(folder, target) == 1
        assert not list(target.driver.list("domains/"))


def test_the_newest_is_the_one_with_the_greatest_number() -> None:
    made = {1: 1 * DAY * S, 2: YEAR * S, 3: 3 * DAY * S, 4: 4 * DAY * S}
    assert [*kept(made, Keep(last=2))] == [4, 3]
    assert [*kept(made, Keep(daily=2))] == [4, 3]
    assert [*kept(made, Keep(daily=4))] == [4, 3, 2, 1]


def test_what_others_said_in_the_future_holds_nobody_up(tmp_path: Path, data: Path) -> None:
    target, now = Target(LocalDriver(tmp_path / "safe"), "safe"), 10 * YEAR * S
    dead = Busy(holder="dead", now=now + YEAR * S)
    with target.busy(MAKING, FORGETTING, dead), target.busy(FORGETTING, MAKING, Busy(holder="b", now=now)):
        pass
    with open_house(data) as house:
        assert put(house, "a") == 201
        ahead = to_micros(house.clock.now() + timedelta(days=40 * 365))
        house.platform.database.write(lambda tx: storage.close(tx, until=ahead))
        assert put(house, "b", b"taken") == 201
        house.platform.database.write(lambda tx: leases.take(tx, "ghost", "x", now=ahead, until=ahead + S))
        here = to_micros(house.clock.now())
        for name in ("placing", "jobs", "serving", "backups"):
            house.platform.database.write(
                lambda tx, name=name: tx.execute("DELETE FROM leases WHERE name = ?", (name,))
            )
        assert not house.platform.database.read(lambda tx: leases.any_held(tx, now=here))


def test_a_backup_that_was_made_while_the_clock_was_ahead_has_no_age(data: Path, tmp_path: Path) -> None:
    with open_house(data):
        run("recovery-key", "--out", tmp_path / "kit", "--data", data)
    clock = ManualClock()
    clock.advance(100 * YEAR)
    with opened_data(ServerConfig(data=data), clock) as house:
        backups.back_up(house, Target(LocalDriver(tmp_path / "safe"), str(tmp_path / "safe")), progress=lambda *_: None)
    said = run("drill", "--at", tmp_path / "safe", "--data", data)
    assert "yet to come" in said and "-" not in said.rpartition("RTO")[2]
    assert json.loads(run("drill", "--at", tmp_path / "safe", "--data", data, "--json"))["age_s"] is None
