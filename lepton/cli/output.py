"""What every command shares: its options, its client, and how it prints."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, Protocol, TypeVar

import click

from lepton.sdk.client import DEFAULT_WORKSPACE, Client, connect

P = ParamSpec("P")
R = TypeVar("R")


class Shown(Protocol):
    """A thing of the SDK that can be printed."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """All that the server said: for JSON."""
        ...

    def row(self) -> Mapping[str, str]:
        """Column -> text: for a table."""
        ...


@dataclass(slots=True)
class Session:
    """One run of the command line."""

    is_json: bool = False
    workspace: str = DEFAULT_WORKSPACE
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The client of the server that is found; made when first used."""
        if self._client is None:
            self._client = connect(workspace=self.workspace)
        return self._client

    def one(self, thing: Shown) -> None:
        """Print one thing."""
        self.table([thing.row()], dict(thing.fields))

    def many(self, things: Sequence[Shown]) -> None:
        """Print a list."""
        self.table([thing.row() for thing in things], [dict(thing.fields) for thing in things])

    def table(self, rows: Sequence[Mapping[str, str]], raw: Any) -> None:
        """Print rows as a table for a person, or `raw` as JSON."""
        if self.is_json:
            self.json(raw)
        elif rows:
            print_table(rows)
        else:
            click.echo("nothing yet", err=True)

    def json(self, raw: Any) -> None:
        """Print JSON."""
        click.echo(json.dumps(raw, indent=2, default=str))

    def say(self, text: str, raw: Any) -> None:
        """Print a line for a person, or `raw` as JSON."""
        if self.is_json:
            self.json(raw)
        else:
            click.echo(text)


def common(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command `--json` and `--workspace`; it gets a `Session` as its first argument."""

    @click.option("--json", "is_json", is_flag=True, help="Print JSON.")
    @click.option("-w", "--workspace", default=DEFAULT_WORKSPACE, envvar="LEPTON_WORKSPACE", help="Which tenant.")
    @wraps(command)
    def call(*args: Any, is_json: bool, workspace: str, **kwargs: Any) -> R:
        return command(Session(is_json, workspace), *args, **kwargs)

    return call


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """A table on a terminal; tab-separated lines elsewhere, so that `cut` and `awk` work."""
    if not sys.stdout.isatty():
        click.echo("\t".join(rows[0]))
        for row in rows:
            click.echo("\t".join(row.values()))
        return
    rich_table = import_module("rich.table")
    table = rich_table.Table(box=import_module("rich.box").SIMPLE, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(styled(name, text) for name, text in row.items()))
    import_module("rich.console").Console().print(table)


def styled(name: str, text: str) -> str:
    """A cell with its colour, and nothing in it read as markup."""
    colours = {"done": "green", "ready": "green", "up": "green", "failed": "red", "firing": "red", "running": "blue"}
    escaped = text.replace("[", "\\[")
    colour = colours.get(text, "") if name == "state" else ""
    return f"[{colour}]{escaped}[/{colour}]" if colour else escaped


def pairs(texts: Iterable[str], what: str) -> dict[str, str]:
    """`K=V` texts as a mapping.

    Raises:
        click.BadParameter: one has no `=`.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=what)
        found[name] = value
    return found


def size(text: str) -> int:
    """Bytes of a size like `512M`, `4G`, `1.5GiB` (powers of 1024) or a plain number.

    Raises:
        click.BadParameter: it cannot be read.
    """
    factors = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    plain = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = plain[-1:] if plain[-1:] in "kmgt" else ""
    try:
        amount = float(plain.removesuffix(unit) if unit else plain) * factors[unit]
        if not 0 <= amount < 2**62:
            raise ValueError
        return int(amount)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a size", param_hint="--memory") from None
