"""The command `lepton`: groups that are imported only when used, and one way to end."""

import logging
import sys
from importlib import import_module

import click

from lepton.cli.ending import explain, explain_usage, reader_gone
from lepton.cli.group import Group
from lepton.core import __version__
from lepton.core.errors import LeptonError

LOUD = ("paramiko", "smbprotocol")
"""Libraries that log connections that are cut, also with a traceback: that is for a log, where there is one."""
COMMANDS = {
    "walk": ("lepton.cli.walk:walk", "Take real data from raw file to a served, watched model, on this machine."),
    "up": ("lepton.cli.server:up", "Start the platform on this machine."),
    "down": ("lepton.cli.server:down", "Stop the server; jobs go on running."),
    "status": ("lepton.cli.server:status", "Say what runs where."),
    "doctor": ("lepton.cli.doctor:doctor", "Say what this machine has, what is missing, and how to add it."),
    "jobs": ("lepton.cli.jobs:jobs", "Submit, follow, stop and explain jobs."),
    "data": ("lepton.cli.data:data", "Station 1: bring data in and clean it."),
    "train": ("lepton.cli.stages:train", "Station 2: train a model on a dataset."),
    "optimize": ("lepton.cli.stages:optimize", "Station 3: make a model faster and no worse."),
    "serve": ("lepton.cli.serve:serve", "Station 4: deploy models as endpoints, and call them."),
    "observe": ("lepton.cli.observe:observe", "Station 5: check endpoints for drift; see alerts."),
    "catalog": ("lepton.cli.catalog:catalog", "What exists, and what it was made from."),
    "pool": ("lepton.cli.pool:pool", "The machines, what of them is free, and who may have how much."),
    "vault": ("lepton.cli.vaults:vault", "Files of workspaces and their versions; backups of the platform."),
    "secrets": ("lepton.cli.people:secrets", "Values that jobs may use and nobody can read back."),
    "workspaces": ("lepton.cli.people:workspaces", "Tenants and their members."),
    "users": ("lepton.cli.people:users", "People and their tokens."),
    "tokens": ("lepton.cli.tokens:tokens", "Signed tokens (JWT) for endpoints."),
}
"""Command -> (where it is, help)."""


class LazyGroup(Group):
    """A group whose commands are imported when they are used; help comes from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table: the walk first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lepton")
def cli() -> None:
    """The AI cloud you own: submit a job, get a result, on the machines you have.

    Every command takes --json. Exit codes: 0 done, 1 the work failed or was refused, 2 the call was wrong, 3 not found,
    4 not allowed, 5 no server. Shell completion: eval "$(_LEPTON_COMPLETE=bash_source lepton)".
    """


def main() -> None:
    """Run the command line; an error ends it with what happened, what to do, and its exit code."""
    for library in LOUD:
        logging.getLogger(library).addHandler(logging.NullHandler())
    try:
        cli(prog_name="lepton", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as fault:
        sys.exit(explain_usage(fault, is_json="--json" in sys.argv))
    except LeptonError as fault:
        sys.exit(explain(fault))
    except BrokenPipeError:
        reader_gone()


if __name__ == "__main__":
    main()
