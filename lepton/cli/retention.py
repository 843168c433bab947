"""`lepton vault retention`: which versions of a workspace's files are kept. And the options that say what is kept."""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, TypeVar

import click

from lepton.cli.output import Session, moment, with_json
from lepton.cli.places import DIGITS, opened, place_argument
from lepton.core.errors import InvalidError
from lepton.core.size import number_of
from lepton.sdk.place import VaultPath
from lepton.vault.backup.retention import Keep

F = TypeVar("F", bound=Callable[..., Any])
MOST_SHOWN = 20


def keep_options(things: str) -> Callable[[F], F]:
    """Give a command `--keep-last` ... `--keep-yearly`, which say how many of the things stay."""

    def give(command: F) -> F:
        for each in reversed(fields(Keep)):
            what = f"newest {things}" if each.name == "last" else f"{each.name} {things}"
            command = click.option(
                f"--keep-{each.name}",
                type=click.IntRange(min=0),
                default=0,
                show_default=False,
                help=f"How many {what} stay.",
            )(command)
        return command

    return give


def keep_of(options: dict[str, int]) -> Keep:
    """What these options say."""
    return Keep(**{name.removeprefix("keep_"): count for name, count in options.items()})


@click.command()
@place_argument
@keep_options("versions of each branch")
@click.option("--keep-all", "is_all", is_flag=True, help="All versions stay, as at first.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what the rule would let go of.")
@with_json
def retention(place: VaultPath, is_all: bool, is_dry: bool, is_json: bool, **options: int) -> None:
    """Say which versions of a workspace's files are kept, or (its administrators) set it. Carried out once a day.

    Always kept: where branches and tags stand, where they stood within a day, and what merges need. Who made a version,
    when and why stays in the log for ever.
    """
    keep = keep_of(options)
    if is_all and keep:
        raise InvalidError("--keep-all stands beside what is kept", fix="Say one of them.")
    if is_dry and not (keep or is_all):
        raise InvalidError(
            "It is not said which rule is tried", fix="--keep-daily 7, ...; without --dry-run: the present one."
        )
    with opened(place) as vault:
        found = vault.set_retention(asdict(keep), dry_run=is_dry) if keep or is_all else vault.retention()
    session = Session(is_json)
    if is_json:
        session.json(found)
        return
    rule = str(Keep(**found["keep"])) or "all versions"
    would = "would be" if is_dry else "are"
    versions = number_of(found["let_go"], "version")
    session.say(f"{place.workspace}: kept {would} {rule}; {versions} {would} let go of at the next turn.", found)
    rows = [
        {"version": each["version"][:DIGITS], "branch": each["branch"], "made": moment(each["at"])}
        for each in found["versions"][:MOST_SHOWN]
    ]
    if rows:
        session.table(rows, rows)
