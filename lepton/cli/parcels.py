"""`lepton vault site-key|send|receive`: files handed to another site."""

from pathlib import Path
from typing import Any

import click

from lepton.cli.kinds import ParamType
from lepton.cli.moving import moving
from lepton.cli.output import Session, with_json
from lepton.cli.places import Place
from lepton.cli.server import data_option
from lepton.cli.storages import CLOCK, MOST_SHOWN, opened, target_at
from lepton.core.clock import believed, from_micros, to_micros
from lepton.core.errors import InvalidError
from lepton.core.size import format_bytes, number_of
from lepton.sdk.place import VaultPath
from lepton.server import parcels
from lepton.server.files import At
from lepton.server.house import Use
from lepton.server.parcels import Which
from lepton.vault.parcel import SiteKey, read_site_key


class SiteText(ParamType):
    """A site's key."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SiteKey:
        """Read one."""
        if isinstance(value, SiteKey):
            return value
        try:
            return read_site_key(value)
        except InvalidError as fault:
            self.fail(f"{fault}. {fault.fix}", param, ctx)


@click.command("site-key")
@data_option
@with_json
def site_key(data: Path | None, is_json: bool) -> None:
    """Print this platform's public key: others seal parcels for it, and know by it what it sent."""
    with opened(data, use=Use.READS) as house:
        key = str(parcels.site_of(house).key)
    Session(is_json).say(key, {"key": key})


@click.command()
@click.argument("place", metavar="PLACE", type=Place())
@click.option("--for", "recipient", type=SiteText(), required=True, help="The other's `lepton vault site-key`.")
@click.option("--to", "url", required=True, help="A storage that both can reach: a folder, or s3://, smb://, ...")
@data_option
@with_json
def send(place: VaultPath, recipient: SiteKey, url: str, data: Path | None, is_json: bool) -> None:
    """Seal a file or folder for another platform, which receives it from the storage; nobody else can read it."""
    target = target_at(url)
    with opened(data) as house, moving("sending") as moved:
        at = At(workspace=place.workspace, ref=place.ref)
        sent = parcels.send(house, at, place.name, target, recipient, progress=moved)
    told = {name: getattr(sent, name) for name in sent.__slots__}
    size = f"{format_bytes(sent.size_bytes)}, {format_bytes(sent.stored_bytes)} stored"
    Session(is_json).say(f"Parcel {sent.id}: {number_of(sent.files, 'file')}, {size}.", told)


@click.command()
@click.argument("place", metavar="PLACE", type=Place())
@click.option("--from", "url", required=True, help="The storage that it was sent to.")
@click.option("--sent-by", "sender", type=SiteText(), required=True, help="The sender's `lepton vault site-key`.")
@click.option("--parcel", "id", default="", help="Which; the newest if left out.")
@data_option
@with_json
def receive(place: VaultPath, url: str, sender: SiteKey, id: str, data: Path | None, is_json: bool) -> None:
    """Store what another platform has sent below PLACE; the parcel stays where it is."""
    source = target_at(url)
    with opened(data) as house, moving("receiving") as moved:
        at = At(workspace=place.workspace, ref=place.ref)
        got = parcels.receive(house, source, Which(sender=sender, id=id), at, place.name, progress=moved)
    told = {name: getattr(got, name) for name in got.__slots__} | {"at": str(from_micros(got.at))}
    said = f"Parcel {got.id} of {from_micros(got.at):%Y-%m-%d %H:%M} UTC: {number_of(got.files, 'file')} of {got.name}"
    session = Session(is_json)
    session.say(f"{said}, {format_bytes(got.size_bytes)}, are in {place}.", told)
    if not id and not believed(got.at, to_micros(CLOCK.now())):
        session.note("Its sender's clock was ahead. What an older Lepton has sent since is received with --parcel ID.")
    for passed, fault in list(got.passed.items())[:MOST_SHOWN]:
        session.note(f"{passed} lies there too, with a newer name, and was passed over: {fault}.")


PARCEL_COMMANDS = (site_key, send, receive)
