"""`lepton vault cp`, `ls`, `cat` and the rest: the files of workspaces, and their versions."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lepton.cli.kinds import COUNT, ParamType, Size
from lepton.cli.moving import moving
from lepton.cli.output import Session, moment, with_json
from lepton.core.clock import to_micros
from lepton.core.errors import InvalidError, NotFoundError
from lepton.core.size import format_bytes
from lepton.sdk.client import connect
from lepton.sdk.place import SCHEME, VaultPath, is_address, parse
from lepton.sdk.vault import FileInfo, Vault

ADDRESS = "lepton://WORKSPACE/PATH"
STANDARD = "-"
DIGITS = 16
PIECE_BYTES = 1 << 20


class Place(ParamType):
    """An address in the vault."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VaultPath:
        """Read one."""
        if isinstance(value, VaultPath):
            return value
        try:
            return parse(value)
        except InvalidError as fault:
            self.fail(f"{fault}. {fault.fix}", param, ctx)


class When(ParamType):
    """A time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read ISO 8601; without a zone it is UTC."""
        if isinstance(value, int):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value[:80]!r} is no time; write 2026-01-31T09:30, in UTC or with a zone.", param, ctx)
        return to_micros(at if at.tzinfo else at.replace(tzinfo=UTC))


class Limit(ParamType):
    """A size, or `none`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Bytes, or `none`."""
        return value if value == "none" else int(Size().convert(value, param, ctx))


place_argument = click.argument("place", metavar=ADDRESS, type=Place())
at_option = click.option(
    "--at", type=When(), default=None, help="As the branch stood at this time, e.g. 2026-01-31T09:30."
)
message_option = click.option("-m", "--message", default="", help="Why, for the log.")
recursive_option = click.option("-r", "--recursive", is_flag=True, help="A folder with all that lies in it.")


@contextmanager
def opened(place: VaultPath) -> Iterator[Vault]:
    """The files of the workspace that an address names."""
    with connect(workspace=place.workspace) as client:
        yield client.vault


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@recursive_option
@message_option
@with_json
def cp(source: str, target: str, recursive: bool, message: str, is_json: bool) -> None:
    """Copy a file, or with -r what lies in a folder. SRC and DST are local paths, `-` or lepton://WORKSPACE/PATH.

    What is there already with the same size and time is left alone; a copy that was cut short goes on when it is begun
    again. Many files make one new version.
    """
    session = Session(is_json)
    if is_address(source) and is_address(target):
        _copy_inside(session, parse(source), parse(target), is_recursive=recursive)
    elif is_address(target):
        _copy_in(session, source, parse(target), is_recursive=recursive, message=message)
    elif is_address(source):
        _copy_out(session, parse(source), target, is_recursive=recursive)
    else:
        raise InvalidError("Neither SRC nor DST is in the vault", fix=f"Write one as {ADDRESS}.")


def _copy_in(session: Session, source: str, target: VaultPath, *, is_recursive: bool, message: str) -> None:
    path = Path(source)
    if source == STANDARD and target.is_folder:
        raise InvalidError("What comes from standard input needs a file's name", fix=f"Write {target}/NAME.")
    if source != STANDARD and path.is_dir() and not is_recursive:
        raise InvalidError(f"{path} is a folder", fix="Say -r.")
    name = target.name
    if target.is_folder and not path.is_dir():
        name = f"{name}/{path.name}" if name else path.name
    with opened(target) as vault, moving("copying") as moved:
        if source == STANDARD:
            version = vault.write_stream(name, _standard_input(), branch=target.ref, message=message)
        else:
            version = vault.upload(path, name, branch=target.ref, message=message, progress=moved)
    where = str(replace(target, name=name))
    session.say(f"{source} is in {where}, version {version[:DIGITS]}.", {"to": where, "version": version})


def _copy_out(session: Session, source: VaultPath, target: str, *, is_recursive: bool) -> None:
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
            written = vault.download(source.name, path, ref=source.ref, progress=moved)
    session.say(f"{written} files of {source} are in {path}.", {"to": str(path), "files": written})


def _copy_inside(session: Session, source: VaultPath, target: VaultPath, *, is_recursive: bool) -> None:
    with opened(source) as vault:
        if not is_recursive:
            vault.find(source.name, ref=source.ref)
    name = target.name
    if target.is_folder and not is_recursive:
        base = source.name.rpartition("/")[2]
        name = f"{name}/{base}" if name else base
    with opened(target) as vault:
        done = vault.copy(source.name, name, ref=source.ref, branch=target.ref, source=source.workspace)
    where = str(replace(target, name=name))
    session.say(f"{done['files']} files are in {where}, version {done['version'][:DIGITS]}.", {"to": where, **done})


def _standard_input() -> Iterator[bytes]:
    while piece := sys.stdin.buffer.read(PIECE_BYTES):
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
        for file in found:
            size = "" if file.is_folder else format_bytes(file.size_bytes)
            when = "" if file.is_folder else moment(file.modified_at)
            click.echo(f"{size:>10}  {when:19}  {file.name}")


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
    Session(is_json).say(f"{done['files']} files are gone from version {done['version'][:DIGITS]}.", done)


