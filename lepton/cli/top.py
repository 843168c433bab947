"""`lepton pool top`: what is held, who waits, which nodes are there and what was decided last, kept up to date."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from threading import Event
from typing import Any

import click

from lepton.cli.amounts import GIB, WORDS, short, spent
from lepton.cli.kinds import Number
from lepton.cli.output import Session, common
from lepton.cli.tables import one_line, styled
from lepton.pool.policy import Way, words

EVERY = Number(0.1, 3600, unit="seconds")
BAR = 24
"""Characters of a full bar."""
Pool = Mapping[str, Any]
Rows = list[dict[str, str]]


@click.command()
@click.option("--once", "is_once", is_flag=True, help="Print it once; so it is where nobody watches, e.g. in a pipe.")
@click.option("--every", "every_s", type=EVERY, default=1, show_default=True, help="Seconds between two looks.")
@common
def top(session: Session, is_once: bool, every_s: float) -> None:
    """Watch the pool: devices, queues, nodes and the last decisions. Ctrl-C ends it."""
    if session.is_json:
        session.json(session.client.pool.look())
    elif is_once or not sys.stdout.isatty():
        print_plain(session.client.pool.look())
    else:
        watch(session.client.pool.look, import_module("rich.console").Console(), lambda: Event().wait(every_s))


def sections(pool: Pool) -> Iterator[tuple[str, Rows]]:
    """Title and rows of each part of the picture."""
    nodes = ", ".join(f"{count} {state}" for state, count in pool["nodes"].items()) or "none"
    jobs = ", ".join(f"{count} {state}" for state, count in pool["jobs"].items()) or "none"
    yield f"nodes: {nodes}; jobs: {jobs}", [device_row(name, use) for name, use in pool["devices"].items()]
    yield "queues", [queue_row(queue, depth) for queue, depth in in_tree(pool["queues"])]
    if pool["quotas"]:
        yield "quotas", [{"of": q["name"], **_held(q)} for q in pool["quotas"]]
    yield f"last decisions ({way_words(pool['way'])})", [decision_row(event) for event in pool["decisions"]]


def way_words(way: Mapping[str, Any]) -> str:
    """Which way of deciding pays, and how that is known."""
    goes = words(Way(stops=way["stops"], adapts=way["adapts"]))
    if way["since"] is None:
        return f"{goes}; a rule of thumb until {way['next_after']:,} jobs have ended"
    return f"{goes}; tried after {way['tried_after']:,} endings, again after {way['next_after']:,}"


def device_row(name: str, use: Mapping[str, int]) -> dict[str, str]:
    """How much of a device is held; what has failed is not there to be held."""
    unit = GIB if name == "memory_bytes" else 1000
    share = use["held"] / use["up"] if use["up"] else 0.0
    return {
        "device": WORDS.get(name, "memory GiB"),
        "held": f"{use['held'] / unit:,.6g}",
        "of": f"{use['up'] / unit:,.6g}",
        "failed": f"{(use['total'] - use['up']) / unit:,.6g}" if use["total"] > use["up"] else "",
        "share": f"{share:4.0%}",
        "": "#" * round(BAR * min(1.0, share)),
    }


def in_tree(queues: Sequence[Mapping[str, Any]], parent: str = "", depth: int = 0) -> Iterator[tuple[Any, int]]:
    """Each queue after the one above it, with how deep it stands."""
    for queue in queues:
        if queue["spec"]["parent"] == parent:
            yield queue, depth
            yield from in_tree(queues, queue["name"], depth + 1)


def queue_row(queue: Mapping[str, Any], depth: int) -> dict[str, str]:
    """What a queue is entitled to, holds and lets wait."""
    status = queue["status"]
    return {
        "queue": "  " * depth + queue["name"],
        "guarantee": short(queue["spec"]["guarantee"]),
        **_held(queue),
        "jobs": str(status["jobs"]),
        "waiting": str(status["waiting"] or ""),
        "longest wait": spent(status["longest_wait_s"]) if status["waiting"] else "",
    }


def _held(row: Mapping[str, Any]) -> dict[str, str]:
    return {"limit": short(row["spec"]["limit"]), "held": short(row["status"]["held"])}


def decision_row(event: Mapping[str, Any]) -> dict[str, str]:
    """One thing that was decided."""
    return {
        "at": event["at"][11:19],
        "what": event["verb"],
        "of": event["subject"] if event["kind"] == "job" else event["kind"],
        "why": event["why"],
    }


def print_plain(pool: Pool) -> None:
    """The picture as tab-separated lines under titles."""
    for title, rows in sections(pool):
        click.echo(one_line(title))
        for cells in [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []:
            click.echo("\t".join(one_line(cell) for cell in cells))
        click.echo()


def watch(look: Callable[[], Pool], console: Any, pause: Callable[[], object]) -> None:
    """Show the picture on a terminal again and again until Ctrl-C."""
    live = import_module("rich.live").Live(console=console, auto_refresh=False, screen=True)
    with suppress(KeyboardInterrupt), live:
        while True:
            live.update(picture(look(), console.height), refresh=True)
            pause()


def picture(pool: Pool, height: int) -> Any:
    """The picture for a terminal of that many lines: of long parts what comes first, and how much more there is."""
    parts: list[Any] = []
    found = list(sections(pool))
    for (title, rows), lines in zip(
        found, shared([len(rows) for _, rows in found], height - 3 * len(found)), strict=True
    ):
        more = f" ({len(rows) - lines} more: a higher terminal, or --once)" if lines < len(rows) else ""
        parts += [import_module("rich.text").Text(title + more, style="bold"), _table(rows[:lines]), ""]
    return import_module("rich.console").Group(*parts[:-1])


def shared(wanted: Sequence[int], lines: int) -> list[int]:
    """How many lines each part gets: who wants few gets them, the others as many as one another."""
    given = [0] * len(wanted)
    lines = max(0, lines)
    for left, part in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[part] = min(wanted[part], lines // (len(wanted) - left))
        lines -= given[part]
    return given


def _table(rows: Rows) -> Any:
    table = import_module("rich.table").Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    for name in rows[0] if rows else ():
        least = max(len(name), *(len(row[name]) for row in rows)) if name == "queue" else None
        table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=least)
    for row in rows:
        table.add_row(*(styled(name, text) for name, text in row.items()))
    return table
