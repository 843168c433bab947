"""What every command shares: its options, its client, and how it prints."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, Protocol, Self, TypeVar

import click

from lepton.cli.ending import explain_as_json, forget_output, in_words_of, printable, reader_gone
from lepton.cli.tables import print_card, print_table
from lepton.core.clock import from_micros
from lepton.core.disk import unwritable
from lepton.core.errors import LeptonError
from lepton.sdk.client import Client, connect

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
    workspace: str = ""
    _client: Client | None = None

    @property
    def client(self) -> Client:
        """The client of the server that is found; made when first used."""
        if self._client is None:
            self._client = connect(workspace=self.workspace)
        return self._client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client's connections; Ctrl-C waits for nothing."""
        if self._client is not None and not isinstance(fault, KeyboardInterrupt):
            self._client.close()

    def one(self, thing: Shown) -> None:
        """Print one thing."""
        self.card(thing.row(), dict(thing.fields))

    def many(self, things: Sequence[Shown], *, hint: str = "") -> None:
        """Print a list; `hint` is what to do when there is nothing."""
        self.table([thing.row() for thing in things], [dict(thing.fields) for thing in things], hint=hint)

    def card(self, facts: Mapping[str, str], raw: Any) -> None:
        """Print the facts of one thing below each other for a person, or `raw` as JSON; empty facts are left out."""
        if self.is_json:
            self.json(raw)
        else:
            print_card({name: text for name, text in facts.items() if text})

    def table(self, rows: Sequence[Mapping[str, str]], raw: Any, *, hint: str = "") -> None:
        """Print rows as a table for a person, or `raw` as JSON."""
        if self.is_json:
            self.json(raw)
        elif rows:
            print_table(rows)
        else:
            click.echo(f"nothing here; {hint}" if hint else "nothing here", err=True)

    def json(self, raw: Any) -> None:
        """Print JSON."""
        click.echo(json.dumps(raw, indent=2, default=str))

    def say(self, text: str, raw: Any) -> None:
        """Print a line for a person, or `raw` as JSON."""
        if self.is_json:
            self.json(raw)
        else:
            click.echo(printable(text))

    def note(self, text: str, **about: str) -> None:
        """Say something beside the result, on standard error: a line for a person, or a JSON object on a line."""
        click.echo(json.dumps({"note": text, **about}) if self.is_json else printable(text), err=True)

    def stream(self, pieces: Iterable[str], about: Mapping[str, Any]) -> None:
        """Print text as it comes: raw for a person, or one JSON object a line with `about` and the line as `text`."""
        for piece in whole_lines(pieces) if self.is_json else pieces:
            sys.stdout.write(json.dumps({**about, "text": piece}) + "\n" if self.is_json else piece)
            sys.stdout.flush()


json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def common(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command `--json` and `--workspace`; it gets a `Session` as its first argument."""

    @click.option(
        "-w",
        "--workspace",
        default="",
        show_default="default",
        help="Whose things; also LEPTON_WORKSPACE.",
    )
    @wraps(command)
    def call(*args: Any, is_json: bool, workspace: str, **kwargs: Any) -> R:
        with Session(is_json, workspace) as session:
            return command(session, *args, **kwargs)

    return with_json(call)


def with_json(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command `--json`, which it gets as `is_json`; an error it raises is JSON then too, on standard error."""

    @json_option
    @wraps(command)
    def call(*args: Any, is_json: bool, **kwargs: Any) -> R:
        try:
            result = command(*args, is_json=is_json, **kwargs)
            sys.stdout.flush()
            return result
        except LeptonError as fault:
            plain = in_words_of(click.get_current_context(), fault)
            if not is_json:
                raise plain from fault
            sys.exit(explain_as_json(plain))
        except BrokenPipeError:
            reader_gone()
        except OSError as fault:
            raise_or_tell(fault, is_json=is_json)

    return call


def raise_or_tell(fault: OSError, *, is_json: bool) -> NoReturn:
    """End with what this machine refused: a file, a folder, or the output itself."""
    if fault.filename is None:
        forget_output()
    told = unwritable(str(fault.filename or "The output"), fault)
    if not is_json:
        raise told from fault
    sys.exit(explain_as_json(told))


def whole_lines(pieces: Iterable[str]) -> Iterable[str]:
    """The lines of a text that comes in pieces, each as soon as it is whole; the last may lack its end."""
    left = ""
    for piece in pieces:
        *lines, left = (left + piece).split("\n")
        yield from (line + "\n" for line in lines)
    if left:
        yield left


def moment(at: object) -> str:
    """A time as people read it, `2026-01-31 09:30:00` in UTC, from ISO text or microseconds since 1970."""
    if isinstance(at, int):
        return str(from_micros(at))[:19]
    return str(at)[:19].replace("T", " ") if at else ""
