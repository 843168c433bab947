"""kill -9 of the processes that a platform consists of beside its server."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from lepton.engine.shim import records
from lepton.sdk.jobs import Job
from tests.walk.conftest import Undisturbed
from tests.walk.house import House, wait_until

IMAGE = np.zeros((1, 28, 28), np.uint8)
WAIT_S = 120.0


def record(house: House, job: Job, rank: int, name: str) -> int:
    """Process id of a worker, or of the shim that holds it."""
    count = job.status.get("replaced", {}).get(str(rank), {}).get("count", 0)
    key = f"{job.id}.{job.status.get('generation', 0)}.{rank}" + (f".{count}" if count else "")
    folder = house.data / "engine" / key
    found = records.read(str(folder / name))
    assert found is not None
    return int(found["pid"])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def train(house: House, name: str) -> Job:
    clean = house.client.catalog.get("digits-clean", kind="dataset")
    free = house.client.pool.nodes()[0]["status"]["free"]["cpu_milli"]
    return house.client.train.start(clean.id, name=name, workers=2, epochs=2, cpu_milli=max(100, free // 2))


def digest(house: House, job: Job) -> str:
    return house.client.catalog.list(job=job.id, kind="model")[0].digest


@pytest.fixture(scope="module")
def reference(undisturbed: Undisturbed) -> str:
    """Digest of the model that two undisturbed epochs make."""
    return digest(undisturbed.house, train(undisturbed.house, "calm").wait(timeout_s=WAIT_S))


@pytest.mark.parametrize(("rank", "name"), [(0, records.WORKER), (1, records.WORKER), (1, records.SHIM)])
def test_a_gang_goes_on_from_its_checkpoint_and_ends_with_the_same_model(
    undisturbed: Undisturbed, reference: str, rank: int, name: str
) -> None:
    house = undisturbed.house
    job = train(house, f"killed-{rank}-{name.partition('.')[0]}")
    wait_until(lambda: house.client.catalog.list(job=job.id, kind="checkpoint"), "a checkpoint is there", WAIT_S)
    kill(record(house, job.refresh(), rank, name))
    job.wait(timeout_s=WAIT_S)
    assert job.generation == 1
    assert digest(house, job) == reference
    steps = [step for step, _ in job.metrics()["accuracy"]]
    assert steps == sorted(set(steps))
    assert len(house.client.catalog.list(job=job.id, kind="model")) == 1


def test_without_its_zygote_the_engine_makes_another(undisturbed: Undisturbed) -> None:
    house = undisturbed.house
    server = json.loads((house.data / "server.json").read_text())["pid"]
    kill(zygote(server))
    assert house.client.jobs.submit(["true"], cpus=0.1).wait(timeout_s=WAIT_S).state == "done"
    assert zygote(server)


def zygote(server: int) -> int:
    """The server's child that forks shims, whichever of its threads made it."""
    for path in Path(f"/proc/{server}/task").glob("*/children"):
        for pid in path.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text().strip() == "lepton-zygote":
                return int(pid)
    return 0


@pytest.mark.parametrize(("rank", "name"), [(0, records.WORKER), (1, records.WORKER), (0, records.SHIM)])
def test_an_endpoint_answers_again_at_its_address(undisturbed: Undisturbed, rank: int, name: str) -> None:
    house = undisturbed.house
    endpoint = house.client.serve.get("digits").wait()
    address, job = endpoint.url, house.client.jobs.get(endpoint.job)
    generation = job.generation
    before = job.status.get("replaced", {}).get(str(rank), {}).get("count", 0)
    kill(record(house, job, rank, name))

    def is_replaced() -> bool:
        return bool(job.refresh().status.get("replaced", {}).get(str(rank), {}).get("count", 0) > before)

    wait_until(is_replaced, "another takes its place", WAIT_S)
    assert (job.generation, job.state) == (generation, "running"), "the others go on"
    assert endpoint.predict(IMAGE)["outputs"]
    assert house.client.serve.get("digits").wait().url == address


def test_a_job_whose_processes_are_all_killed_at_once_is_lost_and_run_again(undisturbed: Undisturbed) -> None:
    house = undisturbed.house
    gate = house.folder / "lost-gate"
    os.mkfifo(gate)
    job = house.client.jobs.submit(["sh", "-c", f"read line < {gate}"], cpus=0.1)
    wait_until(lambda: job.refresh().state == "running", "it runs")
    worker, shim = (record(house, job, 0, name) for name in (records.WORKER, records.SHIM))
    kill(shim)
    wait_until(lambda: job.refresh().generation == 1 and job.state == "running", "it runs again")
    assert worker != record(house, job, 0, records.WORKER)
    gate.write_text("go\n")
    assert job.wait(timeout_s=WAIT_S).state == "done"
    assert any("lost" in event["why"] for event in job.events())
