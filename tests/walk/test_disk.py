"""The disk of the data directory fills up in the middle of training, and later there is room again."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from lepton.engine.shim import records
from lepton.sdk.jobs import Job
from tests.walk.conftest import Undisturbed
from tests.walk.house import Books, House, wait_until
from tests.walk.test_faults import fill, mount, needs_root
from tests.walk.test_processes import WAIT_S, digest

RAW = "examples/mnist-raw.tar.xz"
EPOCHS = 4


@pytest.fixture
def small(house: House) -> Iterator[House]:
    """A house whose data directory is a disk of 160 MB."""
    house.data.mkdir()
    mount("-t", "tmpfs", "-o", "size=160m", "tmpfs", str(house.data))
    try:
        yield house
        house.end()
        wait_until(lambda: not house.left_running(), "nothing runs there")
    finally:
        subprocess.run(["umount", "-l", str(house.data)], check=True)


def train(house: House, name: str) -> Job:
    clean = house.client.catalog.get("digits-clean", kind="dataset")
    return house.client.train.start(clean.id, name=name, workers=2, epochs=EPOCHS, cpu_milli=100)


@needs_root
def test_training_on_a_disk_that_fills_says_so_and_goes_on_from_its_checkpoint_when_there_is_room(
    small: House, undisturbed: Undisturbed
) -> None:
    reference = digest(undisturbed.house, train(undisturbed.house, "roomy").wait(timeout_s=WAIT_S))
    small.up()
    client = small.client
    ingested = client.data.add(os.path.abspath(RAW), name="digits").wait(timeout_s=WAIT_S)
    dataset = client.catalog.list(job=ingested.id, kind="dataset")[0]
    client.data.clean(dataset.id, name="digits-clean").wait(timeout_s=WAIT_S)
    job = train(small, "digits")
    wait_until(lambda: client.catalog.list(job=job.id, kind="checkpoint"), "a checkpoint is there", WAIT_S)
    filler = fill(small.data)
    folder = small.data / "engine" / f"{job.id}.0.0"
    wait_until(lambda: records.read(str(folder / records.EXIT)), "it has ended", 60)
    assert len(client.catalog.list(job=job.id, kind="model")) == 0
    filler.unlink()
    job.wait(timeout_s=WAIT_S)
    assert [why for event in job.events() if "storage_full" in (why := event["why"])], job.events()
    assert digest(small, job) == reference
    assert job.generation >= 1
    steps = [step for step, _ in job.metrics()["accuracy"]]
    assert steps == sorted(set(steps)) and len(steps) == EPOCHS
    small.end()
    Books(small.data).check()
