"""`lepton vault recovery-key|rotate-key|rotate-root|erase`: keys made, changed and destroyed."""

import json
from pathlib import Path
from typing import Any

import click

from lepton.cli.output import Session, with_json
from lepton.cli.server import data_option
from lepton.cli.storages import FILE, config_of, opened, read_key_file
from lepton.core.errors import InvalidError, NotFoundError
from lepton.core.size import format_bytes, number_of
from lepton.sdk.find import default_data
from lepton.server import backups, erasing, rotating
from lepton.server.backups import PLATFORM
from lepton.server.folder import lock_folder, printed_key, variable_key, write_private
from lepton.server.house import Use
from lepton.server.root import is_in_file
from lepton.store import domains
from lepton.store.vault import packs_present
from lepton.vault.backup.recovery import RecoveryKey
from lepton.vault.store.keyring import FIRST
from lepton.vault.store.sealing import Kind


@click.command("recovery-key")
@click.option("--out", type=FILE, help="Where a new key goes; a file that is there is never replaced.")
@click.option(
    "--another",
    is_flag=True,
    help="Replace the key: newer backups open with the new one alone, older ones with the key before alone.",
)
@click.option("--refresh", type=FILE, help="Let the key in this file know of the last backup that was made.")
@data_option
@with_json
def recovery_key(out: Path | None, another: bool, refresh: Path | None, data: Path | None, is_json: bool) -> None:
    """Make the key that opens backups when the platform is gone. Keep it offline, apart from the backups."""
    if (out is None) == (refresh is None):
        raise InvalidError(
            "It is not said what to do", fix="--out FILE makes a key; --refresh FILE renews what one knows."
        )
    if out is not None and out.exists():
        raise InvalidError(f"{out} exists", fix="Name a new file.")
    with opened(data) as house:
        if refresh is not None:
            key = backups.refreshed(house, read_key_file(refresh))
            write_private(refresh, key.to_text())
            Session(is_json).say(f"The key in {refresh} knows of backup {key.at_least}.", _told(refresh, key))
            return
        assert out is not None
        key = backups.new_recovery_key(house, is_another=another)
        write_private(out, key.to_text())
        last = backups.keep_recovery_key(house, key)
    said, told = f"The recovery key is in {out}. Keep it offline: without it no backup can be read.", _told(out, key)
    if last is not None:
        opens = backups.opened_up_to(last)
        said += f" It replaces the one before, which opens {opens} only: keep that as long as those are kept."
        told["replaced_opens_up_to"] = last
    Session(is_json).say(said, told)


def _told(file: Path, key: RecoveryKey) -> dict[str, object]:
    return {"file": str(file), "platform": key.platform, "knows_of_backup": key.at_least}


@click.command()
@data_option
@with_json
def keys(data: Path | None, is_json: bool) -> None:
    """List whose content has keys of its own: how often they were changed, and how much lies under them."""
    rows = list[dict[str, Any]]()
    with opened(data, use=Use.READS) as house:
        packs, state = house.database.read(packs_present), house.vault.state
        for name, domain in sorted(house.database.read(domains.every)):
            own = state.find(Kind.DOMAIN, domain)
            if own is None:  # erased, and nothing stored since
                continue
            tenant, held = state.find(Kind.TENANT, own.place.holder), packs.get(domain, [])
            changed = tenant.version - FIRST if tenant else 0
            told = {"workspace": name or "(platform)", "domain": domain.hex(), "changed": changed}
            rows.append({**told, "packs": len(held), "size_bytes": sum(size for _, size in held)})
    shown = [{**row, "size_bytes": format_bytes(row["size_bytes"])} for row in rows]
    Session(is_json).table([{key: str(value) for key, value in row.items()} for row in shown], rows)


@click.command("rotate-key")
@click.argument("workspace", required=False)
@click.option("--all", "is_all", is_flag=True, help="Of all workspaces, and the platform's own.")
@data_option
@with_json
def rotate_key(workspace: str | None, is_all: bool, data: Path | None, is_json: bool) -> None:
    """Give WORKSPACE new keys and seal all pack keys anew under them, beside a running server; no pack is rewritten."""
    if bool(workspace) == is_all:
        raise InvalidError("It is not said whose keys", fix="Name a workspace, or say --all.")
    counts = {}
    with opened(data) as house:
        for name, _ in house.database.read(domains.every):
            found = house.database.read(lambda tx, name=name: domains.find(tx, name))  # type: ignore[misc]
            if found and (is_all or name == workspace):
                count = counts[name or "(platform)"] = house.vault.ring.rotate_tenant(found[0])
                house.tell("rotated", f"keys; sealed anew: {count}", workspace=name)
    if not counts and not is_all:
        raise NotFoundError(
            f"The workspace {workspace!r} has no content", fix="lepton vault keys lists those that have."
        )
    said = f"{number_of(sum(counts.values()), 'key')} of {number_of(len(counts), 'workspace')}"
    Session(is_json).say(f"Sealed anew: {said}.", counts)


