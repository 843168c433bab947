"""A replica that ends is replaced by itself; one that never gets going ends the whole."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from lepton.core.clock import to_micros
from lepton.core.launch import Devices, Exit, ExitReason, Sighting
from lepton.core.resource import Resource
from lepton.jobs.gang import Surroundings, Turn, keys, needs_surroundings, think
from lepton.jobs.replace import MAX_QUICK, QUICK_S
from lepton.jobs.retry import MAX_STILLBORN
from lepton.jobs.spec import JobSpec, Role

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AROUND = Surroundings(env={"LEPTON_URL": "u"}, addresses={"n1": "10.0.0.1"})
SPEC = JobSpec(
    roles=(
        Role(name="front", command=("front",), devices=Devices(cpu_milli=100)),
        Role(name="worker", command=("worker",), count=2, devices=Devices(cpu_milli=100), is_replaceable=True),
    ),
    is_service=True,
)


def running(**status: object) -> Resource:
    return Resource(
        id="job_1",
        kind="job",
        workspace="default",
        name="serve-x",
        spec=SPEC.to_json(),
        status={
            "generation": 0,
            "placement": [{"node": "n1", "gpus": []}] * 3,
            "started_at": to_micros(NOW),
            "ready_generation": 0,
            **status,
        },
        state="running",
        created_at=NOW,
        updated_at=NOW,
    )


def look(job: Resource, *ended: int, after_s: float) -> Turn:
    at = NOW + timedelta(seconds=after_s)
    died = Exit(reason=ExitReason.SIGNAL, signal=9, at=at)
    seen = [
        Sighting(key=key, status="exited" if rank in ended else "running", exit=died if rank in ended else None)
        for rank, key in enumerate(keys(job, 3))
    ]
    assert needs_surroundings(job, SPEC, seen) == bool(set(ended) & {1, 2})
    return think(job, SPEC, seen, at=at, around=AROUND)


def test_one_dead_replica_is_replaced_under_a_new_key_and_the_others_go_on() -> None:
    turn = look(running(), 2, after_s=100)
    assert [launch.key for launch in turn.starts] == ["job_1.0.2.1"]
    assert turn.starts[0].command == ("worker",)
    assert not turn.stops
    assert turn.job.state == "running"
    assert turn.event is not None and turn.event.verb == "replaced" and "signal 9" in turn.event.why
    assert keys(turn.job, 3) == ["job_1.0.0", "job_1.0.1", "job_1.0.2.1"]
    record = turn.job.status["replaced"]["2"]
    assert (record["count"], record["why"]) == (1, "signal 9"), "the endpoint tells of it while it goes on"
    again = look(turn.job, 2, after_s=200)
    assert keys(again.job, 3)[2] == "job_1.0.2.2"


def test_of_two_dead_replicas_both_are_replaced_in_two_turns() -> None:
    turn = look(running(), 1, 2, after_s=100)
    assert keys(turn.job, 3) == ["job_1.0.0", "job_1.0.1.1", "job_1.0.2"]
    assert keys(look(turn.job, 2, after_s=100).job, 3) == ["job_1.0.0", "job_1.0.1.1", "job_1.0.2.1"]


def test_a_worker_of_another_role_still_ends_the_gang() -> None:
    assert look(running(), 0, after_s=100).job.state == "stopping"
    assert look(running(), 0, 1, after_s=100).job.state == "stopping"


def test_a_replica_that_dies_soon_again_and_again_ends_the_gang() -> None:
    job = running()
    for _ in range(MAX_QUICK):
        turn = look(job, 1, after_s=1)
        assert turn.starts
        job = turn.job
    turn = look(job, 1, after_s=1)
    assert turn.job.state == "stopping" and not turn.starts
    assert look(job, 1, after_s=QUICK_S + 2).starts, "one that has lived for long is an accident again"


def test_a_stop_replaces_nobody() -> None:
    wished = replace(SPEC, stop_grace_s=1.0)
    job = running()
    died = Exit(reason=ExitReason.SIGNAL, signal=9, at=NOW)
    seen = [
        Sighting(key=key, status="exited" if rank else "running", exit=died if rank else None)
        for rank, key in enumerate(keys(job, 3))
    ]
    assert think(job, wished, seen, at=NOW, around=AROUND).job.state == "stopping"


def test_a_service_that_never_answered_is_given_up_and_one_that_did_never_is() -> None:
    ended = {"rank": 1, "reason": "failed", "code": 1, "signal": None, "detail": "ValueError: no"}
    gone = [
        Sighting(key=key, status="exited", exit=Exit(reason=ExitReason.FAILED, code=1, at=NOW))
        for key in keys(running(), 3)
    ]
    for failures, ready, state in ((0, False, "queued"), (MAX_STILLBORN, False, "failed"), (99, True, "queued")):
        job = replace(running(ending=ended, failures=failures), state="stopping")
        if not ready:
            del job.status["ready_generation"]  # type: ignore[attr-defined]
        turn = think(job, SPEC, gone, at=NOW, around=AROUND)
        assert turn.job.state == state
        assert turn.job.status.get("replaced", {}) == {}


def test_before_it_has_ever_answered_nobody_is_replaced() -> None:
    job = running()
    del job.status["ready_generation"]  # type: ignore[attr-defined]
    assert look(job, 1, after_s=100).job.state == "stopping"
