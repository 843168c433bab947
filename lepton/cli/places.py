"""Addresses in the vault as arguments of commands, and what goes with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from lepton.cli.kinds import ParamType, Size
from lepton.core.clock import read_moment, to_micros
from lepton.core.errors import InvalidError
from lepton.sdk.client import connect
from lepton.sdk.place import VaultPath, parse
from lepton.sdk.vault import Vault

ADDRESS = "lepton://WORKSPACE/PATH"
DIGITS = 16
"""Of a version's id, in tables."""


class Place(ParamType):
    """An address in the vault."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VaultPath:
        """Read one."""
        if isinstance(value, VaultPath):
            return value
        try:
            return parse(value)
        except InvalidError as fault:
            self.fail(f"{fault}. {fault.fix}", param, ctx)


class When(ParamType):
    """A time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read ISO 8601; without a zone it is UTC."""
        if isinstance(value, int):
            return value
        try:
            return to_micros(read_moment(value))
        except ValueError:
            self.fail(f"{value[:80]!r} is no time; write 2026-01-31T09:30, in UTC or with a zone.", param, ctx)


class Limit(ParamType):
    """A size, or `none`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Bytes, or `none`."""
        return value if value == "none" else int(Size().convert(value, param, ctx))


place_argument = click.argument("place", metavar=ADDRESS, type=Place())
at_option = click.option(
    "--at", type=When(), default=None, help="As the branch stood at this time, e.g. 2026-01-31T09:30."
)
message_option = click.option("-m", "--message", default="", help="Why, for the log.")
recursive_option = click.option("-r", "--recursive", is_flag=True, help="A folder with all that lies in it.")


@contextmanager
def opened(place: VaultPath) -> Iterator[Vault]:
    """The files of the workspace that an address names."""
    with connect(workspace=place.workspace) as client:
        yield client.vault
