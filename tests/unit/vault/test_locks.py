"""When the locks of an append-only place are renewed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lepton.vault.backup.locks import is_due

START = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(60, 400 * 86_400), st.lists(st.floats(0.001, 0.2), min_size=1, max_size=40))
def test_nothing_is_locked_for_less_than_three_quarters_less_the_time_between_two_backups(
    lock_s: int, pauses: list[float]
) -> None:
    now, renewed, until = START, NEVER, NEVER
    for pause in pauses:
        now += timedelta(seconds=pause * lock_s)
        if is_due(renewed, now, lock_s):
            renewed, until = now, now + timedelta(seconds=lock_s)
        assert (until - now).total_seconds() >= 0.75 * lock_s - 0.001
        assert until - now - timedelta(seconds=0.2 * lock_s) > timedelta(0)


def test_after_the_clock_was_set_back_they_are_renewed() -> None:
    assert is_due(START + timedelta(days=1), START, 86_400)
    assert not is_due(START, START, 86_400)
