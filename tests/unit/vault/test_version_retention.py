"""Which versions of files a rule keeps: each branch by its own steps, and always what somebody stands on."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lepton.vault.backup.retention import Keep
from lepton.vault.store.retention import UNDELETE_S, YOUNG_S, choose
from lepton.vault.store.state import Move

DAY = 86_400 * 1_000_000
NOW = 1000 * DAY


def line(name: str, *days_ago: float, deleted: float | None = None) -> list[Move]:
    """Steps of a branch, the first so many days ago; the version of each is called after branch and number."""
    steps = [
        Move(name, epoch, f"{name}{epoch}".encode(), NOW - int(days * DAY)) for epoch, days in enumerate(days_ago, 1)
    ]
    return steps if deleted is None else [*steps, Move(name, len(steps) + 1, b"", NOW - int(deleted * DAY))]


def gone(keep: Keep, *lines: list[Move], bases: tuple[bytes, ...] = ()) -> set[str]:
    chosen = choose({moves[0].name: moves for moves in lines}, keep, now=NOW, bases=bases)
    assert not chosen.kept.keys() & chosen.gone.keys()
    return {id.decode() for id in chosen.gone}


def test_of_each_branch_the_newest_stay() -> None:
    main, side = line("main", 50, 40, 30, 20), line("side", 45, 10)
    assert gone(Keep(last=2), main, side) == {"main1", "main2"}
    assert gone(Keep(last=1), main, side) == {"main1", "main2", "main3", "side1"}
    assert gone(Keep(), main, side) == set()


def test_of_days_the_newest_of_each_stay() -> None:
    assert gone(Keep(daily=2), line("main", 5.2, 5.1, 4.2, 4.1, 3.1)) == {"main1", "main2", "main3"}


def test_what_tags_branches_and_merges_stand_on_stays_and_what_was_read_within_a_day() -> None:
    tag = [Move("tags/v1", 1, b"main1", NOW - 90 * DAY)]
    assert gone(Keep(last=1), line("main", 50, 40, 30, 20), tag, bases=(b"main3",)) == {"main2"}
    fresh = line("main", 50, 0.9, 0.5)  # the first was read until 0.9 days ago
    assert gone(Keep(last=1), fresh) == set() and YOUNG_S == 86_400


def test_what_was_deleted_can_be_brought_back_for_a_time_and_a_draft_not() -> None:
    days = UNDELETE_S / 86_400
    assert gone(Keep(last=1), line("side", 60, 50, deleted=days - 1)) == {"side1"}
    assert gone(Keep(last=1), line("side", 60, 50, deleted=days + 1)) == {"side1", "side2"}
    assert gone(Keep(last=1), line("draft.x", 60, 50, deleted=2)) == {"draft.x1", "draft.x2"}
    assert gone(Keep(), line("draft.x", 60, 50, deleted=2)) == set()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 900), min_size=1, max_size=30), st.integers(0, 5), st.integers(0, 5))
def test_the_head_always_stays_and_a_wider_rule_keeps_more(ages: list[int], last: int, daily: int) -> None:
    moves = line("main", *sorted(ages, reverse=True))
    narrow, wide = gone(Keep(last=last, daily=daily), moves), gone(Keep(last=last + 1, daily=daily + 1), moves)
    assert moves[-1].version.decode() not in narrow
    if last or daily:
        assert wide <= narrow
