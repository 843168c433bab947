"""`lepton vault cp`, `ls`, `cat` and the rest: the files of workspaces, and their versions."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from lepton.cli import versions
from lepton.cli.copying import cp
from lepton.cli.extra import extra_code
from lepton.cli.output import Session, moment, with_json
from lepton.cli.places import (
    DIGITS,
    Limit,
    Place,
    at_option,
    message_option,
    opened,
    place_argument,
    recursive_option,
)
from lepton.cli.retention import retention
from lepton.core.errors import ConfigError, InvalidError, NotFoundError
from lepton.core.size import format_bytes, number_of
from lepton.sdk.place import VaultPath, joined
from lepton.sdk.vault import FileInfo, Vault

AT_ONCE = 1000
"""Lines that are printed together."""


@click.command()
@place_argument
@click.option("-R", "--recursive", is_flag=True, help="All files below, and no folders.")
@at_option
@with_json
def ls(place: VaultPath, recursive: bool, at: int | None, is_json: bool) -> None:
    """List what lies in a folder: size, time, name."""
    session = Session(is_json)
    with opened(place) as vault:
        found = _files(vault, place, at, is_recursive=recursive)
        if is_json:
            session.json([_told(file) for file in found])
            return
        while some := list(islice(found, AT_ONCE)):
            click.echo("\n".join(map(_line, some)))


def _line(file: FileInfo) -> str:
    size = "" if file.is_folder else format_bytes(file.size_bytes)
    when = "" if file.is_folder else moment(file.modified_at)
    return f"{size:>10}  {when:19}  {file.name}"


def _files(
    vault: Vault, place: VaultPath, at: int | None, *, is_recursive: bool, totals: bool = False
) -> Iterator[FileInfo]:
    """What lies in a folder; or the file that the address names."""
    found = vault.files(place.name, ref=place.ref, at=at, recursive=is_recursive, totals=totals)
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
    elif place.name:
        yield vault.find(place.name, ref=place.ref, at=at)


def _told(file: FileInfo) -> dict[str, Any]:
    names = ("name", "size_bytes", "sha256", "modified_at", "mode")
    return {name: getattr(file, name) for name in names} | ({"files": file.files} if file.is_folder else {})


@click.command()
@place_argument
@at_option
@with_json
def cat(place: VaultPath, at: int | None, is_json: bool) -> None:
    """Print a file."""
    with opened(place) as vault:
        for piece in vault.stream(place.name, ref=place.ref, at=at):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@click.command()
@place_argument
@recursive_option
@message_option
@with_json
def rm(place: VaultPath, recursive: bool, message: str, is_json: bool) -> None:
    """Take a file, or with -r a folder, out of a new version. Older versions keep it: see `undelete`, `rollback`."""
    with opened(place) as vault:
        done = vault.remove(place.name, branch=place.ref, recursive=recursive, message=message)
    gone = number_of(done["files"], "file is", "files are")
    Session(is_json).say(f"{gone} gone from version {done['version'][:DIGITS]}.", done)


@click.command()
@click.argument("source", metavar="SRC", type=Place())
@click.argument("target", metavar="DST", type=Place())
@with_json
def mv(source: VaultPath, target: VaultPath, is_json: bool) -> None:
    """Give a file or folder of a workspace another name; its content stays where it is."""
    if source.workspace != target.workspace or source.ref != target.ref:
        raise InvalidError("Only within a branch of a workspace can files be moved", fix="Use cp, then rm.")
    base = source.name.rpartition("/")[2]
    name = joined(target.name, base) if target.is_folder else target.name
    with opened(source) as vault:
        done = vault.copy(source.name, name, ref=source.ref, branch=target.ref, is_move=True)
    Session(is_json).say(f"{number_of(done['files'], 'file')} moved to {replace(target, name=name)}.", done)


@click.command()
@place_argument
@at_option
@with_json
def du(place: VaultPath, at: int | None, is_json: bool) -> None:
    """Say how many files and bytes each folder holds. What is kept of them is less: chunks are kept once, packed."""
    with opened(place) as vault:
        found = list(_files(vault, place, at, is_recursive=False, totals=True))
    rows = [{"size": format_bytes(f.size_bytes), "files": str(f.files or 1), "name": f.name} for f in found]
    files, size = sum(file.files or 1 for file in found), sum(file.size_bytes for file in found)
    rows.append({"size": format_bytes(size), "files": str(files), "name": str(place)})
    raw = {"files": files, "size_bytes": size, "items": [_told(file) for file in found]}
    Session(is_json).table(rows, raw)


@click.command()
@place_argument
@click.argument("limit", type=Limit(), default=None, required=False, metavar="[SIZE|none]")
@with_json
def quota(place: VaultPath, limit: int | str | None, is_json: bool) -> None:
    """Say what a workspace keeps in the vault and may keep; with SIZE (administrators) limit it, e.g. 100GB."""
    with opened(place) as vault:
        if limit is not None:
            vault.set_quota(limit if isinstance(limit, int) else None)
        found = vault.quota()
    most = "no limit" if found["limit_bytes"] is None else f"of {format_bytes(found['limit_bytes'])}"
    Session(is_json).say(f"{place.workspace} keeps {format_bytes(found['stored_bytes'])}, {most}.", found)


@click.command()
@place_argument
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@with_json
def mount(place: VaultPath, folder: str, is_json: bool) -> None:
    """Show one version of a workspace's files as FOLDER, read-only, until it is unmounted (fusermount -u) or Ctrl-C.

    It stays at the version that the address names now. Needs FUSE, and the extra `fuse`.
    """
    if not Path("/dev/fuse").exists():
        raise ConfigError("This machine has no FUSE: there is no /dev/fuse", fix="Use lepton vault cp -r.")
    code = extra_code("lepton.cli.mount", "fuse", hint="libfuse2")
    with opened(place) as vault:
        lines = vault.log(ref=place.ref, limit=1)
        if not lines:
            raise NotFoundError(f"{place} has no files yet", fix="Store one: lepton vault cp")
        try:
            code.mount(vault, lines[0]["version"], place.name, folder)
        except RuntimeError as fault:
            raise ConfigError(
                f"{folder} cannot be mounted: {fault}", fix="Look at its owner, and at fusermount."
            ) from fault


COMMANDS: dict[str, click.Command] = {
    command.name or "": command for command in (cp, ls, cat, rm, mv, du, quota, mount, retention, *versions.COMMANDS)
}
