"""`lepton vault`: back up, check, restore, and prove that it works. For who owns the data directory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from lepton.cli.certificate import certificate
from lepton.cli.group import Group
from lepton.cli.keys import KEY_COMMANDS
from lepton.cli.moving import moving, moving_on
from lepton.cli.output import Session, with_json
from lepton.cli.parcels import PARCEL_COMMANDS
from lepton.cli.repair import beside, repair
from lepton.cli.schedules import COMMANDS, append_only_option, claim_option, new_option
from lepton.cli.server import data_option
from lepton.cli.storage import storage
from lepton.cli.storages import (
    CLOCK,
    MOST_SHOWN,
    config_of,
    key_option,
    known_faults,
    manifest_at,
    number_option,
    opened,
    read_key_file,
    shown_faults,
    shown_names,
    storage_at,
    target_at,
)
from lepton.core.clock import from_micros
from lepton.core.errors import IntegrityError, InvalidError, LeptonError
from lepton.core.size import format_bytes, number_of
from lepton.server import backups, checking, extracting, opening, restoring
from lepton.server.config import ServerConfig
from lepton.server.erased import Erasure, check_open, erasures
from lepton.server.expected import are_gone
from lepton.server.extracting import Piece
from lepton.server.house import Use, open_house
from lepton.server.locking import lock_anew
from lepton.server.schedules import noting
from lepton.store import targets
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.recovery import RecoveryKey
from lepton.vault.backup.target import Target

UNDATED = "of a time that is yet to come, as a clock was or is wrong: how old is not known"


@click.group(cls=Group)
def vault() -> None:
    """Backups of the whole platform: its database, its content, its keys.

    These commands work on the data directory itself, beside a running server or without one.
    """


@vault.command()
@click.option("--to", "url", required=True, help="Where backups go: a folder, or s3://, smb://, ...")
@append_only_option
@new_option
@claim_option
@data_option
@with_json
def backup(url: str, append_only: bool, is_new: bool, claims: bool, data: Path | None, is_json: bool) -> None:
    """Back everything up; what is there already is not copied again.

    A place that is scheduled with --append-only gets no other backup.
    """
    target = target_at(url)
    keeps = target.check_append_only() if append_only else None
    is_first = not target.is_claimed()
    with opened(data) as house:
        if keeps is None and house.database.read(lambda tx: targets.is_append_only(tx, target.address)):
            keeps = target.check_append_only()  # else it would count as the one that is due
        with moving("backing up") as moved:
            made = backups.back_up(house, target, progress=moved, is_new=is_new, claims=claims)
        _tell_backup(made, target, is_first=is_first, is_json=is_json)
        with noting(house, target.address):
            if keeps and (until := lock_anew(house, target, keeps)):
                Session(is_json).note(f"All that lies there is locked until {until:%Y-%m-%d %H:%M} UTC.")
            if made.lost:
                lost = shown_faults(made.lost)
                raise IntegrityError(f"It is not whole: {lost}", fix="lepton vault verify names what is damaged.")


def _tell_backup(made: backups.Made, target: Target, *, is_first: bool, is_json: bool) -> None:
    told = {name: getattr(made, name) for name in made.__slots__} | {"at": str(from_micros(made.at))}
    new = f"{made.new_packs} of {number_of(made.packs, 'pack')} are new, {format_bytes(made.new_bytes)}"
    Session(is_json).say(f"Backup {made.number} of {format_bytes(made.size_bytes)} is made; {new}.", told)
    if made.missed:
        Session(is_json).note(f"{are_gone(made.missed, target.address)}.")
    if is_first:
        Session(is_json).note(f"No backup lay at {target.address} before: it is new. Is it the place that you meant?")


@vault.command()
@click.option("--at", "url", default="", help="Where backups are; left out: the vault itself.")
@key_option
@number_option
@data_option
@with_json
def verify(url: str, key_file: Path | None, number: int | None, data: Path | None, is_json: bool) -> None:
    """Read every byte of a backup, or of the vault itself. Exit code 1 and names where anything is damaged."""
    with moving("checking") as moved:
        if url:
            target = target_at(url)
            manifest = manifest_at(target, key_file, data, number or 0)
            found = checking.check_backup(target, manifest, CLOCK, progress=moved)
            if not key_file and not target.is_past:
                found = replace(found, damaged=found.damaged | known_faults(target, data))
        else:
            with opened(data, use=Use.READS) as house:
                found = checking.check_house(house, progress=moved)
    session = Session(is_json)
    told = {name: getattr(found, name) for name in found.__slots__}
    if not found.damaged and not found.names:
        whole = number_of(found.packs, "pack is", "packs are")
        if found.spare:
            whole = f"all that is needed of {number_of(found.packs, 'pack')} is"
        session.say(f"All read: {whole} whole, {format_bytes(found.bytes_read)}.", told)
        if found.spare:
            session.note(beside(found.spare, url))
        return
    names = shown_names(found.names)
    packs = shown_faults(found.damaged)
    if is_json:
        session.json(told)
    damaged = f"{number_of(len(found.damaged), 'file is', 'files are')} damaged ({packs}). " if packs else ""
    raise IntegrityError(
        f"{damaged}Not whole: {names or 'nothing that has a name'}",
        fix=f"lepton vault repair {f'--at {url}' if url else '[--from URL]'} makes whole what any copy has, and says "
        "what to do about the rest.",
    )


@vault.command()
@click.option("--from", "url", required=True, help="Where backups are.")
@key_option
@click.option(
    "--into", type=click.Path(path_type=Path), required=True, help="A new data directory; or for --only a folder."
)
@number_option
@click.option("--storage", default="", help="Where the platform's content goes; left out: into the data directory.")
@click.option("--only", multiple=True, help="Write what lies below this path as plain files; may be repeated.")
@click.option("--dry-run", "is_dry", is_flag=True, help="With --only: list what would be written.")
@data_option
@with_json
def restore(url: str, key_file: Path | None, into: Path, number: int | None, is_json: bool, **part: Any) -> None:
    """Make a new data directory from a backup; `lepton up --data DIR` starts from it. It can be begun again.

    With LEPTON_DATABASE its database is that, on Postgres, which has to be empty.

    --only WORKSPACE, WORKSPACE/artifacts/KIND/NAME@NUMBER, WORKSPACE/branches/BRANCH or WORKSPACE/objects/SHA-256, and
    anything below, writes plain files; on the platform itself that needs no recovery key.
    """
    if part["only"]:
        manifest = manifest_at(target_at(url), key_file, part["data"], number or 0)
        _restore_part(target_at(url), manifest, into, {**part, "key_file": key_file}, is_json)
        return
    if key_file is None:
        raise InvalidError("A restore needs the recovery key", fix="--recovery-key FILE")
    key, target, database = read_key_file(key_file), target_at(url), config_of(into).database
    manifest = opening.open_manifest(target, key=key, number=number or 0)
    with moving("restoring") as moved, opening.opened(target, manifest, CLOCK) as backup_there:
        place = storage_at(part["storage"], into) if part["storage"] else None
        rows = restoring.restore(backup_there, into, CLOCK, progress=moved, storage=place, database=database)
        size = backup_there.size_bytes
    with moving("checking") as moved, open_house(ServerConfig(data=into, database=database), CLOCK) as house:
        found = checking.check_house(house, progress=moved)
    told = {
        "backup": manifest.number,
        "made": str(from_micros(manifest.at)),
        "rows": rows,
        "freshness": _fresh(key, manifest.number),
    }
    session = Session(is_json)
    said = (
        f"Backup {manifest.number} of {from_micros(manifest.at):%Y-%m-%d %H:%M} UTC, {format_bytes(size)}, is in {into}"
    )
    session.say(f"{said}; {_fresh(key, manifest.number)}. Start it: lepton up --data {into}", told)
    if found.damaged or found.names:
        names = "; ".join(found.names[:MOST_SHOWN])
        raise IntegrityError(
            f"It was damaged in the backup and cannot be read whole: {names}", fix="Restore those from another backup."
        )


@vault.command()
@click.option("--at", "url", required=True, help="Where backups are.")
@key_option
@number_option
@data_option
@with_json
def drill(url: str, key_file: Path | None, number: int | None, data: Path | None, is_json: bool) -> None:
    """Restore a backup into a scratch folder, compare all content with its SHA-256, and say how long it took."""
    target = target_at(url)
    manifest = manifest_at(target, key_file, data, number or 0)
    with moving_on("restoring", "comparing") as moved:
        proven = restoring.drill(target, manifest, CLOCK, progress=moved)
    age = f"{timedelta(seconds=round(proven.age_s))} old" if proven.age_s is not None else UNDATED
    told = {name: getattr(proven, name) for name in proven.__slots__}
    objects = number_of(proven.objects, "object")
    said = f"Backup {manifest.number} restores: {objects}, {format_bytes(proven.bytes_read)}"
    Session(is_json).say(f"{said}, are what they were. It took {proven.took_s:.1f} s (RTO); it is {age} (RPO).", told)


def _restore_part(target: Target, manifest: Manifest, into: Path, part: dict[str, Any], is_json: bool) -> None:
    session = Session(is_json)
    told_erased = _erased(target, manifest, part)
    with opening.opened(target, manifest, CLOCK) as backup_there:
        wanted = extracting.pieces(backup_there, part["only"])
        if part["is_dry"]:
            rows = [{"path": piece.path, "size": format_bytes(piece.size_bytes)} for piece in wanted]
            session.table(rows, rows)
            return
        if not part["key_file"]:  # else it is read where there may be no platform
            _note_part(backup_there, wanted, into, part)
        with moving("restoring") as moved:
            done = extracting.extract(backup_there, wanted, into, progress=moved)
    told = {"backup": manifest.number, **{name: getattr(done, name) for name in done.__slots__}}
    files = number_of(done.files, "file")
    said = f"{files} of backup {manifest.number}, {format_bytes(done.size_bytes)}, in {into} now"
    session.say(f"{said}; {done.there} were there." if done.there else f"{said}.", told)
    for erasure in told_erased:
        session.note(f"{erasure}: this backup holds it still, for whoever has the recovery key.")
    if done.damaged:
        names = shown_faults(done.damaged)
        raise IntegrityError(
            f"Not whole in the backup: {names}", fix="lepton vault repair --at URL, or another backup."
        )


def _erased(target: Target, manifest: Manifest, part: dict[str, Any]) -> list[Erasure]:
    """Which of the workspaces were erased; refused, unless a recovery key was given."""
    workspaces = [path.strip("/").partition("/")[0] for path in part["only"]]
    if part["key_file"] is None:
        with opened(part["data"], use=Use.READS) as house:
            check_open(house, target, manifest, workspaces)
        return []
    try:
        with opened(part["data"], use=Use.READS) as house:
            return erasures(house, manifest, workspaces) if house.platform() == manifest.platform else []
    except LeptonError:  # with a recovery key no platform needs to be here
        return []


def _note_part(backup: opening.Backup, wanted: Sequence[Piece], into: Path, part: dict[str, Any]) -> None:
    """Let the platform know, before anything is written, what comes out of a backup in the clear."""
    counts = Counter(piece.path.partition("/")[0] for piece in wanted)
    with opened(part["data"], use=Use.READS) as house:
        for workspace, count in sorted(counts.items()):
            files, asked = number_of(count, "file"), ", ".join(part["only"])
            why = f"{files} of backup {backup.manifest.number} at {backup.target.address} to {into.absolute()}: {asked}"
            house.tell("restored", why, workspace=workspace)


def _fresh(key: RecoveryKey, number: int) -> str:
    if key.at_least > number:
        return f"it is older than backup {key.at_least}, of which the recovery key knows"
    if key.at_least:
        return f"no older than backup {key.at_least}, of which the recovery key knows"
    return "freshness unproven: the recovery key knows of no backup"


for command in (*KEY_COMMANDS, certificate, *COMMANDS, *PARCEL_COMMANDS, repair, storage):
    vault.add_command(command)
