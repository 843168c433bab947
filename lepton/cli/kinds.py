"""What an option may be: each kind says in plain words what was wrong and what is wanted."""

import os
from math import inf
from typing import TYPE_CHECKING, Any

import click

from lepton.catalog.reference import parse
from lepton.core.errors import BadNameError, LeptonError
from lepton.core.ids import check_name, is_id
from lepton.core.size import read_size

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # click 8.1 cannot say what a kind makes of a text


class Number(ParamType):
    """A number between two others.

    Args:
        low, high: the least and the most it may be.
        is_whole: 1.5 is refused.
        is_above: it must be more than `low`.
        unit: what it counts, e.g. `seconds`; for the message.
    """

    def __init__(
        self, low: float, high: float = inf, *, is_whole: bool = False, is_above: bool = False, unit: str = ""
    ) -> None:
        self.name = "integer" if is_whole else "number"
        self._low, self._high = low, high
        self._is_whole, self._is_above, self._unit = is_whole, is_above, unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or outside.
        """
        try:
            number = int(value) if self._is_whole else float(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not {self.wanted}.", param, ctx)
        is_high_enough = number > self._low if self._is_above else number >= self._low
        if not (is_high_enough and number <= self._high and number != inf):
            self.fail(f"{value!r} is not {self.wanted}.", param, ctx)
        return number

    @property
    def wanted(self) -> str:
        """What it must be, in words: `a whole number from 1 to 4096`."""
        what = ("a whole number" if self._is_whole else "a number") + (f" of {self._unit}" if self._unit else "")
        if self._is_above:
            what += f" above {plain(self._low)}"
            return what if self._high == inf else f"{what}, up to {plain(self._high)}"
        return f"{what} from {plain(self._low)}" + ("" if self._high == inf else f" to {plain(self._high)}")


def plain(number: float) -> str:
    """A number without an exponent: `0.5`, `4096`."""
    return f"{number:.0f}" if number == int(number) else f"{number:g}"


class Size(ParamType):
    """Bytes, as `512M`, `4G`, `1.5GiB` (powers of 1024) or a plain number."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes.

        Raises:
            click.BadParameter: it is no size.
        """
        try:
            return read_size(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a size; write e.g. 512M or 4G.", param, ctx)


class Name(ParamType):
    """What a thing may be called."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name.

        Raises:
            click.BadParameter: nothing can be called so.
        """
        try:
            return check_name(str(value))
        except BadNameError as fault:
            self.fail(f"{str(value)[:80]!r} cannot be a name. {fault.fix}", param, ctx)


class Ref(ParamType):
    """Which version: an id, NAME or NAME@NUMBER."""

    name = "ref"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text as it is.

        Raises:
            click.BadParameter: it names nothing.
        """
        try:
            parse(str(value))
        except LeptonError:
            self.fail(f"{str(value)[:80]!r} names no version; write an id, NAME or NAME@NUMBER.", param, ctx)
        return str(value)


class Folder(ParamType):
    """A folder on the node, by its whole path; one that is given from here is meant to be the same there."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The absolute path."""
        return os.path.abspath(value) if value else ""


class Id(ParamType):
    """The id that the platform gave a thing."""

    name = "id"

    def __init__(self, what: str, shown_by: str) -> None:
        self._what, self._shown_by = what, shown_by

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id.

        Raises:
            click.BadParameter: no id looks so.
        """
        if not is_id(str(value)):
            self.fail(f"{str(value)[:80]!r} is not the id of {self._what}; `{self._shown_by}` shows ids.", param, ctx)
        return str(value)


class Pair(ParamType):
    """`K=V`.

    Args:
        example: one that is right, for the message.
        is_variable: K must be what an environment variable may be called.
    """

    name = "pair"

    def __init__(self, example: str, *, is_variable: bool = False) -> None:
        self._example = example
        self._is_variable = is_variable

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Both sides of the first equals sign.

        Raises:
            click.BadParameter: one is missing or cannot be.
        """
        if isinstance(value, tuple):
            return value
        key, equals, rest = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{str(value)[:80]!r} is not NAME=VALUE; write e.g. {self._example}.", param, ctx)
        if self._is_variable and not (key.isascii() and key.isidentifier() and len(key) <= 128):
            self.fail(f"{key[:80]!r} cannot be a variable; use letters, digits and _, no digit first.", param, ctx)
        return key, rest


COUNT = Number(1, 1000, is_whole=True)
"""How many of a list."""
SECONDS = Number(0, 1e8, unit="seconds")
GRACE = Number(0, 3600, unit="seconds")
PORT = Number(0, 65_535, is_whole=True)
RANK = Number(0, 4095, is_whole=True)
SEED = Number(0, 2**62, is_whole=True)
JOB_STATES = click.Choice(["queued", "placed", "running", "stopping", "done", "failed", "cancelled"])
ENDPOINT_STATES = click.Choice(["starting", "ready", "failed", "stopping", "deleted"])
ALERT_STATES = click.Choice(["firing", "resolved"])
KINDS = click.Choice(["raw", "dataset", "report", "model", "checkpoint", "code", "result", "capture"])
