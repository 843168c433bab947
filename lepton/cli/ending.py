"""How a command ends when something is wrong: what it prints, and its exit code."""

import json

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


def exit_code(fault: LeptonError) -> int:
    """How a command ends that met this error."""
    return next((code for kind, code in EXIT_CODES if isinstance(fault, kind)), 1)


def explain(fault: LeptonError) -> int:
    """Print an error for a person; return the exit code."""
    click.secho(f"error: {fault.message}", fg="red", err=True)
    if fault.fix:
        click.echo(f"  try: {fault.fix}", err=True)
    return exit_code(fault)


def explain_as_json(fault: LeptonError) -> int:
    """Print an error as `{code, message, fix}`; return the exit code."""
    click.echo(json.dumps(fault.to_json()), err=True)
    return exit_code(fault)
