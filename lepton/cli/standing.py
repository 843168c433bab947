"""Options of every command that submits work: in which queue it waits, and how urgent it is."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lepton.cli import complete
from lepton.cli.kinds import Name
from lepton.jobs.priority import PRIORITIES, USUAL
from lepton.pool.quota import DEFAULT

F = TypeVar("F", bound=Callable[..., Any])


def standing(command: F) -> F:
    """Give a command `--queue` and `--priority`."""
    queue = click.option(
        "--queue",
        type=Name(),
        default=DEFAULT,
        show_default=True,
        shell_complete=complete.queues,
        help="Where it waits; see: lepton pool queues",
    )
    priority = click.option(
        "--priority", type=click.Choice(PRIORITIES), default=USUAL, show_default=True, help="Who goes first."
    )
    return queue(priority(command))
