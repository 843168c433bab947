"""How things look in Jupyter: tables, cards and sparklines, plain HTML and SVG without scripts."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol, TypeVar, runtime_checkable

W = TypeVar("W")
COLOURS = {"done": "#1a7f37", "ready": "#1a7f37", "failed": "#b42318", "running": "#0b63ce", "firing": "#b42318"}
"""State -> colour; the state is always written too."""
PADDED = "padding:2px 12px 2px 0"
LONG = frozenset({"facts", "cause", "doing", "why"})
"""Columns whose text may take several lines."""


@runtime_checkable
class Listed(Protocol):
    """A thing that can be a row of a table."""

    def row(self) -> Mapping[str, str]:
        """Column -> text."""
        ...


class Table(list[W]):
    """A list that Jupyter shows as a table."""

    def _repr_html_(self) -> str:
        rows = [item.row() for item in self if isinstance(item, Listed)]
        return table(rows) if rows else "<em>nothing yet</em>"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of text as an HTML table, without columns that are empty; everything is escaped."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    head = "".join(f"<th style='text-align:left;{PADDED}'>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(name, row[name]) for name in names)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def card(title: str, facts: Mapping[str, str], *, more: str = "") -> str:
    """One thing as a small table under its name; empty facts are left out.

    Args:
        more: HTML to put below, e.g. a sparkline.
    """
    rows = "".join(
        f"<tr><th style='text-align:left;{PADDED}'>{escape(name)}</th>{_cell(name, text)}</tr>"
        for name, text in facts.items()
        if text
    )
    return f"<div><strong>{escape(title)}</strong><table><tbody>{rows}</tbody></table>{more}</div>"


def _cell(name: str, text: str) -> str:
    colour = COLOURS.get(text, "") if name == "state" else ""
    style = f";color:{colour};font-weight:600" if colour else ""
    wrap = "" if name in LONG else ";white-space:nowrap"
    return f"<td style='text-align:left;{PADDED}{wrap}{style}'>{escape(text)}</td>"


def sparkline(name: str, points: Sequence[tuple[float, float]], *, width: int = 240, height: int = 44) -> str:
    """A small line chart as inline SVG, with the last value beside it.

    Args:
        points: (step, value), by step; none gives an empty text.
    """
    if not points:
        return ""
    steps, values = [step for step, _ in points], [value for _, value in points]
    span_x, span_y = (steps[-1] - steps[0]) or 1, (max(values) - min(values)) or 1
    across = [4 + (step - steps[0]) / span_x * (width - 8) for step in steps]
    down = [height - 4 - (value - min(values)) / span_y * (height - 8) for value in values]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    label = f"{name}: {values[-1]:.4g} (from {min(values):.4g} to {max(values):.4g})"
    return (
        f"<div><svg role='img' aria-label='{escape(label)}' width='{width}' height='{height}' "
        "style='vertical-align:middle'>"
        f"<polyline fill='none' stroke='#0b63ce' stroke-width='1.5' points='{path}'/></svg> "
        f"<span>{escape(label)}</span></div>"
    )
