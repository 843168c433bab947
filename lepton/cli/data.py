"""`lepton data`: bring data in and clean it."""

from typing import Any, cast

import click

from lepton.cli import complete
from lepton.cli.catalog import version_card
from lepton.cli.group import Group
from lepton.cli.kinds import COUNT, SEED, Name, Number, Ref
from lepton.cli.notes import Notes
from lepton.cli.output import Session, common
from lepton.cli.standing import standing
from lepton.sdk.jobs import Job
from lepton.sdk.options import StandingOptions
from lepton.sdk.stations import CleanOptions


def finish(session: Session, job: Job, is_waiting: bool) -> None:
    """Print a station's job: at once, or with `--wait` what it has left once it has ended well."""
    if not is_waiting:
        session.one(job)
        return
    session.note(f"job {job.id} is submitted; its log: lepton jobs logs -f {job.id}", job=job.id)
    with Notes(session, job) as notes:
        job.wait(tell=notes.tell, tell_every_s=notes.every_s)
    left = session.client.catalog.list(job=job.id)
    session.many([version for version in left if version.kind != "checkpoint"])


SHARE = Number(0.01, 0.9)
wait_option = click.option("--wait/--no-wait", "is_waiting", default=True, help="Return when the job has ended.")


@click.group(cls=Group)
def data() -> None:
    """Bring data in and clean it."""


@data.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", type=Name(), required=True, help="What to call the dataset.")
@standing
@wait_option
@common
def add(session: Session, path: str, name: str, is_waiting: bool, **options: Any) -> None:
    """Upload PATH, a zip or tar archive of images with labels, and make a dataset version of it."""
    finish(session, session.client.data.add(path, name=name, **cast(StandingOptions, options)), is_waiting)


@data.command()
@click.argument("dataset", type=Ref(), shell_complete=complete.datasets)
@click.option("--name", type=Name(), required=True, help="What to call the clean dataset.")
@click.option(
    "--test-share", type=SHARE, default=0.2, show_default=True, help="Share of rows held out for testing, 0.01 to 0.9."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Another one holds out other rows.")
@standing
@wait_option
@common
def clean(session: Session, dataset: str, name: str, is_waiting: bool, **options: Any) -> None:
    """Check every row of DATASET, quarantine the faulty ones, split the rest into train and test."""
    job = session.client.data.clean(dataset, name=name, **cast(CleanOptions, options))
    finish(session, job, is_waiting)


@data.command("list")
@click.option("--name", default="", help="Only versions of this dataset.")
@click.option("--limit", type=COUNT, default=50, show_default=True, help="How many.")
@common
def list_(session: Session, name: str, limit: int) -> None:
    """List the newest dataset versions."""
    found = session.client.catalog.list(kind="dataset", name=name, limit=limit)
    session.many(found, hint="bring data in: lepton data add FILE --name NAME")


@data.command()
@click.argument("ref", type=Ref(), shell_complete=complete.datasets)
@common
def get(session: Session, ref: str) -> None:
    """Show a dataset version: REF is an id, NAME or NAME@NUMBER."""
    found = session.client.catalog.get(ref, kind="dataset")
    session.card(version_card(found), dict(found.fields))
