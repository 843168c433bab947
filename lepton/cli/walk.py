"""`lepton walk`: run the six stations of `examples/walk.py` on the running platform, or on one of its own."""

import os
import runpy
import shutil
import sys
from contextlib import redirect_stdout
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp

import click

from lepton.cli.output import Session, with_json
from lepton.cli.server import start_detached, stop_server
from lepton.core.errors import NotFoundError, UnreachableError
from lepton.sdk.find import find


@click.command()
@click.option("--keep", is_flag=True, help="Leave the platform and the endpoint up, and print what to try next.")
@click.option("--fresh", is_flag=True, help="Start a platform of its own even if one of yours runs.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None, help="Data directory for a fresh one."
)
@click.option("--name", default="digits", show_default=True, help="What to call the dataset, models and endpoint.")
@with_json
def walk(keep: bool, fresh: bool, data: Path | None, name: str, is_json: bool) -> None:
    """Take 10,000 real images from raw file to a served, watched model, on this machine, in under a minute.

    Uses the running platform; else starts one in a fresh data directory and ends it. With --json the progress goes to
    standard error and the figures of the summary to standard output.
    """
    script = example("walk.py")
    folder = None if data is None and not fresh and _is_running() else data or Path(mkdtemp(prefix="lepton-walk-"))
    try:
        if folder is not None:
            start_detached(folder.absolute(), {"--port": 0})
            os.environ["LEPTON_DATA"] = str(folder.absolute())
            os.environ.pop("LEPTON_URL", None)
            os.environ.pop("LEPTON_TOKEN", None)
        with redirect_stdout(sys.stderr if is_json else sys.stdout):
            figures = runpy.run_path(str(script))["main"](name=name, keep=keep)
        if is_json:
            Session(is_json).json({**figures, "data": str(folder) if folder is not None and keep else None})
        elif keep:
            _say_what_next(folder, name)
    finally:
        if folder is not None and not keep:
            stop_server(folder.absolute())
            if data is None:
                shutil.rmtree(folder, ignore_errors=True)


def _is_running() -> bool:
    try:
        find()
    except UnreachableError:
        return False
    return True


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
