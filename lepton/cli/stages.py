"""`lepton train` and `lepton optimize`: one command each."""

from typing import Any, cast

import click

from lepton.cli import complete
from lepton.cli.data import finish, wait_option
from lepton.cli.kinds import SEED, Name, Number, Ref
from lepton.cli.output import Session, common
from lepton.cli.standing import standing
from lepton.sdk.stations import OptimizeOptions, TrainOptions


@click.command()
@click.argument("dataset", type=Ref(), shell_complete=complete.datasets)
@click.option("--name", type=Name(), required=True, help="What to call the model.")
@click.option(
    "--workers", type=Number(1, 64, is_whole=True), show_default="1", help="Each takes its share of every batch."
)
@click.option(
    "--epochs", type=Number(1, 10_000, is_whole=True), show_default="14", help="How often every image is seen."
)
@click.option(
    "--batch-size", type=Number(1, 1 << 16, is_whole=True), show_default="128", help="Images a step, over all workers."
)
@click.option("--learning-rate", type=Number(1e-6, 10), show_default="0.08", help="At its highest.")
@click.option("--seed", type=SEED, show_default="0", help="Equal seeds on equal data give equal weights.")
@standing
@wait_option
@common
def train(session: Session, dataset: str, name: str, is_waiting: bool, **options: Any) -> None:
    """Train a model on DATASET, a clean dataset version."""
    given = {option: value for option, value in options.items() if value is not None}
    job = session.client.train.start(dataset, name=name, **cast(TrainOptions, given))
    finish(session, job, is_waiting)


@click.command()
@click.argument("model", type=Ref(), shell_complete=complete.models)
@click.option(
    "--dataset",
    type=Ref(),
    shell_complete=complete.datasets,
    required=True,
    help="Where it is measured: on the held-out rows.",
)
@click.option("--name", type=Name(), required=True, help="What to call the optimised model.")
@click.option(
    "--max-accuracy-loss", type=Number(0, 1), default=0.002, show_default=True, help="How much less accurate it may be."
)
@standing
@wait_option
@common
def optimize(session: Session, model: str, dataset: str, name: str, is_waiting: bool, **options: Any) -> None:
    """Export MODEL, measure it, and keep the variant that is faster and no worse."""
    job = session.client.optimize.start(model, dataset=dataset, name=name, **cast(OptimizeOptions, options))
    finish(session, job, is_waiting)
