"""What is said in a place of backups while they are made or forgotten, so that neither takes what the other needs."""

import pytest

from lepton.core.errors import ConflictError
from lepton.vault.backup.target import BUSY_S, FORGETTING, MAKING, Busy, Target
from lepton.vault.uses import DOING
from tests.unit.vault.stores import MemoryDriver

HOUR = 3600 * 1_000_000


def test_who_works_for_longer_than_a_day_is_not_taken_for_dead() -> None:
    target, last = Target(MemoryDriver(), "memory"), 60
    with target.busy(MAKING, FORGETTING, Busy(holder="a", now=0)) as beat:
        for hour in range(1, last + 1):
            beat(hour * HOUR)
        assert last * HOUR > BUSY_S * 1_000_000
        with (
            pytest.raises(ConflictError, match="making"),
            target.busy(FORGETTING, MAKING, Busy(holder="b", now=last * HOUR)),
        ):
            pass
        beat(last * HOUR)
    with target.busy(FORGETTING, MAKING, Busy(holder="b", now=last * HOUR)):
        pass


def test_who_was_taken_for_dead_hears_of_it() -> None:
    target = Target(MemoryDriver(), "memory")
    with target.busy(MAKING, FORGETTING, Busy(holder="a", now=0)) as beat:
        beat(HOUR // 2)
        with target.busy(FORGETTING, MAKING, Busy(holder="b", now=25 * HOUR)):
            pass
        assert not list(target.driver.list(DOING))
        with pytest.raises(ConflictError, match="for dead"):
            beat(26 * HOUR)
