"""kill -9 of replicas and of the front under load: nobody fails whose request had not begun, and nothing runs twice.

Off the platform, where nobody puts another in the place of a dead one but the test: that the platform does is shown in
`tests/walk/test_kills.py`.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.server.serving.fates import BROKEN, SERVICE, Caller, Sum, sum_up, tell
from tests.server.serving.house import House, open_service, wait_until


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    found = tmp_path / "begun"
    found.touch()
    (tmp_path / "code" / "ledger.py").write_text(SERVICE.format(book=str(found)))
    return found


@pytest.fixture
def house(book: Path) -> Iterator[House]:
    wish = {"port": free_port(), "deadline_ms": 60_000}
    with open_service("ledger.py", code=book.with_name("code"), workers=2, **wish) as house:
        wait_for_workers(house, 2)
        yield house


def wait_for_workers(house: House, count: int) -> None:
    line = f"lepton_workers_ready {count}".encode()

    def has_them() -> bool:
        try:
            return line in house.ask("GET", "/lepton/metrics")[1].splitlines()
        except OSError:
            return False

    wait_until(has_them, f"there are {count} replicas", 60)


def kill(house: House, role: str) -> None:
    """kill -9, and another in its place."""
    os.kill(house.processes[role].pid, signal.SIGKILL)
    house.start(role)


def wait_for_more(caller: Caller, count: int = 50) -> None:
    goal = caller.answered + count
    wait_until(lambda: caller.answered >= goal, "it goes on answering", 60)


def say(found: Sum) -> None:
    sys.stdout.write(f"{tell(found)}\n")


def kill_replicas(house: House, callers: tuple[Caller, Caller], rounds: int) -> None:
    for number in range(rounds):
        for caller in callers:
            wait_for_more(caller)
        kill(house, "12"[number % 2])
        wait_for_workers(house, 2)
    for caller in callers:
        wait_for_more(caller)


def both(house: House) -> tuple[Caller, Caller]:
    """One whose requests may be repeated, and one whose may not."""
    again = Caller(house.address, "/again", is_repeating=True)
    return again, Caller(house.address, "/once", is_repeating=False, first=1_000_000)


def check_replicas(house: House, book: Path, rounds: int) -> None:
    again, once = both(house)
    with again, once:
        kill_replicas(house, (again, once), rounds)
    found = sum_up(again.fates, book)
    say(found)
    assert found.ends.keys() == {"200"}, tell(found)
    found = sum_up(once.fates, book)
    say(found)
    assert found.ends.keys() <= {"200", "503"} and not found.doubled, tell(found)
    assert len(found.begun) + len(found.unbegun) <= rounds, "of each replica that died only what it was at"


def test_killed_replicas_fail_nobody_who_may_be_tried_again_and_repeat_nothing_else(house: House, book: Path) -> None:
    check_replicas(house, book, rounds=2)


def test_a_killed_front_comes_back_at_its_address_and_answers_all_that_is_sent_again(house: House, book: Path) -> None:
    check_front(house, book, rounds=1)


def check_front(house: House, book: Path, rounds: int) -> None:
    again, once = both(house)
    with again, once:
        for _ in range(rounds):
            for caller in (again, once):
                wait_for_more(caller)
            kill(house, "front")
            wait_for_workers(house, 2)
        for caller in (again, once):
            wait_for_more(caller)
    found = sum_up(again.fates, book)
    say(found)
    assert found.ends.keys() <= {"200", "refused", "broken"} and not found.unbegun and not found.begun, tell(found)
    found = sum_up(once.fates, book)
    say(found)
    assert found.ends.keys() <= {"200", "refused", "broken"} and not found.doubled, tell(found)
    unbegun = [fate.id for fate in found.unbegun]
    assert all(fate.tries[-1] == BROKEN for fate in (*found.unbegun, *found.begun))
    assert once.send_again(unbegun) == [200] * len(unbegun)


@pytest.mark.slow
def test_a_hundred_killed_replicas(house: House, book: Path) -> None:
    check_replicas(house, book, rounds=100)


@pytest.mark.slow
def test_thirty_killed_fronts(house: House, book: Path) -> None:
    check_front(house, book, rounds=30)
