"""What a job's events say of its starts, in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

from lepton.sdk.story import starts, tell_story

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def event(second: float, verb: str, why: str = "", generation: int = 0) -> dict[str, Any]:
    at = (BEGIN + timedelta(seconds=second)).isoformat()
    return {"verb": verb, "why": why, "at": at, "data": {"generation": generation}}


FIRST = [
    event(0, "created", "train"),
    event(1, "queued->placed", "on a"),
    event(2, "placed->running", "1 started"),
    event(5, "running->stopping", "worker 0 ended: failed with code 3"),
    event(5, "stopping->queued", "again after 10 s: failed with code 3", 1),
]
SECOND = [
    event(15, "queued->placed", "on a", 1),
    event(16, "placed->running", "1 started", 1),
]


def job(**status: int) -> dict[str, Any]:
    return {"name": "train", "spec": {"retries": 3}, "status": status}


def lines(state: str, why: str, events: list[dict[str, Any]], fields: dict[str, Any], second: float) -> list[str]:
    said = {"state": state, "why": why, "events": events}
    return tell_story(fields, said, BEGIN + timedelta(seconds=second)).lines()


def test_a_job_that_pauses_says_how_long_and_how_its_first_start_ended() -> None:
    again = int((BEGIN + timedelta(seconds=15)).timestamp() * 1_000_000)
    fields = job(generation=1, failures=1, not_before=again)
    assert lines("queued", "again after 10 s: failed with code 3", FIRST, fields, 8.5) == [
        "queued: start 2 of 4 comes in 6.5 s",
        "start 1 of 4: worker 0 ended: failed with code 3, after 3.0 s",
    ]


def test_when_the_pause_is_over_it_says_what_is_missing() -> None:
    fields = job(generation=1, failures=1, not_before=1)
    assert lines("queued", "needs 2 CPU", FIRST, fields, 20)[0] == "queued: needs 2 CPU"


def test_a_running_job_says_which_start_it_is_and_for_how_long() -> None:
    fields = job(generation=1, failures=1)
    assert lines("running", "1 started", FIRST + SECOND, fields, 28) == [
        "running: start 2 of 4, for 12 s",
        "start 1 of 4: worker 0 ended: failed with code 3, after 3.0 s",
    ]


def test_a_lost_start_is_not_one_of_those_that_are_allowed() -> None:
    lost = [*FIRST[:3], event(5, "running->stopping", "worker 0 ended: lost"), event(5, "stopping->queued", "", 1)]
    assert lines("running", "1 started", lost + SECOND, job(generation=1, losses=1), 16)[0].startswith(
        "running: start 2 of 5"
    )


def test_a_service_has_no_last_start() -> None:
    fields = {"name": "front", "spec": {"is_service": True}, "status": {"generation": 1, "failures": 1}}
    assert lines("running", "1 started", FIRST + SECOND, fields, 16)[0] == "running: start 2, for 0 s"


def test_a_start_that_was_taken_back_never_began() -> None:
    found = starts([*FIRST[:2], event(2, "placed->queued", "its start was interrupted", 1)])
    assert [(one.number, one.began_at, one.lasted_s, one.why) for one in found] == [
        (1, "", None, "its start was interrupted")
    ]


def test_a_job_that_ended_at_its_first_start_says_one_line() -> None:
    done = [*FIRST[:3], event(4, "running->done", "all workers done")]
    assert lines("done", "all workers done", done, job(generation=0), 9) == ["done: all workers done"]


def test_a_job_that_was_just_made_says_so() -> None:
    assert lines("queued", "train", FIRST[:1], job(generation=0), 0) == ["queued: about to be placed"]


def test_json_has_every_start() -> None:
    story = tell_story(job(generation=1, failures=1), {"state": "running", "why": "", "events": FIRST + SECOND}, BEGIN)
    found = story.to_json()
    assert [(one["number"], one["lasted_s"]) for one in found["starts"]] == [(1, 3.0), (2, None)]
    assert (found["start"], found["limit"]) == (2, 4)


def test_a_stop_for_another_is_no_retry() -> None:
    room = [*FIRST[:3], event(5, "running->stopping", "makes room for j"), event(6, "stopping->queued", "waits", 1)]
    fields = {"name": "train", "spec": {"retries": 0}, "status": {"generation": 1, "preemptions": 1}}
    assert lines("running", "1 started", room + SECOND, fields, 20) == [
        "running: start 2, for 4 s; stopped once to make room",
        "start 1: makes room for j, after 4.0 s",
    ]
    fields["status"] = {"generation": 4, "preemptions": 4, "moves": 1}
    again = [{**one, "data": {"generation": 4}} for one in SECOND]
    assert lines("running", "1 started", again, fields, 20)[0] == (
        "running: start 5, for 4 s; stopped 3 times to make room; moved once off a node that was drained"
    )
