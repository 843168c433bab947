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
    return _queue(DEFAULT)(_priority(USUAL)(command))


def maybe_standing(command: F) -> F:
    """Give a command `--queue` and `--priority`, each None unless given."""
    return _queue(None)(_priority(None)(command))


def _queue(usual: str | None) -> Callable[[F], F]:
    return click.option(
        "--queue",
        type=Name(),
        default=usual,
        show_default=DEFAULT if usual is None else True,
        shell_complete=complete.queues,
        help="Where it waits; see: lepton pool queues",
    )


def _priority(usual: str | None) -> Callable[[F], F]:
    return click.option(
        "--priority",
        type=click.Choice(PRIORITIES),
        default=usual,
        show_default=USUAL if usual is None else True,
        help="Who goes first.",
    )
