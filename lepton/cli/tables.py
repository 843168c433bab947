"""Tables and cards: in colour and as wide as the terminal there, tab-separated lines elsewhere."""

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from lepton.cli.ending import printable

GAP = 2
COLOURS = {"done": "green", "ready": "green", "up": "green", "failed": "red", "firing": "red", "running": "blue"}
SHRINK = {
    "facts": 12,
    "cause": 16,
    "to add it": 24,
    "detail": 24,
    "doing": 10,
    "created": 10,
    "at": 10,
    "made": 10,
    "name": 14,
    "version": 18,
}
"""Columns that become narrower on a narrow terminal, in this order, and how narrow each may be."""
DROP = ("facts", "sha256", "report", "model", "replicas", "workers", "stage", "doing", "made", "created", "at")
"""Columns that a narrower terminal goes without, in this order. Ids are never broken: people copy them."""


def fit(natural: Mapping[str, int], width: int, *, empty: Collection[str] = ()) -> dict[str, int]:
    """Column -> width, so that the table takes at most `width` characters if that can be.

    Args:
        empty: columns without any text: the first to go.
    """
    kept = {name: size for name, size in natural.items() if name not in empty or not _over(natural, width)}
    widths = _shrunk(kept, width)
    for name in DROP:
        if not _over(widths, width):
            break
        kept.pop(name, None)
        widths = _shrunk(kept, width)
    return widths


def _shrunk(natural: Mapping[str, int], width: int) -> dict[str, int]:
    widths = dict(natural)
    for name, least in SHRINK.items():
        if name in widths:
            widths[name] -= max(0, min(_over(widths, width), widths[name] - least))
    return widths


def _over(widths: Mapping[str, int], width: int) -> int:
    """How many characters too many they take."""
    return max(0, sum(widths.values()) + GAP * (len(widths) - 1) - width)


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """A table on a terminal; tab-separated lines elsewhere, so that `cut` and `awk` work."""
    if not sys.stdout.isatty():
        for cells in (list(rows[0]), *(row.values() for row in rows)):
            click.echo("\t".join(one_line(cell) for cell in cells))
        return
    console = import_module("rich.console").Console()
    natural = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    empty = [name for name in rows[0] if not any(row[name] for row in rows)]
    widths = fit(natural, console.width, empty=empty)
    if _over(widths, console.width):  # too narrow for any table
        for row in rows:
            print_card({name: text for name, text in row.items() if text})
            click.echo()
        return
    table = import_module("rich.table").Table(
        box=import_module("rich.box").SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0)
    )
    for name, width in widths.items():
        is_cut = name == "facts"
        table.add_column(name, width=width, no_wrap=is_cut, overflow="ellipsis" if is_cut else "fold")
    for row in rows:
        table.add_row(*(styled(name, row[name]) for name in widths))
    console.print(table)


def print_card(facts: Mapping[str, str]) -> None:
    """Names and texts in two columns on a terminal; `name<tab>text` lines elsewhere."""
    if not sys.stdout.isatty():
        for name, text in facts.items():
            click.echo(f"{name}\t{one_line(text)}")
        return
    grid = import_module("rich.table").Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for name, text in facts.items():
        grid.add_row(name, styled(name, text))
    import_module("rich.console").Console().print(grid)


def terminal_width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def one_line(text: str) -> str:
    """The text without tabs, line breaks and other control characters."""
    return printable(" ".join(text.splitlines()).replace("\t", " "))


def styled(name: str, text: str) -> Any:
    """A cell with its colour; nothing in it is read as markup."""
    return import_module("rich.text").Text(printable(text), style=COLOURS.get(text, "") if name == "state" else "")
