"""Which backups stay: the newest of each of so many hours, days, weeks, months, years."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lepton.core.clock import to_micros
from lepton.vault.backup.retention import Keep, kept

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)


def every(step: timedelta, count: int) -> dict[int, int]:
    """`count` backups, the last at `NOON`."""
    return {number: to_micros(NOON - step * (count - number)) for number in range(1, count + 1)}


def test_one_a_day_is_the_last_of_its_day() -> None:
    found = kept(every(timedelta(hours=6), 12), Keep(daily=3))
    assert [from_noon(number, 6) for number in found] == ["15 12", "14 18", "13 18"]


def from_noon(number: int, hours: int) -> str:
    return f"{NOON - timedelta(hours=hours) * (12 - number):%d %H}"


def test_kinds_add_up_and_days_without_a_backup_do_not_count() -> None:
    backups = {1: to_micros(NOON - timedelta(days=400)), 2: to_micros(NOON - timedelta(days=40)), 3: to_micros(NOON)}
    assert kept(backups, Keep(daily=2)) == {3: ["last", "daily"], 2: ["daily"]}
    assert list(kept(backups, Keep(yearly=5))) == [3, 1]
    assert kept(backups, Keep()) == {3: ["all"], 2: ["all"], 1: ["all"]}


@given(
    times=st.lists(st.integers(0, 10**9), max_size=40, unique=True),
    keep=st.builds(
        Keep, **{name: st.integers(0, 5) for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly")}
    ),
)
def test_the_newest_stays_and_letting_go_twice_is_letting_go_once(times: list[int], keep: Keep) -> None:
    backups = {number: at * 1_000_000 for number, at in enumerate(sorted(times), 1)}
    once = kept(backups, keep)
    assert not backups or len(backups) in once
    assert kept({number: backups[number] for number in once}, keep) == once
