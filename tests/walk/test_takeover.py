"""Two real servers on one real Postgres: the one that decides is killed, and the other goes on with its jobs."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from time import monotonic

import pytest

from lepton.core.clock import SystemClock
from lepton.jobs.life import NEXT, State
from lepton.sdk.jobs import Job
from lepton.store import events
from lepton.store.open import open_database
from tests.walk.house import House, opened_house, wait_until

LEASE_S = 2.0
RUN = "echo started >> {folder}/$LEPTON_JOB; while [ ! -e {folder}/gate ]; do sleep 0.05; done; echo ended"
RUNNING, QUEUED = 4, 6


@pytest.fixture
def pair(fresh_postgres: str) -> Iterator[tuple[House, House]]:
    with opened_house() as first, opened_house() as second:
        for house in (first, second):
            house.env |= {"LEPTON_DATABASE": fresh_postgres, "LEPTON_LEASE_S": str(LEASE_S), "LEPTON_HEARTBEAT_S": "1"}
            house.env["LEPTON_STORAGE"] = str(first.folder / "packs")
        first.up()
        second.data.mkdir()
        for name in ("key", "token"):
            copy(first.data / name, second.data / name)
        second.up()
        yield first, second


def test_after_kill_9_of_the_one_that_decides_the_other_takes_over_within_seconds_and_loses_no_job(
    pair: tuple[House, House], fresh_postgres: str
) -> None:
    first, second = pair
    wait_until(lambda: second.client.pool.nodes(), "there is a node")
    share = second.client.pool.nodes()[0]["status"]["free"]["cpu_milli"] / 1000 / RUNNING
    command = ["sh", "-c", RUN.format(folder=first.folder)]
    jobs = [first.client.jobs.submit(command, cpus=share) for _ in range(RUNNING + QUEUED)]
    wait_until(lambda: len(started(first.folder, jobs)) == RUNNING, "as many run as fit")
    begun = [job.id for job in jobs if job.id in started(first.folder, jobs)]
    first.kill()
    killed_at = monotonic()
    late = second.client.jobs.submit(["true"], cpus=share)  # the door of the other has never closed
    wait_until(lambda: all(len(lines(first.folder / id)) == 2 for id in begun), "what ran is started again", 30)
    took_s = monotonic() - killed_at
    (first.folder / "gate").touch()
    for job in [*(second.client.jobs.get(job.id) for job in jobs), late]:
        assert job.wait(timeout_s=60).state == "done"
    assert took_s < LEASE_S + 8, took_s
    check_lives(fresh_postgres, [job.id for job in jobs])
    first.up()  # what it finds in its folder is of no use any more
    wait_until(lambda: not [line for line in first.left_running() if "LEPTON_JOB=" in line], "nothing old runs")
    assert {second.client.jobs.get(job.id).state for job in jobs} == {"done"}
    first.client.close()
    first.terminate()
    second.end()


def started(folder: Path, jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs if (folder / job.id).exists()]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def check_lives(url: str, jobs: list[str]) -> None:
    """Each job's events are one whole life, and none is there twice."""
    database = open_database(url, folder=Path("/nonexistent"), clock=SystemClock())
    try:
        told = database.read(lambda tx: events.after(tx, 0, limit=100_000))
    finally:
        database.close()
    assert len({seq for seq, _ in told}) == len(told)
    for id in jobs:
        state = State.QUEUED
        for verb in (event.verb for _, event in told if event.subject == id and "->" in event.verb):
            before, _, after = verb.partition("->")
            assert before == state and State(after) in NEXT[state], (id, verb)
            state = State(after)
        assert state == State.DONE