@click.command()
@click.argument("source", metavar="SRC", type=Place())
@click.argument("target", metavar="DST", type=Place())
@with_json
def mv(source: VaultPath, target: VaultPath, is_json: bool) -> None:
    """Give a file or folder of a workspace another name; its content stays where it is."""
    if source.workspace != target.workspace or source.ref != target.ref:
        raise InvalidError("Only within a branch of a workspace can files be moved", fix="Use cp, then rm.")
    base = source.name.rpartition("/")[2]
    name = "/".join(filter(None, (target.name, base))) if target.is_folder else target.name
    with opened(source) as vault:
        done = vault.copy(source.name, name, ref=source.ref, branch=target.ref, is_move=True)
    Session(is_json).say(f"{done['files']} files moved to {replace(target, name=name)}.", done)


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
@click.option("--limit", type=COUNT, default=20, show_default=True, help="How many.")
@with_json
def log(place: VaultPath, limit: int, is_json: bool) -> None:
    """List the versions of a workspace, newest first; with a PATH only those that changed that file or folder."""
    with opened(place) as vault:
        found = vault.log(ref=place.ref, name=place.name, limit=limit)
    rows = [
        {
            "version": line["version"][:DIGITS],
            "made": moment(line["at"]),
            "by": line["by"],
            "files": str(line["files"]),
            "size": format_bytes(line["size_bytes"]),
            "message": line["message"],
        }
        for line in found
    ]
    Session(is_json).table(rows, found, hint=f"store a file: lepton vault cp FILE {SCHEME}{place.workspace}/")


@click.command()
@place_argument
@click.argument("base", default="", metavar="[BASE]")
@with_json
def diff(place: VaultPath, base: str, is_json: bool) -> None:
    """Say where a version differs from BASE, another branch, tag or version; left out: from what it was made from."""
    session = Session(is_json)
    with opened(place) as vault:
        found = vault.diff(base, ref=place.ref, folder=place.name)
        if is_json:
            session.json(list(found))
            return
        for change in found:
            old, new = change["old"], change["new"]
            mark = "+" if old is None else "-" if new is None else "~"
            sizes = " -> ".join(format_bytes(side["size_bytes"]) for side in (old, new) if side)
            click.echo(f"{mark} {change['name']}  {sizes}")


@click.command()
@place_argument
@with_json
def undelete(place: VaultPath, is_json: bool) -> None:
    """Bring a file back that was taken out; without a PATH a branch or tag that was deleted, WORKSPACE@NAME."""
    with opened(place) as vault:
        done = vault.undelete(place.name, branch=place.ref) if place.name else _undelete_branch(vault, place.ref)
    Session(is_json).say(f"{place} is back, in version {done['version'][:DIGITS]}.", done)


def _undelete_branch(vault: Vault, name: str) -> dict[str, Any]:
    try:
        return vault.undelete_branch(name)
    except NotFoundError:
        return vault.undelete_branch(f"tags/{name}")


@click.command()
@place_argument
@with_json
def branches(place: VaultPath, is_json: bool) -> None:
    """List the branches and tags of a workspace."""
    with opened(place) as vault:
        found = vault.branches()
    rows = [
        {
            "name": line["name"],
            "version": line["version"][:DIGITS],
            "made": moment(line["at"]),
            "files": str(line["files"]),
            "size": format_bytes(line["size_bytes"]),
        }
        for line in found
    ]
    Session(is_json).table(rows, found, hint="`main` begins with the first file")


def _standing(kind: str, help_text: str) -> click.Command:
    """`branch` and `tag`: the same but for the kind."""

    @click.command(kind, help=help_text)
    @place_argument
    @click.argument("name")
    @click.option("--delete", is_flag=True, help="Delete it; `undelete` brings it back.")
    @with_json
    def command(place: VaultPath, name: str, delete: bool, is_json: bool) -> None:
        whole = f"tags/{name}" if kind == "tag" else name
        with opened(place) as vault:
            if delete:
                vault.delete_branch(whole)
                Session(is_json).say(f"The {kind} {name} is deleted.", {"name": whole})
                return
            made = vault.branch(whole, ref=place.ref)
        Session(is_json).say(f"The {kind} {name} stands at version {made['version'][:DIGITS]}.", made)

    return command


branch = _standing("branch", "Begin a branch NAME at a version, WORKSPACE or WORKSPACE@REF.")
tag = _standing("tag", "Set a tag NAME at a version, WORKSPACE or WORKSPACE@REF.")


@click.command()
@place_argument
@click.argument("ref")
@click.option("--take", type=click.Choice(["ours", "theirs"]), default=None, help="Whose file, where both changed it.")
@message_option
@with_json
def merge(place: VaultPath, ref: str, take: str | None, message: str, is_json: bool) -> None:
    """Bring what branch, tag or version REF changed into a branch; refused, with names, where both changed a file."""
    with opened(place) as vault:
        done = vault.merge(ref, into=place.ref, take=take or "", message=message)
    Session(is_json).say(f"{place.ref} stands at version {done['version'][:DIGITS]}, with {done['files']} files.", done)


@click.command()
@place_argument
@click.argument("ref")
@message_option
@with_json
def rollback(place: VaultPath, ref: str, message: str, is_json: bool) -> None:
    """Make a new version of a branch with what an older one, REF, held; nothing is lost."""
    with opened(place) as vault:
        done = vault.roll_back(ref, branch=place.ref, message=message)
    Session(is_json).say(f"{place.ref} holds {done['files']} files again, version {done['version'][:DIGITS]}.", done)


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


COMMANDS: dict[str, click.Command] = {
    command.name or "": command
    for command in (cp, ls, cat, rm, mv, du, log, diff, undelete, branches, branch, tag, merge, rollback, quota)
}