@click.command("rotate-root")
@click.option("--key-command", "command", default="", help="What prints the new key; key_command from then on.")
@click.option("--key-variable", "variable", default="", help="Where the new key lies; in LEPTON_ROOT_KEY from then on.")
@click.option("--file", "is_file", is_flag=True, help="A fresh key, in DIR/key; the default where it lies there.")
@data_option
@with_json
def rotate_root(command: str, variable: str, is_file: bool, data: Path | None, is_json: bool) -> None:
    """Give the platform a new root key and seal all that lies under it anew; no pack is rewritten.

    No server may run meanwhile. Killed at any moment, it leaves the old key or the new one in force.
    """
    config = config_of(data)
    if bool(command) + bool(variable) + is_file > 1 or not (command or variable or is_file or is_in_file(config)):
        raise InvalidError(
            "It is not said where the new root key comes from", fix="Say --key-command, --key-variable or --file."
        )
    key = printed_key(command) if command else variable_key(variable) if variable else None
    with lock_folder(config.data), opened(data, use=Use.ALONE) as house:
        done = rotating.rotate(house, key)
    told = {name: getattr(done, name) for name in done.__slots__}
    keys, secrets = number_of(done.tenants, "key of a tenant", "keys of tenants"), number_of(done.secrets, "secret")
    sealed = f"{keys}, {secrets}, {number_of(done.credentials, 'storage')} with credentials"
    session = Session(is_json)
    session.say(f"Sealed under a new root key: {sealed}.", told)
    if command:
        session.note(f"Set key_command to {command!r} before the next start: the old key opens nothing any more.")
    elif variable:
        session.note("Put it into LEPTON_ROOT_KEY before the next start: the old key opens nothing any more.")
    elif not is_in_file(config):
        session.note(f"It lies in {config.data / 'key'}: start without key_command and LEPTON_ROOT_KEY.")


@click.command()
@click.argument("workspace")
@click.option("--certificate", type=FILE, help="Where the signed certificate goes.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only say what would be destroyed.")
@data_option
@with_json
def erase(workspace: str, certificate: Path | None, is_dry: bool, data: Path | None, is_json: bool) -> None:
    """Destroy the keys of all content of WORKSPACE, for ever. No server may run meanwhile, as it has keys in memory."""
    session = Session(is_json)
    if workspace == PLATFORM or (certificate is None and not is_dry):
        raise InvalidError("It is not said where the certificate goes", fix="--certificate FILE")
    if certificate is not None and certificate.exists():
        raise InvalidError(f"{certificate} exists", fix="Name a new file.")
    with opened(data, use=Use.READS if is_dry else Use.ALONE) as house:
        packs, size = erasing.held_by(house, workspace)
        if is_dry or certificate is None:
            told = {"packs": packs, "size_bytes": size}
            session.say(f"{number_of(packs, 'pack')} of {workspace} would be destroyed, {format_bytes(size)}.", told)
            return
        with lock_folder((data or default_data()).absolute()):
            draft = certificate.with_name(f"{certificate.name}.draft")
            write_private(draft, "")  # before anything is destroyed: there must be room and right for it
            try:
                done = erasing.erase(house, workspace, str(certificate.absolute()))
                write_private(certificate, json.dumps(done.certificate, indent=1, ensure_ascii=False) + "\n")
            finally:
                draft.unlink(missing_ok=True)
            erasing.finish(house, workspace)
    held = done.certificate["backups"]
    session.say(
        f"Destroyed: {number_of(done.keys, 'key')} of {workspace}, {number_of(done.packs, 'pack')}, "
        f"{format_bytes(done.size_bytes)}; the "
        f"certificate is in {certificate}.",
        {"keys": done.keys, "packs": done.packs, "size_bytes": done.size_bytes, "certificate": str(certificate)},
    )
    if held:
        session.note(
            "Backups from before still hold them, for whoever has the recovery key, or the place and the platform's "
            "root key, until lepton vault forget has let them go; the certificate names them."
        )


KEY_COMMANDS = (keys, recovery_key, rotate_key, rotate_root, erase)
