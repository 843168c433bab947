"""What each caller may ask: rates, quotas and addresses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.serve.allowance import DAY_S, MAX_CALLERS, Addresses, Allowance
from lepton.serve.ledger import Ledger


@given(
    rate=st.integers(1, 50),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_nobody_gets_more_than_a_burst_and_the_rate(rate: int, burst: int, gaps: list[float]) -> None:
    allowance, now, admitted, start = Allowance(rate=rate, burst=burst), 1000.0, 0, 1000.0
    for gap in gaps:
        now += gap
        spent = allowance.take(b"a", now)
        admitted += spent is None
        assert admitted <= burst + (now - start) * rate + 1e-6
        if spent is not None:
            assert spent.why == "rate" and 0 < spent.retry_s <= 1 / rate + 1e-9


@given(
    limits=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 30)),
    crowds=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 12)), min_size=1, max_size=40),
)
def test_those_that_come_together_get_what_they_would_get_one_by_one(
    limits: tuple[int, int, int], crowds: list[tuple[float, int]]
) -> None:
    rate, burst, quota = limits
    together, alone = (Allowance(rate=rate, burst=burst, quota=quota) for _ in range(2))
    now = 0.0
    for gap, count in crowds:
        now += gap
        granted, why = together.take_some(b"a", count, now)
        each = [alone.take(b"a", now) for _ in range(count)]
        assert each[:granted] == [None] * granted
        assert all(one is not None for one in each[granted:]) and (why is None) == (granted == count)
        if why is not None and each[-1] is not None:
            assert why.why == each[-1].why and why.retry_s == pytest.approx(each[-1].retry_s)


def test_who_waits_as_told_is_admitted_and_callers_do_not_share() -> None:
    allowance = Allowance(rate=2, burst=1)
    assert allowance.take(b"a", 0) is None
    spent = allowance.take(b"a", 0.1)
    assert spent is not None and spent.retry_s == pytest.approx(0.4)
    assert allowance.take(b"b", 0.1) is None
    assert allowance.take(b"a", 0.1 + spent.retry_s) is None


def test_a_clock_that_is_set_back_takes_nothing_away() -> None:
    allowance = Allowance(rate=1, burst=2)
    assert [allowance.take(b"a", now) for now in (100.0, 50.0)] == [None, None]
    assert allowance.take(b"a", 50.0) is not None
    assert allowance.take(b"a", 51.1) is None


def test_a_quota_is_of_one_day_and_outlives_a_restart() -> None:
    allowance, noon = Allowance(quota=2), 10 * DAY_S + DAY_S / 2
    assert [allowance.take(b"a", noon) for _ in range(2)] == [None, None]
    spent = allowance.take(b"a", noon)
    assert spent is not None and (spent.why, spent.retry_s) == ("quota", DAY_S / 2)
    again = Allowance(quota=2)
    again.restore({**allowance.used(), "zz": [1, 2], "00": ["x"]}, noon)
    assert again.take(b"a", noon) is not None
    assert again.take(b"a", noon + DAY_S / 2) is None


@given(quota=st.integers(1, 3000), asked=st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=40))
def test_a_front_that_is_killed_at_any_moment_grants_nobody_more_than_the_quota(
    quota: int, asked: list[tuple[int, bool]]
) -> None:
    granted, kills = 0, 0
    kept: dict[str, list[int]] = {}
    allowance = Allowance(quota=quota)

    def keep(caller: bytes, day: int, most: int) -> None:
        kept[caller.hex()] = [day, most]

    for count, is_killed in asked:
        allowance.on_reserve = keep
        granted += allowance.take_some(b"a", count, 0.0)[0]
        if is_killed:
            kills += 1
            allowance = Allowance(quota=quota)
            allowance.restore(kept, 0.0)
        elif count % 2:
            kept.update(allowance.used(is_last=False))
    assert granted <= quota
    rest = allowance.take_some(b"a", quota, 0.0)[0]
    assert granted + rest >= quota - kills * max(1, quota // 100), "each kill loses a share at most"


def test_the_book_of_callers_is_bounded() -> None:
    allowance = Allowance(rate=1, burst=1)
    for number in range(MAX_CALLERS + 10):
        assert allowance.take(str(number).encode(), 0) is None
    assert allowance.take(b"0", 0) is None, "the first was forgotten"
    assert allowance.take(str(MAX_CALLERS).encode(), 0) is not None


def test_addresses() -> None:
    home = Addresses(("10.0.0.0/8", "::1"))
    assert [home.admit(address) for address in ("10.1.2.3", "::1", "::ffff:10.9.9.9")] == [True] * 3
    assert [home.admit(address) for address in ("11.0.0.1", "::2", "", "unix")] == [False] * 4
    assert Addresses(()).admit("anything")
    with pytest.raises(InvalidError, match="no network"):
        Addresses(("10.0.0.1/8",))


def test_a_ledger_is_read_as_it_was_written_and_what_is_torn_is_passed_over(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "quota.json")
    assert list(ledger.read()) == []
    ledger.write({b"a".hex(): [10, 3]})
    ledger.reserve(b"a", 10, 5)
    ledger.reserve(b"b", 10, 7)
    with (tmp_path / "quota.journal").open("a") as file:
        file.write("63 10")
    again = Allowance(quota=9)
    for used in Ledger(tmp_path / "quota.json").read():
        again.restore(used, 10 * DAY_S)
    assert again.used() == {b"a".hex(): [10, 5], b"b".hex(): [10, 7]}
    ledger.write(again.used())
    assert list(ledger.read()) == [again.used()]
