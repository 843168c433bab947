"""`lepton vault repair`: what is damaged in one place, whole again from another."""

from pathlib import Path
from typing import Any

import click

from lepton.cli.moving import moving
from lepton.cli.output import Session, with_json
from lepton.cli.server import data_option
from lepton.cli.storages import (
    CLOCK,
    MOST_SHOWN,
    key_option,
    manifest_at,
    number_option,
    opened,
    target_at,
)
from lepton.core.errors import IntegrityError, InvalidError
from lepton.server.mending import mend_backups, mend_house
from lepton.vault.backup.mending import Mended


@click.command()
@click.option("--at", "url", default="", help="Where the damaged backups are; left out: the vault itself is damaged.")
@click.option(
    "--from", "sources", multiple=True, help="Where copies are; left out with --at: the vault. May be repeated."
)
@click.option("--new", "is_new", is_flag=True, help="The vault's storage may be empty: all of it was lost.")
@key_option
@number_option
@data_option
@with_json
def repair(
    url: str,
    sources: tuple[str, ...],
    is_new: bool,
    data: Path | None,
    is_json: bool,
    **manifest: Any,
) -> None:
    """Read every byte, and take what is damaged from another copy. Exit code 1 where something stays damaged."""
    if not url and not sources:
        raise InvalidError("It is not said where copies are", fix="--from URL: a place with backups.")
    drivers = [target_at(source).driver for source in sources]
    with moving("repairing") as moved:
        if not url:
            with opened(data, is_new=is_new) as house:
                mended = mend_house(house, drivers, progress=moved)
        else:
            target = target_at(url)
            numbers = [manifest["number"]] if manifest["number"] else target.numbers()[::-1]
            manifests = {each: manifest_at(target, manifest["key_file"], data, each) for each in numbers}
            if sources:
                mended = mend_backups(target, numbers, manifests.__getitem__, drivers, CLOCK, progress=moved)
            else:
                with opened(data) as house:
                    mended = mend_backups(target, numbers, manifests.__getitem__, [house.driver], CLOCK, progress=moved)
    _tell(mended, is_json)


def _tell(mended: Mended, is_json: bool) -> None:
    told = {name: getattr(mended, name) for name in mended.__slots__}
    session = Session(is_json)
    again = f"{len(mended.whole_again)} of {mended.packs} packs were damaged and are whole again"
    if not mended.damaged:
        session.say(f"{again}. Nothing is damaged.", told)
        return
    if is_json:
        session.json(told)
    packs = "; ".join(f"{path}: {fault}" for path, fault in list(mended.damaged.items())[:MOST_SHOWN])
    raise IntegrityError(
        f"{again}; {len(mended.damaged)} are damaged still ({packs})",
        fix="Try another copy; lepton vault verify names what cannot be read.",
    )
