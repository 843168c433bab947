"""Two real workers over gloo: they learn, and a run that is killed or stopped ends with the very same weights."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lepton.core.errors import IntegrityError, InvalidError
from lepton.engine.folder import FolderContext
from lepton.train.plan import plan_train
from lepton.train.run import train
from lepton.train.spec import TrainSpec
from lepton.vault.folder import describe
from lepton.vault.network import load_network
from lepton.vault.profile import profile
from lepton.vault.recipe import Recipe, fit_pixels
from lepton.vault.tables import Table, write_table
from tests.ports import free_port

RunGang = Callable[..., list[int]]
SPEC = TrainSpec(dataset="d", name="shapes", workers=2, epochs=3, batch_size=16, learning_rate=0.05)

NURSERY = """
import json, os, signal, sys
from pathlib import Path
from lepton.engine.folder import FolderContext
from lepton.train.run import train

class Dying(FolderContext):
    steps = 0
    def should_stop(self):
        self.steps += 1
        if self.steps == how["die_at"] * self.rank:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.steps == how["stop_at"] * self.rank

def work(rank):
    inputs = {"dataset": Path(how["dataset"])}
    context = Dying(Path(how["root"]), inputs=inputs, params=how["params"], rank=rank, size=2)
    train(context)

for line in sys.stdin:
    how = json.loads(line)
    os.environ["MASTER_PORT"] = how["port"]
    workers = []
    for rank in range(2):
        workers.append(os.fork())
        if workers[-1] == 0:
            code = 1
            try:
                work(rank)
                code = 0
            finally:
                os._exit(code)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]), flush=True)
"""


@pytest.fixture(scope="module")
def run_gang(dataset: Path) -> Iterator[RunGang]:
    """Runs both workers, forked from a process that has imported torch once; gives their exit codes.

    Rank 1 dies or asks to stop at the given step of its life.
    """
    env = {**os.environ, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", NURSERY]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as nursery:
        assert nursery.stdin and nursery.stdout
        requests, answers = nursery.stdin, nursery.stdout

        def run(root: Path, *, die_at: int = 0, stop_at: int = 0) -> list[int]:
            how = {"root": str(root), "dataset": str(dataset), "params": SPEC.to_json(), "port": str(free_port())}
            requests.write(json.dumps({**how, "die_at": die_at, "stop_at": stop_at}) + "\n")
            requests.flush()
            codes: list[int] = json.loads(answers.readline())
            return codes

        yield run
        requests.close()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that stand, lie or slant: 160 to train on, 60 held out."""
    folder = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 220).astype(np.int32)
    image = rng.integers(0, 40, (220, 20, 20)).astype(np.uint8)
    for row, kind in zip(image, label.tolist(), strict=True):
        place = int(rng.integers(6, 12))
        steps = np.arange(4, 16)
        y, x = ((steps, place), (place, steps), (steps, steps))[kind]
        row[y, x] = 255
    write_table(folder, Table(columns={"image": image, "label": label}, splits={"train": (0, 160), "test": (160, 220)}))
    mean, std = fit_pixels(image[:160])
    facts: dict[str, Any] = {"rows_in": 220, "rows_out": 220, "source_digest": "0" * 64}
    Recipe(height=20, width=20, classes=("a", "b", "c"), mean=mean, std=std, **facts).save(folder)
    profile(image[:160], label[:160], 3).save(folder)
    return folder


@pytest.fixture(scope="module")
def whole(run_gang: RunGang, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    assert run_gang(root) == [0, 0]
    return root


def lines(root: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / f"{kind}.jsonl").read_text().splitlines()]


def test_the_gang_learns_and_leaves_one_model_with_its_recipe(whole: Path) -> None:
    model = whole / "model" / "shapes" / "1"
    files = [file.path for file in describe(model)]
    assert files == ["model.json", "recipe.json", "reference.json", "weights.safetensors"]
    meta = json.loads((whole / "model" / "shapes" / "1.json").read_text())["meta"]
    assert meta["accuracy"] > 0.8
    assert meta["workers"] == 2
    layers, network = load_network(model)
    assert len(layers) == len(network)
    assert meta["parameters"] == sum(value.size for value in load_file(model / "weights.safetensors").values())
    assert not (whole / "model" / "shapes" / "2").exists()


def test_metrics_and_checkpoints_come_every_epoch(whole: Path) -> None:
    accuracies = [line["values"] for line in lines(whole, "metrics") if "accuracy" in line["values"]]
    assert [values["epoch"] for values in accuracies] == [1, 2, 3]
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["10", "20", "30"]
    state = load_file(whole / "checkpoints" / "30" / "state.safetensors")
    assert "0.weight" in state, "plain names, no wrapper's prefix"
    assert lines(whole, "progress")[-1]["fraction"] == 1.0


@pytest.mark.parametrize(("how", "codes", "kept"), [("die_at", [1, -9], "10"), ("stop_at", [0, 0], "13")])
def test_a_run_that_was_cut_ends_with_the_very_same_weights(
    whole: Path, run_gang: RunGang, tmp_path: Path, how: str, codes: list[int], kept: str
) -> None:
    assert run_gang(tmp_path, **{how: 13}) == codes
    assert max(path.name for path in (tmp_path / "checkpoints").iterdir()) == kept
    assert not (tmp_path / "model").exists()
    assert run_gang(tmp_path) == [0, 0]
    assert describe(tmp_path / "model" / "shapes" / "1") == describe(whole / "model" / "shapes" / "1")


def test_one_worker_needs_no_gang(dataset: Path, tmp_path: Path) -> None:
    spec = TrainSpec(dataset="d", name="alone", epochs=1, batch_size=16)
    train(FolderContext(tmp_path, inputs={"dataset": dataset}, params=spec.to_json()))
    assert (tmp_path / "model" / "alone" / "1" / "weights.safetensors").is_file()


def test_a_checkpoint_that_cannot_be_used_is_told(dataset: Path, tmp_path: Path) -> None:
    spec = TrainSpec(dataset="d", name="alone", epochs=1, batch_size=16)
    context = FolderContext(tmp_path, inputs={"dataset": dataset}, params=spec.to_json())
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "state.safetensors").write_bytes(b"torn")
    context.save_checkpoint(3, tmp_path / "draft")
    with pytest.raises(IntegrityError, match="step 3"):
        train(context)


def test_what_cannot_be_trained_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidError):
        TrainSpec(dataset="d", name="m", workers=8, batch_size=4)
    with pytest.raises(InvalidError):
        TrainSpec.from_json({**SPEC.to_json(), "epochs": 0})
    assert plan_train(SPEC).size == 2
    assert TrainSpec.from_json(plan_train(SPEC).params) == SPEC
