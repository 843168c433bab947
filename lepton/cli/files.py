"""`lepton vault cp`, `ls`, `cat` and the rest: the files of workspaces, and their versions."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click

from lepton.cli import versions
from lepton.cli.extra import extra_code
from lepton.cli.moving import moving
from lepton.cli.output import Session, moment, with_json
from lepton.cli.places import (
    ADDRESS,
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
from lepton.sdk.arrived import draft_of
from lepton.sdk.http import CHUNK_BYTES
from lepton.sdk.place import VaultPath, is_address, joined, parse
from lepton.sdk.vault import FileInfo, Vault

STANDARD = "-"
PACKED = ("gzip", "zstd", "snappy")
AT_ONCE = 1000
"""Lines that are printed together."""


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@recursive_option
@message_option
@click.option("--again", is_flag=True, help="Copy also what is there with the same size and time.")
@click.option("--unpack", type=click.Choice([*PACKED, "lzo"]), help="Store what SRC, packed so, holds.")
@click.option("--pack", type=click.Choice(PACKED), help="Write DST packed so.")
@with_json
def cp(source: str, target: str, recursive: bool, message: str, is_json: bool, **form: Any) -> None:
    """Copy a file, or with -r what lies in a folder. SRC and DST are local paths, `-` or lepton://WORKSPACE/PATH.

    What is there already with the same size and time is left alone; a copy that was cut short goes on when it is begun
    again. Many files make one new version.
    """
    session = Session(is_json)
    if (form["unpack"] and (recursive or not is_address(target))) or (
        form["pack"] and (recursive or is_address(target))
    ):
        raise InvalidError("One file is unpacked on its way in, or packed on its way out", fix="Leave it out.")
    if form["unpack"]:
        _unpack(session, source, parse(target), kind=form["unpack"], message=message)
    elif form["pack"]:
        _pack(session, parse(source), target, kind=form["pack"])
    elif is_address(source) and is_address(target):
        _copy_inside(session, parse(source), parse(target), is_recursive=recursive)
    elif is_address(target):
        how = {"message": message, "again": form["again"]}
        _copy_in(session, source, parse(target), is_recursive=recursive, how=how)
    elif is_address(source):
        _copy_out(session, parse(source), target, is_recursive=recursive, again=form["again"])
    else:
        raise InvalidError("Neither SRC nor DST is in the vault", fix=f"Write one as {ADDRESS}.")


def _copy_in(session: Session, source: str, target: VaultPath, *, is_recursive: bool, how: Mapping[str, Any]) -> None:
    path = Path(source)
    if source == STANDARD and target.is_folder:
        raise InvalidError("What comes from standard input needs a file's name", fix=f"Write {target}/NAME.")
    if source != STANDARD and path.is_dir() and not is_recursive:
        raise InvalidError(f"{path} is a folder", fix="Say -r.")
    name = target.name
    if target.is_folder and not path.is_dir():
        name = joined(name, path.name)
    with opened(target) as vault, moving("copying") as moved:
        if source == STANDARD:
            version = vault.write_stream(name, _standard_input(), branch=target.ref, message=how["message"])
        else:
            version = vault.upload(path, name, branch=target.ref, progress=moved, **how)
    where = str(replace(target, name=name))
    session.say(f"{source} is in {where}, version {version[:DIGITS]}.", {"to": where, "version": version})


def _unpack(session: Session, source: str, target: VaultPath, *, kind: str, message: str) -> None:
    if target.is_folder:
        raise InvalidError("What is unpacked needs a name", fix=f"Write {target}/NAME.")
    with opened(target) as vault, _reading(source) as pieces:
        version = vault.write_stream(target.name, pieces, branch=target.ref, message=message, unpack=kind)
    told = {"to": str(target), "version": version}
    session.say(f"What {source} holds is in {target}, version {version[:DIGITS]}.", told)


def _pack(session: Session, source: VaultPath, target: str, *, kind: str) -> None:
    with opened(source) as vault:
        pieces = vault.packed(source.name, kind, ref=source.ref)
        if target == STANDARD:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            return
        draft = draft_of(Path(target))
        with draft.open("wb") as out:
            for piece in pieces:
                out.write(piece)
        draft.replace(target)
    session.say(f"{source} is in {target}, packed with {kind}.", {"to": target})


@contextmanager
def _reading(source: str) -> Iterator[Iterator[bytes]]:
    """The pieces of a local file, or of standard input."""
    if source == STANDARD:
        yield _standard_input()
        return
    try:
        size = Path(source).stat().st_size
        with Path(source).open("rb") as file, moving("copying") as moved:
            yield _counted(file, size, moved)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as fault:
        raise InvalidError(f"{source} cannot be read: {fault.strerror}", fix="Check the path.") from fault


def _counted(file: IO[bytes], size: int, moved: Callable[[int, int], None]) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        moved(file.tell(), size)
        yield piece


def _copy_out(session: Session, source: VaultPath, target: str, *, is_recursive: bool, again: bool) -> None:
    with opened(source) as vault:
        if target == STANDARD:
            for piece in vault.stream(source.name, ref=source.ref):
                sys.stdout.buffer.write(piece)
            return
        path = Path(target)
        if not is_recursive:
            vault.find(source.name, ref=source.ref)  # says so if it is a folder
            path = path / source.name.rpartition("/")[2] if path.is_dir() or target.endswith("/") else path
            path.parent.mkdir(parents=True, exist_ok=True)
        with moving("copying") as moved:
            written = vault.download(source.name, path, ref=source.ref, again=again, progress=moved)
    said = number_of(written, f"file of {source} is", f"files of {source} are")
    session.say(f"{said} in {path}.", {"to": str(path), "files": written})


def _copy_inside(session: Session, source: VaultPath, target: VaultPath, *, is_recursive: bool) -> None:
    with opened(source) as vault:
        if not is_recursive:
            vault.find(source.name, ref=source.ref)
    name = target.name
    if target.is_folder and not is_recursive:
        base = source.name.rpartition("/")[2]
        name = joined(name, base)
    with opened(target) as vault, moving("copying") as moved:
        if source.workspace == target.workspace:
            done = vault.copy(source.name, name, ref=source.ref, branch=target.ref)
        else:
            done = vault.copy_from(
                source.workspace, source.name, name, ref=source.ref, branch=target.ref, progress=moved
            )
    where = str(replace(target, name=name))
    said = number_of(done["files"], "file is", "files are")
    session.say(f"{said} in {where}, version {done['version'][:DIGITS]}.", {"to": where, **done})


def _standard_input() -> Iterator[bytes]:
    while piece := sys.stdin.buffer.read(CHUNK_BYTES):
        yield piece


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
