"""`lepton vault repair`: what is damaged in one place, whole again from another."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from lepton.cli.moving import moving_on
from lepton.cli.output import Session, with_json
from lepton.cli.server import data_option
from lepton.cli.storages import (
    CLOCK,
    key_option,
    number_option,
    opened,
    read_key_file,
    shown_faults,
    shown_names,
    target_at,
)
from lepton.core.errors import IntegrityError
from lepton.core.size import number_of
from lepton.server.claims import Claim
from lepton.server.house import House
from lepton.server.mending import Elsewhere, check_platform, mend_backups, mend_house
from lepton.server.opening import open_manifest
from lepton.store import targets
from lepton.vault.backup.mending import Mended
from lepton.vault.uses import PACKS

OF_BACKUPS = (
    "Try another copy with --from. What no copy has stays damaged in these backups: lepton vault backup makes one of "
    "all that is whole, the database too; lepton vault forget --at URL --backup N lets a damaged one go."
)
OF_VAULT = (
    "Try another copy with --from. What no copy has is lost: who sends those files again makes them whole, in older "
    "versions too (lepton vault cp --again); what is of dumps of the database the next lepton vault backup makes again."
)


def beside(spare: Mapping[str, str], url: str) -> str:
    """What is said of damaged packs of which nothing is lost.

    Args:
        url: where they are; empty: in the vault itself.
    """
    packs = shown_faults(spare)
    rest = (
        "They go with the last backup that names them; lepton vault repair without --at frees the vault of them."
        if url
        else "lepton vault repair moves out what is still read from them; a running server removes them in three days."
    )
    return f"{number_of(len(spare), 'pack is', 'packs are')} damaged, and nothing of that is needed ({packs}). {rest}"


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
    """Read every byte, and take what is damaged from other copies. Exit code 1, and names, where something is lost.

    What is left of packs that no copy makes whole moves into new ones.
    """
    places = [target_at(source) for source in sources]
    drivers = [place.driver for place in places]
    with moving_on("repairing", "checking") as moved, ExitStack() as stack:
        if not url:
            house = stack.enter_context(opened(data, is_new=is_new))
            check_platform(places, house.platform())
            mended = mend_house(house, drivers, progress=moved)
            _note(house, "the vault", sources, mended)
        else:
            key_file, target = manifest["key_file"], target_at(url)
            is_ours = not (sources and key_file)  # else no data directory is needed
            found = stack.enter_context(opened(data)) if is_ours else None
            key, root = read_key_file(key_file) if key_file else None, found.opens_with if found else (b"", b"")
            check_platform(places, key.platform if key else found.platform() if found else "")
            place = found.database.read(lambda tx: targets.find(tx, target.address)) if found else None
            elsewhere = Elsewhere(
                drivers=drivers or ([found.driver] if found else []),
                rings=[found.vault.ring] if found else [],
                id=place.id if place else "",
                signer=found.signer if found else b"",
                claim=Claim(found.database, target, place.id) if found and place else None,
            )
            mended = mend_backups(
                target,
                manifest["number"] or 0,
                lambda place, number: open_manifest(place, key=key, root=root, number=number),
                elsewhere,
                CLOCK,
                progress=moved,
            )
            if found:
                _note(found, f"backups at {target.address}", sources, mended)
    _tell(mended, url, is_json)


def _note(house: House, what: str, sources: Sequence[str], mended: Mended) -> None:
    told = f"whole again {len(mended.whole_again)}, damaged still {len(mended.damaged)}, of packs {mended.packs}"
    house.tell("repaired", f"{what}{' from ' if sources else ''}{', '.join(sources)}: {told}")


def _tell(mended: Mended, url: str, is_json: bool) -> None:
    told = {name: getattr(mended, name) for name in mended.__slots__}
    session = Session(is_json)
    packs_again = sum(path.startswith(PACKS) for path in mended.whole_again)
    again = f"{packs_again} of {number_of(mended.packs, 'pack')} were damaged and are whole again"
    if others := len(mended.whole_again) - packs_again:
        again += f", and {number_of(others, 'other file')}"
    if mended.moved:
        again += f"; {number_of(mended.moved, 'chunk')} moved out of others"
    if not mended.damaged and not mended.names:
        session.say(f"{again}. Nothing {'that is needed ' if mended.spare else ''}is damaged.", told)
        if mended.spare:
            session.note(beside(mended.spare, url))
        return
    if is_json:
        session.json(told)
    packs = shown_faults(mended.damaged)
    lost = f". Lost: {shown_names(mended.names)}" if mended.names else ""
    raise IntegrityError(
        f"{again}; {number_of(len(mended.damaged), 'is', 'are')} damaged still ({packs}){lost}",
        fix=OF_BACKUPS if url else OF_VAULT,
    )
