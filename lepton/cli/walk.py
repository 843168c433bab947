"""`lepton walk`: run the six stations of `examples/walk.py` on the running platform, or on one of its own."""

import os
import runpy
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module, resources
from pathlib import Path
from tempfile import mkdtemp
from threading import Event

import click

from lepton.cli.kinds import Name
from lepton.cli.output import Session, with_json
from lepton.cli.server import start_detached, stop_server
from lepton.core.errors import LeptonError, NotFoundError, UnreachableError
from lepton.engine.local.gangs import clear_gangs
from lepton.sdk.find import find

END_S = 20.0
GRACE_S = 2.0


@click.command()
@click.option("--keep", is_flag=True, help="Leave the platform and the endpoint up, and print what to try next.")
@click.option("--fresh", is_flag=True, help="Start a platform of its own even if one of yours runs.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None, help="Data directory for a fresh one."
)
@click.option(
    "--name", type=Name(), default="digits", show_default=True, help="What to call the dataset, models and endpoint."
)
@with_json
def walk(keep: bool, fresh: bool, data: Path | None, name: str, is_json: bool) -> None:
    """Take 10,000 real images from raw file to a served, watched model, on this machine, in under a minute.

    Uses the running platform; else starts one in a fresh data directory and ends it. With --json the progress goes to
    standard error and the figures of the summary to standard output.
    """
    script = example("walk.py")
    signal.signal(signal.SIGTERM, _interrupt)
    session = Session(is_json)
    if data is None and not fresh and _is_running():
        _run(script, name, None, keep=keep, session=session)
        return
    with own_platform(data, is_kept=keep) as folder:
        _run(script, name, folder, keep=keep, session=session)


def _run(script: Path, name: str, folder: Path | None, *, keep: bool, session: Session) -> None:
    with redirect_stdout(sys.stderr if session.is_json else sys.stdout):
        figures = runpy.run_path(str(script))["main"](name=name, keep=keep)
    if session.is_json:
        session.json({**figures, "data": str(folder) if folder is not None and keep else None})
    elif keep:
        _say_what_next(folder, name)


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

    Unless it is kept and all went well, nothing of it runs afterwards, and a fresh folder is gone.
    """
    folder = data.absolute() if data is not None else Path(mkdtemp(prefix="lepton-walk-"))
    has_failed = True
    try:
        start_detached(folder, {"--port": 0}, is_noted=is_kept)
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
        _stop_jobs()
    except LeptonError as fault:  # e.g. its server was killed: its engine is asked below
        click.echo(f"{fault.message}; ending its workers all the same", err=True)
    try:
        stop_server(folder)
        _end_workers(folder / "engine")
    except LeptonError as fault:
        sys.stderr.write(f"{fault.message}\n")
    if is_fresh:
        shutil.rmtree(folder, ignore_errors=True)


def _stop_jobs() -> None:
    """Ask over the API, so that the jobs of a data directory that stays are stopped in its books too."""
    client = import_module("lepton").connect()
    endpoints = [endpoint for endpoint in client.serve.list(limit=1000) if endpoint.state != "deleted"]
    for endpoint in endpoints:
        endpoint.delete()
    jobs = [job for job in client.jobs.list(limit=1000) if not job.is_final]
    for job in jobs:
        if job.spec["stage"] != "serve":
            job.stop(grace_s=GRACE_S)
    for job in jobs:
        job.wait(timeout_s=END_S, check=False)
    for endpoint in endpoints:
        endpoint.wait("deleted", timeout_s=END_S)
    client.close()


def _end_workers(folder: Path) -> None:
    """End what still runs there."""
    if not folder.is_dir():
        return
    engine = import_module("lepton.engine.base").open_engine("local", folder=folder)
    ended = Event()
    engine.on_change(lambda key: ended.set())
    for _ in range(int(END_S)):
        here: list[str] = list(engine.keys())
        running = [key for key in here if engine.look(key).status == "running"]
        if not running:
            break
        ended.clear()
        for key in running:
            engine.stop(key, grace_s=GRACE_S)
        ended.wait(1.0)
    engine.close()
    clear_gangs(folder)


def _say_what_next(folder: Path | None, name: str) -> None:
    prefix = f"LEPTON_DATA={folder} " if folder is not None else ""
    click.echo(f"\nThe platform is still up{f', its data in {folder}' if folder else ''}. Try:")
    for command in (f"catalog lineage {name}", f"serve get {name}", "jobs list", "observe alerts", "status", "down"):
        click.echo(f"  {prefix}lepton {command}")


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
