"""How a command ends when something is wrong: what it prints, and its exit code."""

import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

import click

from lepton.core.errors import (
    ForbiddenError,
    InvalidError,
    JobFailedError,
    LeptonError,
    NotFoundError,
    UnauthenticatedError,
    UnreachableError,
)

EXIT_CODES: tuple[tuple[type[LeptonError], int], ...] = (
    (JobFailedError, 1),
    (InvalidError, 2),
    (NotFoundError, 3),
    (UnauthenticatedError, 4),
    (ForbiddenError, 4),
    (UnreachableError, 5),
)
"""Error -> how the command ends; any other error ends with 1."""


LONGEST = 1500
"""Characters of an error that are printed; what a user typed may be far longer."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
API_WORDS = re.compile(r"^(?:path\.|query\.)?([A-Za-z_]+)((?:\.[^:\s]+)?: )")

MISSING = re.compile(r"There is no (\w+) ")
LISTS = {
    "alert": "lepton observe alerts",
    "endpoint": "lepton serve list",
    "job": "lepton jobs list",
    "node": "lepton pool nodes",
    "queue": "lepton pool queues list",
    "quota": "lepton pool quota list",
    "secret": "lepton secrets list",
    "user": "lepton users list",
    "version": "lepton catalog list",
    "workspace": "lepton workspaces list",
}
"""What is missing -> the command that shows what there is."""


def usage_error(fault: click.ClickException) -> InvalidError:
    """A wrong call as an error: what is wrong with it, and which help tells more."""
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    path = context.command_path if context is not None else "lepton"
    fix = f"{path} --help"
    if isinstance(fault, click.NoSuchOption) and path == "lepton jobs submit":
        fix = f"Write the command after `--`, as in {path} -- python train.py --epochs 3; else {fix}"
    return InvalidError(shorten(fault.format_message()), fix=fix)


def explain_usage(fault: click.ClickException, *, is_json: bool) -> int:
    """Print what is wrong with a call, or the help of a group that was called alone; return the exit code."""
    if type(fault).__name__ == "NoArgsIsHelpError":  # click 8.1 has none
        fault.show()
    elif is_json:
        explain_as_json(usage_error(fault))
    else:
        explain(usage_error(fault))
    return fault.exit_code


def in_words_of(command: click.Context, fault: LeptonError) -> LeptonError:
    """The server's error as a user of this command should read it: options instead of fields of a request."""
    missing = MISSING.match(fault.message)
    if isinstance(fault, NotFoundError) and missing and missing[1] in LISTS:
        return type(fault)(fault.message, fix=LISTS[missing[1]])
    if "openapi.json" not in fault.fix:
        return fault
    flags = option_names(command.command)
    message = API_WORDS.sub(lambda found: f"{flags.get(found[1], found[1])}{found[2]}", fault.message)
    return type(fault)(message, fix=f"{command.command_path} --help")


def option_names(command: click.Command) -> Mapping[str, str]:
    """Field of a request -> what the command calls it."""
    found: dict[str, str] = {}
    for parameter in command.params:
        flag = parameter.opts[0] if isinstance(parameter, click.Option) else (parameter.name or "").upper()
        found |= {name: flag for name in (parameter.name, flag.strip("-").replace("-", "_")) if name}
    return found | ({"memory_bytes": "--memory", "secrets": "--secret"} if "memory" in found else {})


def shorten(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text)} characters)"


def printable(text: str) -> str:
    """The text without control characters, save line breaks and tabs: what a job said must not steer a terminal."""
    return CONTROL.sub("", text)


def exit_code(fault: LeptonError) -> int:
    """How a command ends that met this error."""
    return next((code for kind, code in EXIT_CODES if isinstance(fault, kind)), 1)


def explain(fault: LeptonError) -> int:
    """Print an error for a person; return the exit code."""
    plain = False if os.environ.get("NO_COLOR") else None
    click.secho(f"error: {printable(shorten(fault.message))}", fg="red", err=True, color=plain)
    if fault.fix:
        click.echo(f"  try: {printable(shorten(fault.fix))}", err=True)
    return exit_code(fault)


def reader_gone() -> NoReturn:
    """End quietly: whoever reads the output, e.g. `head`, has had enough."""
    forget_output()
    sys.exit(128 + signal.SIGPIPE)


def forget_output() -> None:
    """Let what is still buffered for standard output go nowhere."""
    with suppress(OSError):  # a test's has no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explain_as_json(fault: LeptonError) -> int:
    """Print an error as `{code, message, fix}`; return the exit code."""
    click.echo(json.dumps(fault.to_json()), err=True)
    return exit_code(fault)
