"""What the commands of `lepton vault` share: the storage, the data directory, the manifest."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import click

from lepton.cli.output import Session
from lepton.core.clock import SystemClock
from lepton.core.errors import IntegrityError, InvalidError
from lepton.sdk.find import default_data
from lepton.server import opening
from lepton.server.checking import NOT_LET_GO
from lepton.server.config import ServerConfig
from lepton.server.expected import Lying, look, were_made
from lepton.server.house import House, Use, open_house
from lepton.server.opening import HIDDEN
from lepton.server.storage import Address
from lepton.vault.backup.gone import STRAY
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.recovery import RecoveryKey, read_key
from lepton.vault.backup.target import Target, manifest_paths
from lepton.vault.drivers.credentials import from_environment
from lepton.vault.drivers.opening import address_of, open_driver

MOST_SHOWN = 50
CLOCK = SystemClock()
FILE = click.Path(dir_okay=False, path_type=Path)
key_option = click.option("--recovery-key", "key_file", type=FILE, help="The file of the recovery key.")
number_option = click.option("--backup", "number", type=click.IntRange(min=1), help="Which; the newest if left out.")


def shown_faults(faults: Mapping[str, str]) -> str:
    """Path -> what is wrong, some of them, for a message."""
    return "; ".join(f"{path}: {fault}" for path, fault in islice(faults.items(), MOST_SHOWN))


def shown_names(names: Sequence[str]) -> str:
    """Some of them, for a message."""
    return "; ".join([*names[:MOST_SHOWN], *(["..."] if len(names) > MOST_SHOWN else [])])


def target_at(url: str) -> Target:
    """The storage at an address, with this process's credentials; its connections end with the command."""
    address = address_of(url)
    driver = open_driver(address, from_environment())
    click.get_current_context().call_on_close(driver.close)
    return Target(driver, address)


def storage_at(url: str, data: Path) -> Address:
    """A storage for packs, with this process's credentials."""
    return Address(url=address_of(url), credentials=from_environment(), folder=data)


def config_of(data: Path | None) -> ServerConfig:
    """The settings of a data directory's server."""
    return ServerConfig.load((data or default_data()).absolute(), environment=os.environ, flags={})


@contextmanager
def opened(data: Path | None, *, is_new: bool = False, use: Use = Use.WRITES) -> Iterator[House]:
    """The data directory, beside its server; `is_new`: its packs' storage may be empty, they are to be repaired."""
    with open_house(config_of(data), CLOCK, is_new=is_new, use=use) as house:
        yield house


def manifest_at(target: Target, key_file: Path | None, data: Path | None, number: int) -> Manifest:
    """The manifest, opened with the recovery key, or else with the platform's own."""
    if key_file:
        return opening.open_manifest(target, key=read_key_file(key_file), number=number)
    with opened(data, use=Use.READS) as house:
        if not number:
            lying = look(house, target)
            _tell_strays(target, lying.strays)
            if not target.is_past and (gone := _newer_gone(house, lying)):
                are = "are" if len(gone) > 1 else "is"
                raise IntegrityError(
                    f"{were_made(gone)}, and {are} not at {target.address}",
                    fix="Look where it went (lepton vault backups lists the places); --backup N takes an older one. "
                    + HIDDEN,
                )
            number = lying.newest
        return opening.open_manifest(target, key=None, root=house.opens_with, number=number)


def _tell_strays(target: Target, strays: Sequence[int]) -> None:
    if strays:
        paths = ", ".join(manifest_paths(each)[0] for each in strays[:MOST_SHOWN])
        Session(bool(click.get_current_context().params.get("is_json"))).note(
            f"No backup of this platform, and left out: {paths}. "
            f"lepton vault forget --at {target.address} --backup N removes it."
        )


def _newer_gone(house: House, lying: Lying) -> set[int]:
    """What is not there, where any of that is newer than all that is."""
    place = lying.place
    if place and place.id:
        found = lying.missed if lying.numbers else lying.made | {place.last_number}
    else:
        found = {house.last_backup()}
    return found if max(found, default=0) > lying.newest else set()


def known_faults(target: Target, data: Path | None) -> dict[str, str]:
    """What the platform knows to be wrong at a place with its backups: where a file should be -> what is wrong."""
    with opened(data, use=Use.READS) as house:
        lying = look(house, target)
    return {manifest_paths(number)[0]: NOT_LET_GO for number in sorted(lying.missed)} | {
        path: STRAY for number in lying.strays for path in target.read(number)
    }


def read_key_file(path: Path) -> RecoveryKey:
    """The recovery key in a file.

    Raises:
        InvalidError: it cannot be read.
    """
    try:
        return read_key(path.read_text())
    except (OSError, UnicodeDecodeError) as fault:
        raise InvalidError(f"{path} cannot be read: {fault}", fix="Give the file of the recovery key.") from fault
