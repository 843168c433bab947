"""The job of station 2: the same function in every worker of the gang.

Killed at any point and started again, it goes on from the last committed checkpoint and ends with exactly the weights
it would have had.
"""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lepton.core.context import Context
from lepton.core.errors import IntegrityError, InvalidError
from lepton.train.gang import Gang, opened_gang
from lepton.train.model import Learner, Order, bent, layers_for, rate_at
from lepton.train.spec import TrainSpec
from lepton.vault.network import Layer, build_network, count_parameters, save_network, scores
from lepton.vault.profile import FILE as REFERENCE
from lepton.vault.recipe import Recipe
from lepton.vault.tables import read_table

METRICS_EVERY = 20
STATE = "state.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """All that is fixed while a worker trains."""

    context: Context
    spec: TrainSpec
    gang: Gang
    order: Order
    layers: tuple[Layer, ...]
    images: torch.Tensor
    """To train on, shape (N, H, W): as the model sees them, but with the background at 0."""
    background: float
    labels: torch.Tensor
    test_images: torch.Tensor
    """This worker's share of the images held out."""
    test_labels: torch.Tensor

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.order.steps * self.spec.epochs


def train(context: Context) -> None:
    """Train on input `dataset`, with a checkpoint an epoch; rank 0 publishes the model.

    Asked to stop, it saves a checkpoint and returns without a model.
    """
    spec = TrainSpec.from_json(context.params)
    torch.set_num_threads(1)
    torch.manual_seed(spec.seed)
    with opened_gang(context.rank, context.size) as gang:
        lesson = read_lesson(context, spec, gang)
        learner = Learner(build_network(lesson.layers))
        step = resume(lesson, learner)
        while step < lesson.steps:
            step, is_stopped = run_epoch(lesson, learner, step)
            save(lesson, learner, step)
            if is_stopped:
                return
        accuracy = test(lesson, learner)
        if gang.rank == 0:
            publish(lesson, learner, accuracy)


def read_lesson(context: Context, spec: TrainSpec, gang: Gang) -> Lesson:
    """Open the dataset and prepare its images.

    Raises:
        InvalidError: there are fewer training rows than workers, or images too small to learn.
    """
    folder = context.input("dataset")
    table, recipe = read_table(folder), Recipe.load(folder)
    rows, held_out = table.split("train"), table.split("test")
    batch = min(spec.batch_size, rows.rows) // gang.size * gang.size
    if batch == 0 or min(recipe.height, recipe.width) < 16:
        raise InvalidError(
            f"{rows.rows} images of {recipe.width} x {recipe.height} cannot train {gang.size} workers",
            fix="Give more rows, fewer workers, or images of 16 x 16 pixels or more.",
        )
    background = float(recipe.apply(rows["image"][:1] * 0).flat[0])
    return Lesson(
        context=context,
        spec=spec,
        gang=gang,
        order=Order(rows=rows.rows, batch=batch, rank=gang.rank, size=gang.size, seed=spec.seed),
        layers=tuple(layers_for(recipe.height, recipe.width, len(recipe.classes))),
        images=torch.from_numpy(recipe.apply(rows["image"]) - np.float32(background)),
        background=background,
        labels=torch.from_numpy(rows["label"].astype("int64")),
        test_images=torch.from_numpy(recipe.apply(held_out["image"][gang.rank :: gang.size])),
        test_labels=torch.from_numpy(held_out["label"][gang.rank :: gang.size].astype("int64")),
    )


def run_epoch(lesson: Lesson, learner: Learner, step: int) -> tuple[int, bool]:
    """Train from `step` to the end of its epoch; return the next step, and whether somebody asked to stop."""
    context, order, gang = lesson.context, lesson.order, lesson.gang
    epoch, first = divmod(step, order.steps)
    order_N = order.epoch(epoch)
    for place in range(first, order.steps):
        rows = order.share(order_N, place)
        rng = np.random.default_rng([lesson.spec.seed, step, gang.rank])
        image_BHW = bent(lesson.images[rows], rng) + lesson.background
        learner.differentiate(image_BHW, lesson.labels[rows], wants_stop=context.should_stop())
        gang.sum_(learner.message)
        rate = rate_at(step, lesson.steps, lesson.spec.learning_rate)
        learner.step(workers=gang.size, rate=rate)
        step += 1
        if gang.rank == 0 and step % METRICS_EVERY == 0:
            context.metrics(step, loss=float(learner.message[-2]) / gang.size, learning_rate=rate)
        if learner.message[-1] > 0:
            return step, True
    accuracy = test(lesson, learner)
    if gang.rank == 0:
        context.metrics(step, accuracy=accuracy, epoch=epoch + 1)
        context.progress(step / lesson.steps, f"epoch {epoch + 1} of {lesson.spec.epochs}: {accuracy:.2%}")
    return step, False


def test(lesson: Lesson, learner: Learner) -> float:
    """Share of the held-out images that the network names rightly; each worker looks at its part."""
    guess_N = scores(learner.network, lesson.test_images).argmax(dim=1)
    count = torch.tensor([int((guess_N == lesson.test_labels).sum()), len(guess_N)], dtype=torch.int64)
    lesson.gang.sum_(count)
    return int(count[0]) / int(count[1])


def save(lesson: Lesson, learner: Learner, step: int) -> None:
    """Commit a checkpoint: the plain weights by name, and the optimiser's velocity. Only rank 0 writes."""
    if lesson.gang.rank == 0:
        folder = _empty_folder(lesson.context, "checkpoint")
        save_file({**learner.network.state_dict(), "velocity": learner.velocity}, folder / STATE)
        lesson.context.save_checkpoint(step, folder)


def resume(lesson: Lesson, learner: Learner) -> int:
    """Take up the last committed checkpoint, as rank 0 sees it; return the step to go on with.

    Raises:
        IntegrityError: it is damaged, or of another network.
    """
    step = torch.zeros(1, dtype=torch.int64)
    found = lesson.context.latest_checkpoint() if lesson.gang.rank == 0 else None
    if found:
        step[0] = found[0]
        try:
            state = load_file(found[1] / STATE)
            learner.velocity.copy_(state.pop("velocity"))
            learner.network.load_state_dict(state)
        except (OSError, KeyError, RuntimeError, SafetensorError) as fault:
            raise IntegrityError(f"The checkpoint of step {found[0]} cannot be used: {fault}") from fault
    for tensor in (step, learner.weight, learner.velocity):
        lesson.gang.copy_from_first_(tensor)
    return int(step)


def publish(lesson: Lesson, learner: Learner, accuracy: float) -> None:
    """Leave the model in the catalog, with the recipe and the reference profile of its dataset."""
    context, spec = lesson.context, lesson.spec
    folder, dataset = _empty_folder(context, "model"), context.input("dataset")
    save_network(folder, lesson.layers, learner.network)
    Recipe.load(dataset).save(folder)
    copyfile(dataset / REFERENCE, folder / REFERENCE)
    meta = {
        "accuracy": round(accuracy, 6),
        "epochs": spec.epochs,
        "steps": lesson.steps,
        "workers": lesson.gang.size,
        "seed": spec.seed,
        "parameters": count_parameters(learner.network),
        "framework": "torch",
    }
    context.publish(kind="model", name=spec.name, folder=folder, meta=meta)


def _empty_folder(context: Context, name: str) -> Path:
    """A fresh folder of this worker."""
    folder = context.folder / name
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
