"""`lepton walk`: run the six stations of `examples/walk.py` on the running platform, or on one of its own."""

import os
import runpy
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click

from lepton.cli.kinds import Name, Number
from lepton.cli.output import Session, with_json
from lepton.cli.owner import Owner, end_workers, stop_jobs
from lepton.cli.server import start_detached, stop_server
from lepton.core.errors import LeptonError, NotFoundError, UnreachableError
from lepton.sdk.client import connect
from lepton.sdk.find import find


@click.command()
@click.option("--keep", is_flag=True, help="Leave the platform and the endpoint up, and print what to try next.")
@click.option("--fresh", is_flag=True, help="Start a platform of its own even if one of yours runs.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None, help="Data directory for a fresh one."
)
@click.option(
    "--name", type=Name(), default="digits", show_default=True, help="What to call the dataset, models and endpoint."
)
@click.option(
    "--epochs",
    type=Number(1, 10_000, is_whole=True),
    default=14,
    show_default=True,
    help="How often training sees every image.",
)
@with_json
def walk(keep: bool, fresh: bool, data: Path | None, name: str, epochs: int, is_json: bool) -> None:
    """Take 10,000 real images from raw file to a served, watched model, on this machine, in under a minute.

    Uses the running platform; else starts one in a fresh data directory and ends it. With --json the progress goes to
    standard error and the figures of the summary to standard output.
    """
    script = example("walk.py")
    signal.signal(signal.SIGTERM, _interrupt)
    session = Session(is_json)
    given = {"name": name, "keep": keep, "epochs": epochs}
    if data is None and not fresh and _is_running():
        _run(script, given, None, session)
        return
    session.note("A platform of its own starts for the walk.")
    with own_platform(data, is_kept=keep) as folder:
        _run(script, given, folder, session)
    if not keep:
        session.note("The platform has ended. To look round in what a walk makes: lepton walk --keep")


def _run(script: Path, given: Mapping[str, Any], folder: Path | None, session: Session) -> None:
    with redirect_stdout(sys.stderr if session.is_json else sys.stdout):
        figures = runpy.run_path(str(script))["main"](**given)
    if session.is_json:
        session.json({**figures, "data": str(folder) if folder is not None and given["keep"] else None})
    elif given["keep"]:
        _say_what_next(folder, given["name"])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _is_running() -> bool:
    try:
        find()
    except UnreachableError:
        return False
    return True


@contextmanager
def own_platform(data: Path | None, *, is_kept: bool) -> Iterator[Path]:
    """A platform in `data`, or in a fresh folder, that clients of this process use.

    Unless it is kept and all went well, nothing of it runs afterwards, and a fresh folder is gone. One that is not kept
    ends by itself when this process is killed.
    """
    folder = data.absolute() if data is not None else Path(mkdtemp(prefix="lepton-walk-"))
    has_failed = True
    try:
        owner = None if is_kept else Owner(is_fresh=data is None)
        start_detached(folder, {"--port": 0}, is_noted=is_kept, owner=owner)
        os.environ["LEPTON_DATA"] = str(folder)
        os.environ.pop("LEPTON_URL", None)
        os.environ.pop("LEPTON_TOKEN", None)
        yield folder
        has_failed = False
    finally:
        if has_failed or not is_kept:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
            _end(folder, is_fresh=data is None)


def _end(folder: Path, *, is_fresh: bool) -> None:
    """Stop every job, then the server, then whatever its engine still holds."""
    try:
        stop_jobs(connect())
    except LeptonError as fault:  # e.g. its server was killed: its engine is asked below
        click.echo(f"{fault.message}; ending its workers all the same", err=True)
    try:
        stop_server(folder)
        end_workers(folder / "engine")
    except LeptonError as fault:
        sys.stderr.write(f"{fault.message}\n")
    if is_fresh:
        shutil.rmtree(folder, ignore_errors=True)


def _say_what_next(folder: Path | None, name: str) -> None:
    prefix = f"LEPTON_DATA={shlex.quote(str(folder))} " if folder is not None else ""
    where = f" at {connect().url}, its data in {folder}" if folder is not None else ""
    click.echo(f"\nThe platform is still up{where}. Try:")
    looks = (f"catalog lineage {name}", f"serve get {name}", "jobs list", "observe alerts", "status")
    for command in (*looks, f"serve delete {name}", "down"):
        click.echo(f"  {prefix}{as_typed(sys.argv[0])} {command}")


def as_typed(called: str) -> str:
    """What to type for `lepton`, in a shell as this one: the word alone if that finds it, else as it was called.

    Args:
        called: `sys.argv[0]`.
    """
    if called.endswith(".py"):  # python -m
        return f"{shlex.quote(sys.executable)} -m lepton.cli.main"
    found = shutil.which("lepton")
    if found and Path(called).exists() and Path(found).samefile(called):
        return "lepton"
    return shlex.quote(called)


def example(name: str) -> Path:
    """The path of a file of `examples/`, from the wheel or from a checkout.

    Raises:
        NotFoundError: this installation has none.
    """
    inside = Path(str(resources.files("lepton"))) / "examples" / name
    beside = Path(str(resources.files("lepton"))).parent / "examples" / name
    for path in (inside, beside):
        if path.exists():
            return path
    raise NotFoundError(f"examples/{name} is not in this installation", fix="Install lepton-platform again.")
