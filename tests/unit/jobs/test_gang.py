"""The life of a job as one pure function: what each look leads to."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.clock import to_micros
from lepton.core.errors import IllegalMoveError
from lepton.core.launch import Devices, Exit, ExitReason, Sighting
from lepton.core.resource import Resource
from lepton.jobs.gang import Surroundings, Turn, first_bad, key, launches, requeue, think, with_stop
from lepton.jobs.life import FINAL, NEXT, State, move
from lepton.jobs.retry import MAX_PAUSE_S
from lepton.jobs.spec import JobSpec, Role

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AROUND = Surroundings(env={"LEPTON_URL": "u"}, addresses={"n1": "10.0.0.1"}, port=29500)


def job(state: str = "queued", *, count: int = 2, **spec: object) -> tuple[Resource, JobSpec]:
    wish = JobSpec(roles=(Role(command=("true",), count=count, devices=Devices(cpu_milli=500)),), **spec)  # type: ignore[arg-type]
    places = [{"node": "n1", "gpus": []}] * wish.size
    status = {"generation": 0} | ({"placement": places} if state != "queued" else {})
    made = Resource(
        id="job_1",
        kind="job",
        workspace="default",
        name="a",
        spec=wish.to_json(),
        status=status,
        state=state,
        created_at=NOW,
        updated_at=NOW,
    )
    return made, wish


def seen(job: Resource, *exits: ExitReason | str | None) -> list[Sighting]:
    """One sighting a rank: None runs, 'unknown' was never started, a reason has ended so."""
    found = []
    for rank, ended in enumerate(exits):
        status = "unknown" if ended == "unknown" else "running" if ended is None else "exited"
        exit = None
        if isinstance(ended, ExitReason):
            exit = Exit(reason=ended, code=0 if ended is ExitReason.DONE else 3, at=NOW)
        found.append(Sighting(key=key(job, rank), status=status, exit=exit))
    return found


def look(made: Resource, wish: JobSpec, *exits: ExitReason | str | None) -> Turn:
    return think(made, wish, seen(made, *exits), at=NOW, around=AROUND)


def test_a_placed_gang_is_started_whole() -> None:
    made, wish = job("placed")
    turn = look(made, wish, "unknown", "unknown")
    assert [launch.key for launch in turn.starts] == ["job_1.0.0", "job_1.0.1"]
    assert turn.job.state == State.RUNNING


def test_a_gang_that_was_half_started_begins_anew_for_the_rest_would_meet_at_another_port() -> None:
    made, wish = job("placed")
    turn = look(made, wish, None, "unknown")
    assert (turn.starts, turn.stops, turn.job.state) == ((), ("job_1.0.0",), State.QUEUED)
    assert turn.job.status["generation"] == 1
    assert turn.job.status["not_before"] == to_micros(NOW)


def test_a_gang_that_was_started_whole_before_a_crash_runs_on() -> None:
    made, wish = job("placed")
    turn = look(made, wish, None, ExitReason.FAILED)
    assert (turn.starts, turn.stops, turn.job.state) == ((), (), State.RUNNING)


def test_a_start_that_was_taken_back_is_no_failure_of_the_job() -> None:
    made, wish = job("placed")
    assert look(made, wish, ExitReason.STOPPED, ExitReason.STOPPED).job.state == State.QUEUED


def test_a_worker_that_was_stopped_though_nobody_asked_counts_as_lost() -> None:
    made, wish = job("running")
    stopping = look(made, wish, ExitReason.STOPPED, None).job
    again = look(stopping, wish, ExitReason.STOPPED, ExitReason.STOPPED).job
    assert (again.state, again.status["losses"], again.status["failures"]) == (State.QUEUED, 1, 0)


def test_refused_starts_are_tried_again_after_growing_pauses_without_end() -> None:
    made, _ = job("placed")
    pauses = []
    for _ in range(30):
        turn = requeue(made, why="disk full", at=NOW)
        pauses.append((turn.job.status["not_before"] - to_micros(NOW)) / 1_000_000)
        made = replace(turn.job, state="placed")
    assert pauses[:4] == [0, 1, 2, 4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_S


def test_why_a_job_failed_is_told_with_what_its_worker_said() -> None:
    made, wish = job("running", count=1)
    ended = Exit(reason=ExitReason.FAILED, code=1, detail="invalid: no archive", at=NOW)
    sighting = Sighting(key=key(made, 0), status="exited", exit=ended)
    stopping = think(made, wish, [sighting], at=NOW, around=AROUND).job
    turn = think(stopping, wish, [sighting], at=NOW, around=AROUND)
    assert turn.event is not None
    assert turn.event.why == "worker 0: failed with code 1 (invalid: no archive)"


def test_each_worker_knows_its_place() -> None:
    made, wish = job("placed", count=3)
    first, _, last = launches(made, wish, AROUND)
    assert first.env["MASTER_ADDR"] == "10.0.0.1"
    assert first.env["MASTER_PORT"] == "29500"
    assert last.env | {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2"} == dict(last.env)
    assert (last.size, last.rank, last.devices.cpu_milli) == (3, 2, 500)


def test_all_done_is_done() -> None:
    turn = look(*job("running"), ExitReason.DONE, ExitReason.DONE)
    assert (turn.job.state, turn.job.is_final) == (State.DONE, True)


def test_one_done_waits_for_the_other() -> None:
    assert look(*job("running"), ExitReason.DONE, None).event is None


def test_one_failure_ends_the_gang_then_fails_the_job() -> None:
    made, wish = job("running")
    turn = look(made, wish, ExitReason.FAILED, None)
    assert turn.job.state == State.STOPPING
    stopping = look(turn.job, wish, ExitReason.FAILED, None)
    assert stopping.stops == ("job_1.0.1",)
    ended = look(turn.job, wish, ExitReason.FAILED, ExitReason.STOPPED)
    assert ended.job.state == State.FAILED
    assert ended.job.status["ending"]["code"] == 3


def test_a_failure_within_the_retries_queues_the_next_generation() -> None:
    made, wish = job("stopping", retries=1)
    failed = replace(made, status={**made.status, "ending": {"reason": "failed", "rank": 0}})
    again = look(failed, wish, ExitReason.FAILED, ExitReason.STOPPED).job
    assert (again.state, again.status["generation"], again.status["failures"]) == (State.QUEUED, 1, 1)
    assert again.status["not_before"] > 0
    spent = replace(failed, status={**failed.status, "failures": 1})
    assert look(spent, wish, ExitReason.FAILED, ExitReason.STOPPED).job.state == State.FAILED


def test_a_lost_worker_does_not_cost_a_retry() -> None:
    made, wish = job("running")
    stopping = look(made, wish, "unknown", None).job
    again = look(stopping, wish, "unknown", ExitReason.STOPPED).job
    assert (again.state, again.status["losses"], again.status["failures"]) == (State.QUEUED, 1, 0)


@pytest.mark.parametrize("more", [{"retries": 5}, {"is_service": True}])
def test_a_program_that_is_missing_is_not_tried_again(more: dict[str, Any]) -> None:
    made, wish = job("running", **more)
    stopping = look(made, wish, ExitReason.NOT_STARTED, None).job
    assert look(stopping, wish, ExitReason.NOT_STARTED, ExitReason.STOPPED).job.state == State.FAILED


def test_a_service_is_started_again_even_after_a_clean_end() -> None:
    made, wish = job("running", is_service=True)
    stopping = look(made, wish, ExitReason.DONE, None).job
    assert look(stopping, wish, ExitReason.DONE, ExitReason.STOPPED).job.state == State.QUEUED


@pytest.mark.parametrize("state", ["queued", "placed", "running"])
def test_a_stop_ends_it_from_anywhere(state: str) -> None:
    made, _ = job(state)
    asked = with_stop(made, 3.0, NOW)
    wish = JobSpec.from_json(asked.spec)
    turn = look(asked, wish, None, None)
    if state != "queued":
        assert look(turn.job, wish, None, None).grace_s == 3.0
        turn = look(turn.job, wish, ExitReason.STOPPED, ExitReason.STOPPED)
    assert turn.job.state == State.CANCELLED


def test_the_first_to_end_badly_is_the_reason() -> None:
    later = Exit(reason=ExitReason.SIGNAL, signal=9, at=NOW.replace(hour=2))
    first = Exit(reason=ExitReason.FAILED, code=3, at=NOW.replace(hour=1))
    found = [Sighting(key="a", status="exited", exit=later), Sighting(key="b", status="exited", exit=first)]
    assert first_bad(found, is_service=False) == (1, first)


def test_no_step_outside_the_table() -> None:
    made, _ = job("queued")
    with pytest.raises(IllegalMoveError):
        move(made, State.DONE, why="", at=NOW, actor="t")


endings = st.one_of(st.none(), st.just("unknown"), st.sampled_from(list(ExitReason)))


@given(
    retries=st.integers(0, 3),
    is_service=st.booleans(),
    steps=st.lists(st.tuples(st.tuples(endings, endings), st.booleans()), max_size=40),
)
def test_whatever_is_seen_a_job_only_takes_steps_of_its_life(
    retries: int, is_service: bool, steps: list[tuple[tuple[ExitReason | str | None, ...], bool]]
) -> None:
    made, wish = job("queued", retries=retries, is_service=is_service)
    for exits, is_stopped in steps:
        if is_stopped:
            made = with_stop(made, 1.0, NOW)
        wish = JobSpec.from_json(made.spec)
        if made.state == State.QUEUED and wish.stop_grace_s is None:
            made, _ = move(made, State.PLACED, why="", at=NOW, actor="t", placement=[{"node": "n1", "gpus": []}] * 2)
            continue
        before = made
        turn = look(made, wish, *exits)
        made = turn.job
        if turn.event is not None:
            assert State(made.state) in NEXT[State(before.state)]
            assert made.status["generation"] >= before.status["generation"]
        if before.state in FINAL:
            assert turn == Turn(before)
        if turn.starts or turn.stops:
            assert not made.is_final


def test_a_spec_survives_json() -> None:
    _, wish = job(retries=2, secrets={"K": "k"})
    assert JobSpec.from_json(wish.to_json()) == wish
