"""`lepton vault storage`: where the platform's content lies, and its move to another storage."""

from pathlib import Path

import click

from lepton.cli.moving import moving
from lepton.cli.output import Session, with_json
from lepton.cli.server import data_option
from lepton.cli.storages import opened, storage_at
from lepton.core.errors import InvalidError
from lepton.core.size import format_bytes, number_of
from lepton.server import ownership
from lepton.server.house import House, Use
from lepton.server.relocation import move
from lepton.store.vault import packs_present
from lepton.vault.backup.target import size_of


@click.command()
@click.option("--move-to", "url", default="", help="Copy all content there, and keep it there from now on.")
@click.option("--claim", "claims", is_flag=True, help="Go on with it although another copy of this database used it.")
@data_option
@with_json
def storage(url: str, claims: bool, data: Path | None, is_json: bool) -> None:
    """Say where the content of the vault lies; or move it, beside a running server or without one.

    A server that runs while content is moved serves what there was, and must be started again to store more. What lies
    in the old place is left there. Credentials are those of a storage (LEPTON_STORAGE_SECRET, ...), sealed and kept.

    With --claim the storage is this database's, and the other copy is never to be started on it again: what only that
    one knows is kept for 30 days, and what only this one knows was perhaps removed: lepton vault verify says so.
    """
    session = Session(is_json)
    if url and claims:
        raise InvalidError("Only one of --move-to and --claim can be", fix="A storage that is moved to is claimed.")
    with opened(data, use=Use.WRITES if url or claims else Use.READS) as house:
        if claims:
            _claim(session, house)
            return
        if not url:
            packs = house.database.read(packs_present)
            size = size_of(packs)
            count, address = sum(map(len, packs.values())), str(house.storage.address)
            told = {"storage": address, "id": house.storage.id, "packs": count, "size_bytes": size}
            held = number_of(count, "pack")
            session.say(f"Content lies at {address}: {held}, {format_bytes(size)}.", told)
            return
        old, new = house.storage, storage_at(url, house.folder)
        with moving("copying") as moved:
            copied = move(house, old, new, progress=moved)
        left = ownership.moved(house.database, house.root, new)
    size_moved = f"{number_of(copied.packs, 'pack')}, {format_bytes(copied.size_bytes)}"
    said = f"Content lies at {new} from now on; copied: {size_moved}"
    moved_on = {"storage": str(new), "packs": copied.packs, "size_bytes": copied.size_bytes}
    over = f"what lies at {old.address} is not needed any more" if not left else f"what lies there is left: {left}"
    session.say(f"{said}. Start the server again; {over}.", moved_on)


def _claim(session: Session, house: House) -> None:
    address = str(house.storage.address)
    owner = ownership.Ownership(house.database, house.storage)
    before, is_taken = owner.standing(), owner.claim()
    house.tell("storage claimed", f"{address}; {before}")
    session.say(f"{address} is this database's; {before}.", {"storage": address, "was_taken": is_taken})
