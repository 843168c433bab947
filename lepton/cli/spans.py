"""A span of time on the command line: `30m`, `6h`, `1d`, `12w`."""

import re
from typing import Any

import click

from lepton.cli.kinds import ParamType

UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
SPAN = re.compile(r"([1-9][0-9]{0,5})([mhdw])")


class Rhythm(ParamType):
    """A span in whole minutes, hours, days or weeks.

    Args:
        least: no shorter one is taken.
    """

    name = "time"

    def __init__(self, *, least: str = "5m") -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds.

        Raises:
            click.BadParameter: it is none.
        """
        if isinstance(value, int):
            return value
        seconds = _read(str(value))
        if seconds < _read(self._least):
            self.fail(f"{str(value)[:40]!r} is not a time of {self._least} or more, as 30m, 6h, 1d or 1w.", param, ctx)
        return seconds


def _read(text: str) -> int:
    """Seconds; 0: it is none."""
    found = SPAN.fullmatch(text)
    return int(found[1]) * UNITS[found[2]] if found else 0
