"""Refused tokens are told of, but cannot fill the audit trail."""

from datetime import UTC, datetime, timedelta

from lepton.api.knocks import EVERY, MOST_ADDRESSES, Knocks

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_the_first_is_told_at_once_and_the_rest_once_in_a_while_with_their_number() -> None:
    knocks = Knocks()
    first = knocks.heard("a", NOW)
    assert first is not None and first.data == {"times": 1}
    assert [knocks.heard("a", NOW + timedelta(seconds=second)) for second in range(1, 60)] == [None] * 59
    assert knocks.heard("b", NOW) is not None
    later = knocks.heard("a", NOW + EVERY)
    assert later is not None and later.data == {"times": 60}


def test_many_addresses_share_one_count() -> None:
    knocks = Knocks()
    told = [knocks.heard(f"{number}", NOW) for number in range(3 * MOST_ADDRESSES)]
    assert sum(event is not None for event in told) <= MOST_ADDRESSES + 1
    assert knocks.heard("new", NOW + 2 * EVERY) is not None
