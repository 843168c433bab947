"""`lepton vault backups|schedule|unschedule|forget`: where backups go, when, and which are kept."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lepton.cli.amounts import spent
from lepton.cli.output import Session, with_json
from lepton.cli.retention import keep_of, keep_options
from lepton.cli.server import data_option
from lepton.cli.spans import Rhythm
from lepton.cli.storages import CLOCK, key_option, manifest_at, opened, target_at
from lepton.core.clock import from_micros, to_micros
from lepton.core.errors import IntegrityError, InvalidError, LeptonError, NotFoundError
from lepton.core.size import format_bytes, number_of
from lepton.server import backups, schedules
from lepton.server.expected import are_gone, look
from lepton.server.house import House, Use
from lepton.server.opening import HIDDEN, opens_of
from lepton.server.storage import sealed_credentials
from lepton.store import targets
from lepton.store.database import Tx
from lepton.store.targets import Place
from lepton.vault.backup.gone import missing
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.retention import Keep
from lepton.vault.backup.target import Target, size_of
from lepton.vault.drivers.credentials import from_environment
from lepton.vault.drivers.opening import address_of

new_option = click.option("--new", "is_new", is_flag=True, help="Begin at a place where no backups lie yet.")
claim_option = click.option(
    "--claim", "claims", is_flag=True, help="Go on there although another copy of this platform made backups there."
)


append_only_option = click.option(
    "--append-only",
    is_flag=True,
    help="Refuse a storage where what lies there can be changed or deleted.",
)


@click.command("backups")
@click.option("--at", "url", default="", help="Where backups are; left out: all places that are known.")
@key_option
@data_option
@with_json
def list_backups(url: str, key_file: Path | None, data: Path | None, is_json: bool) -> None:
    """List the backups that lie at a place; or all places, how they stand, and when the next backup is made."""
    if not url:
        _list_places(data, is_json)
        return
    target, faults, newest = target_at(url), list[IntegrityError](), None
    numbers, rows = target.numbers(), dict[int, dict[str, str]]()
    for number in numbers:
        try:
            newest = manifest_at(target, key_file, data, number)
        except IntegrityError as fault:
            faults.append(fault)
            rows[number] = {"backup": str(number), "made": "it cannot be read", "size": ""}
        else:
            size = format_bytes(size_of(newest.packs))
            rows[number] = {"backup": str(number), "made": str(from_micros(newest.at)), "size": size}
    if not numbers:
        with suppress(NotFoundError):  # none was made yet
            manifest_at(target, key_file, data, 0)
    gone = _gone(target, newest, key_file, data)
    rows |= {number: {"backup": str(number), "made": "it is gone", "size": ""} for number in gone}
    if faults and len(faults) == len(numbers):
        told = ", ".join(map(str, numbers)) + (f"; gone: {', '.join(map(str, gone))}" if gone else "")
        raise IntegrityError(
            f"None of the backups at {target.address} can be read ({told}). {faults[-1].message}", fix=HIDDEN
        )
    sorted_rows = [rows[number] for number in sorted(rows)]
    Session(is_json).table(sorted_rows, sorted_rows, hint="lepton vault backup --to URL makes one")


def _gone(target: Target, newest: Manifest | None, key_file: Path | None, data: Path | None) -> list[int]:
    """Numbers of the backups that were to lie there and do not."""
    if newest is not None:
        return missing(target, newest, opens_of(newest)[1])
    if key_file or target.is_past:
        return []
    with opened(data, use=Use.READS) as house:
        return sorted(look(house, target).missed)


def _list_places(data: Path | None, is_json: bool) -> None:
    with opened(data, use=Use.READS) as house:
        places = [_looked_at(house, place) for place in house.database.read(targets.every)]
    rows = [_row(place, to_micros(CLOCK.now())) for place in places]
    Session(is_json).table(rows, rows, hint="lepton vault backup --to URL makes one")


def _looked_at(house: House, place: Place) -> Place:
    """A place that is a folder, as it is now: whether it has lost backups; of others the last backup says that."""
    if "://" in place.address or not place.last_number:
        return place
    try:
        gone = look(house, target_at(place.address)).missed
    except (LeptonError, OSError):  # not mounted, say: the next backup says what is wrong
        return place
    return replace(place, fault=are_gone(gone, place.address)) if gone and not place.fault else place


def _row(place: Place, now: int) -> dict[str, str]:
    is_on = place.every_s and not place.is_paused
    return {
        "at": place.address,
        "last": str(place.last_number or ""),
        "made": str(from_micros(place.last_at)) if place.last_at else "",
        "every": spent(place.every_s) if place.every_s else "",
        "next": str(from_micros(max(now, schedules.due_at(place, now)))) if is_on else "",
        "keep": str(place.keep),
        "standing": schedules.standing(place, now),
    }


@click.command()
@click.option("--to", "url", required=True, help="Where backups go: a folder, or s3://, smb://, ...")
@click.option("--every", "every_s", type=Rhythm(), required=True, help="How often: 30m, 6h, 1d, 1w.")
@keep_options("backups")
@append_only_option
@new_option
@claim_option
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say when the next would be made, and which would go.")
@data_option
@with_json
def schedule(url: str, every_s: int, is_dry: bool, data: Path | None, is_json: bool, **options: Any) -> None:
    """Let the server make backups by itself, and let old ones go. Said again, it replaces what was said.

    Credentials in the variables of a storage (LEPTON_STORAGE_SECRET, ...) are sealed and kept with it; without any the
    server uses its own. With --append-only no backup is made while the storage is not, and an alert says so.
    """
    is_new, claims, append_only = options.pop("is_new"), options.pop("claims"), options.pop("append_only")
    chosen = keep_of(options)
    target = target_at(url)
    keeps = target.check_append_only() if append_only else target.driver.append_only()
    with opened(data, use=Use.READS if is_dry else Use.WRITES) as house:
        now = to_micros(CLOCK.now())
        backups.check_recovery_key(house)
        if not is_dry:
            backups.settle(house, target, is_new=is_new, claims=claims)
        found = house.database.read(lambda tx: targets.find(tx, target.address)) or Place(address=target.address)
        sealed = sealed_credentials(house.root, target.address, from_environment())
        place = replace(
            found, every_s=every_s, since=now, keep=chosen, credentials=sealed, is_paused=False, fault="", tried_at=0
        )
        gone = schedules.choose(house, target, chosen).gone if found.last_number and not keeps.keeps_all else []
        if not is_dry:
            house.database.write(lambda tx: _scheduled(tx, house, place, append_only))
    row = _row(place, now)
    said = f"A backup goes to {place.address} every {row['every']}; the next at {row['next'][:16]} UTC"
    kept = f"; kept are {chosen}" if chosen else "; all are kept"
    if keeps.keeps_all and chosen:
        kept = f"; all are kept, whatever --keep-... say, as the storage is append-only: {keeps.reason}"
    note = f"; that lets go of {', '.join(map(str, gone))}" if gone else ""
    Session(is_json).say(f"{said}{kept}{note}." + (" Nothing was changed." if is_dry else ""), {**row, "gone": gone})


def _scheduled(tx: Tx, house: House, place: Place, append_only: bool) -> None:
    targets.put(tx, place)
    targets.put_append_only(tx, place.address, append_only)
    if place.every_s:
        only = "; only while it is append-only" if append_only else ""
        house.note(
            tx, "backups scheduled", f"to {place.address} every {spent(place.every_s)}; keep: {place.keep}{only}"
        )
    else:
        house.note(tx, "backups unscheduled", f"to {place.address}")


@click.command()
@click.option("--to", "url", required=True, help="Where backups go.")
@data_option
@with_json
def unschedule(url: str, data: Path | None, is_json: bool) -> None:
    """Let the server make no more backups there by itself; those that lie there stay."""
    address = address_of(url)
    with opened(data) as house:
        place = house.database.read(lambda tx: targets.find(tx, address))
        if place is None or not place.every_s:
            raise NotFoundError(
                f"No backups go to {address} by themselves", fix="lepton vault backups lists the places."
            )
        over = replace(place, every_s=0, since=0, keep=Keep(), credentials=b"", is_paused=False, fault="")
        house.database.write(lambda tx: _scheduled(tx, house, over, False))
    Session(is_json).say(f"No more backups go to {address} by themselves.", {"at": address})


@click.command()
@click.option("--at", "url", required=True, help="Where backups are.")
@keep_options("backups")
@click.option("--backup", "numbers", type=click.IntRange(min=0), multiple=True, help="This one goes; may be repeated.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say which would go.")
@data_option
@with_json
def forget(url: str, numbers: tuple[int, ...], is_dry: bool, data: Path | None, is_json: bool, **keep: int) -> None:
    """Let backups go that are not to be kept. What only they needed is removed by the first `forget` a day later."""
    target, chosen = target_at(url), keep_of(keep)
    if not chosen and not numbers:
        raise InvalidError("It is not said which backups stay", fix="Give --keep-daily 7, ..., or --backup N.")
    with opened(data, use=Use.READS if is_dry else Use.WRITES) as house:
        choice = schedules.choose(house, target, chosen, also=numbers)
        done = schedules.let_go(house, target, choice.gone, is_dry=is_dry)
    rows = [
        {
            "backup": str(number),
            "made": str(from_micros(at)) if at else "",
            "stays": ", ".join(choice.kept.get(number, ())) or "no",
        }
        for number, at in sorted(choice.made.items())
    ]
    session = Session(is_json)
    if is_json:
        told = {name: getattr(done, name) for name in done.__slots__}
        session.json({"backups": rows, **told, "is_dry": is_dry})
        return
    session.table(rows, rows)
    tense = "Nothing was changed; it would be" if is_dry else "Done"
    marked = number_of(done.marked, "pack")
    session.note(
        f"{tense}: {number_of(len(done.gone), 'backup')} let go; {marked} marked, to be removed "
        f"a day later; {number_of(done.removed, 'pack')} removed, {format_bytes(done.removed_bytes)}"
    )


COMMANDS = (list_backups, schedule, unschedule, forget)
