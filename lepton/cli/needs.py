"""Options of what a replica of an endpoint, and a request, may use, as `serve deploy` and `serve run` have them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lepton.cli.kinds import Number, Size

F = TypeVar("F", bound=Callable[..., Any])


class Milli(Number):
    """A number of devices, or of seconds, in thousandths."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The thousandths.

        Raises:
            click.BadParameter: it is no number, or outside.
        """
        return round(super().convert(value, param, ctx) * 1000)


def needs(command: F) -> F:
    """Give a command these, each None or empty unless given."""
    for option in (
        click.option(
            "--max-batch",
            type=Number(1, 1024, is_whole=True),
            default=None,
            help="Requests computed together; 1: each alone.  [default: 32]",
        ),
        click.option(
            "--max-body", "max_body_bytes", type=Size(), default=None, help="Largest request: 64M.  [default: 8M]"
        ),
        click.option(
            "--deadline",
            "deadline_ms",
            type=Milli(0.01, 600),
            default=None,
            help="Seconds for one request.  [default: 30]",
        ),
        click.option(
            "--preload", multiple=True, metavar="MODULE", help="What every replica imports anyway; several times."
        ),
        click.option(
            "--memory", "worker_memory_bytes", type=Size(), default=None, help="Most that each replica may use: 2G."
        ),
        click.option("--gpus", "worker_gpu_milli", type=Milli(0, 64), default=None, help="GPUs of each replica."),
        click.option("--cpus", "worker_cpu_milli", type=Milli(0.05, 256), default=None, help="CPUs of each replica."),
        click.option(
            "--replicas",
            type=Number(1, 64, is_whole=True),
            default=None,
            help="Worker processes; these five else as the class says.  [default: 1]",
        ),
    ):
        command = option(command)
    return command
