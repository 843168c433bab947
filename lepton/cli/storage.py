"""`lepton vault storage`: where the platform's content lies, and its move to another storage."""

from pathlib import Path

import click

from lepton.cli.moving import moving
from lepton.cli.output import Session, with_json
from lepton.cli.server import data_option
from lepton.cli.storages import opened, storage_at
from lepton.core.size import format_bytes
from lepton.server import storage as storages
from lepton.store.vault import packs_present


@click.command()
@click.option("--move-to", "url", default="", help="Copy all content there, and keep it there from now on.")
@data_option
@with_json
def storage(url: str, data: Path | None, is_json: bool) -> None:
    """Say where the content of the vault lies; or move it, beside a running server or without one.

    A server that runs while content is moved serves what there was, and must be started again to store more. What lies
    in the old place is left there. Credentials are those of a storage (LEPTON_STORAGE_SECRET, ...), sealed and kept.
    """
    session = Session(is_json)
    with opened(data) as house:
        if not url:
            packs = house.database.read(packs_present)
            size = sum(size for found in packs.values() for _, size in found)
            count, address = sum(map(len, packs.values())), str(house.storage.address)
            told = {"storage": address, "id": house.storage.id, "packs": count, "size_bytes": size}
            session.say(f"{count} packs, {format_bytes(size)}, lie at {address}.", told)
            return
        old, new = house.storage, storage_at(url, house.folder)
        with moving("copying") as moved:
            copied = storages.move(house, old, new, progress=moved)
    said = f"Content lies at {new} from now on; {copied.packs} packs, {format_bytes(copied.size_bytes)}, were copied"
    moved_on = {"storage": str(new), "packs": copied.packs, "size_bytes": copied.size_bytes}
    session.say(f"{said}. Start the server again; what lies at {old.address} is not needed any more.", moved_on)
