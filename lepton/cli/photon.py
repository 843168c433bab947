"""`lep photon create|list|remove|runlocal`, as programs and tests written for the vendor's command call it.

It is no command of ours and is not installed: `python -m lepton.cli.photon photon runlocal -n NAME -m MODEL` runs it.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lepton.cli.bench import Bench
from lepton.cli.workbench import run_bench
from lepton.serve.photon import alias, archive, config, models
from lepton.serve.photon.checkout import fetch_code_from_vcs
from lepton.serve.photon.database import find_all_local_photons, find_local_photon, remove_local_photon
from lepton.serve.photon.tools import find_available_port

HELP = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=HELP)
def lep() -> None:
    """Make, list and run photons on this machine."""
    alias.install()


@lep.group()
def photon() -> None:
    """Photons on this machine."""


@photon.command()
@click.option("--name", "-n", required=True, help="What to call it.")
@click.option("--model", "-m", required=True, help="py:file.py[:Class], a URL of code, or hf:MODEL.")
@click.option("--requirements", "-r", type=click.Path(exists=True), help="File of further requirements.")
def create(name: str, model: str, requirements: str | None) -> None:
    """Make a photon and keep it as a .photon file."""
    try:
        made = models.create(name, model)
        if requirements:
            made.requirement_dependency = [line.strip() for line in Path(requirements).read_text().splitlines()]
        made.save()
    except Exception as fault:
        raise click.ClickException(f"Failed to create photon: {fault}") from fault
    click.echo(f"Photon {name} created.")


@photon.command("list")
@click.option("--local", "-l", is_flag=True, help="Those on this machine, as always here.")
@click.option("--pattern", default="", help="Only names with this in them.")
def list_(local: bool, pattern: str) -> None:
    """List photons, the newest first."""
    table = Table("Name", "Model", "ID", "Created At", title="Local Photons", show_lines=True)
    for id, name, model, _, made in find_all_local_photons():
        if pattern in name:
            when = datetime.fromtimestamp(made).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            table.add_row(name, model, id, when)
    Console(highlight=False).print(table)


@photon.command()
@click.option("--name", "-n", help="Which.")
@click.option("--local", "-l", is_flag=True, help="On this machine, as always here.")
@click.option("--all", "-a", "is_all", is_flag=True, help="All versions of the name, not the newest only.")
def remove(name: str | None, local: bool, is_all: bool) -> None:
    """Remove a photon."""
    if not name:
        raise click.UsageError("Must specify --name.")
    if find_local_photon(name) is None:
        raise click.ClickException(f"Photon {name} does not exist.")
    remove_local_photon(name, remove_all=is_all)
    click.echo(f"Photon {name} removed.")


def run_options(command: Any) -> Any:
    """What the commands that run a photon share."""
    for option in (
        click.option(
            "--front/--no-front", "has_front", default=False, help="Serve behind a front, as on the platform."
        ),
        click.option("--secret", "-s", multiple=True, help="Name of a variable that must be set."),
        click.option("--env", "-e", multiple=True, help="NAME=VALUE for its environment."),
        click.option("--port", "-p", type=int, default=config.DEFAULT_PORT, help="Where it answers, or the next free."),
        click.option("--file", "-f", "path", help="A .photon file."),
        click.option("--model", "-m", help="Make it first, from this."),
        click.option("--name", "-n", help="One that was made before, or shall be made from --model."),
    ):
        command = option(command)
    return command


@photon.command()
@run_options
def runlocal(**wishes: Any) -> None:
    """Run a photon on this machine until SIGTERM or Ctrl-C."""
    run_here(**wishes)


@lep.command()
@run_options
def run(**wishes: Any) -> None:
    """Runs a photon on this machine, as `lep photon runlocal` does."""
    run_here(**wishes)


def run_here(name: str | None, model: str | None, path: str | None, port: int, **wishes: Any) -> None:
    """Load a photon in this process and serve it."""
    if not name and not path:
        raise click.UsageError("Must specify either --name or --file.")
    place = path or find_local_photon(str(name))
    if model or not place or not os.path.exists(place):
        if not (name and model):
            raise click.UsageError(f"Photon {name or path} does not exist; give --name and --model to make it.")
        create.main(["-n", name, "-m", model], standalone_mode=False)
        place = find_local_photon(name)
    for each in wishes.get("env", ()):
        key, _, value = each.partition("=")
        os.environ[key] = value
    for each in wishes.get("secret", ()):
        if each not in os.environ:
            click.echo(f"The secret {each} is not set in the environment.", err=True)
    if wishes.get("has_front"):
        file = Path(place).absolute()
        run_bench(Bench(source=file.parent, entry=f"photon:{file.name}", port=port, is_reloading=False))
        return
    url = archive.read_metadata(place).get(config.METADATA_VCS_URL_KEY)
    if url:
        os.chdir(fetch_code_from_vcs(url))
    models.load(place).launch(port=find_available_port(port))


if __name__ == "__main__":
    sys.exit(lep())
