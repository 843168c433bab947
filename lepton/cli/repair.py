"""`lepton vault repair`: what is damaged in one place, whole again from another."""

from contextlib import ExitStack
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
    number_option,
    opened,
    read_key_file,
    target_at,
)
from lepton.core.errors import IntegrityError, InvalidError
from lepton.core.size import number_of
from lepton.server.mending import Elsewhere, mend_backups, mend_house
from lepton.server.opening import open_manifest
from lepton.store import targets
from lepton.vault.backup.mending import Mended

OF_BACKUPS = (
    "Try another copy with --from. What no copy has stays damaged in these backups: lepton vault backup makes one of "
    "all that is whole, the database too; lepton vault forget --at URL --backup N lets a damaged one go."
)
OF_VAULT = (
    "Try another copy with --from. What no copy has is lost: lepton vault verify says of which files, and who sends "
    "those again makes them whole; what is of dumps of the database the next backup makes again."
)


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
    with moving("repairing") as moved, ExitStack() as stack:
        if not url:
            house = stack.enter_context(opened(data, is_new=is_new))
            mended = mend_house(house, drivers, progress=moved)
        else:
            key_file, target = manifest["key_file"], target_at(url)
            is_ours = not (sources and key_file)  # else no data directory is needed
            found = stack.enter_context(opened(data)) if is_ours else None
            key, root = read_key_file(key_file) if key_file else None, found.opens_with if found else (b"", b"")
            place = found.database.read(lambda tx: targets.find(tx, target.address)) if found else None
            elsewhere = Elsewhere(
                drivers=drivers or ([found.driver] if found else []),
                rings=[found.vault.ring] if found else [],
                id=place.id if place else "",
            )
            mended = mend_backups(
                target,
                [manifest["number"]] if manifest["number"] else target.numbers()[::-1],
                lambda number: open_manifest(target, key=key, root=root, number=number),
                elsewhere,
                CLOCK,
                progress=moved,
            )
    _tell(mended, url, is_json)


def _tell(mended: Mended, url: str, is_json: bool) -> None:
    told = {name: getattr(mended, name) for name in mended.__slots__}
    session = Session(is_json)
    again = f"{len(mended.whole_again)} of {number_of(mended.packs, 'pack')} were damaged and are whole again"
    if not mended.damaged:
        session.say(f"{again}. Nothing is damaged.", told)
        return
    if is_json:
        session.json(told)
    packs = "; ".join(f"{path}: {fault}" for path, fault in list(mended.damaged.items())[:MOST_SHOWN])
    raise IntegrityError(
        f"{again}; {len(mended.damaged)} are damaged still ({packs})",
        fix=OF_BACKUPS if url else OF_VAULT,
    )
