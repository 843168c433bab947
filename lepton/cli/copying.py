"""`lepton vault cp`: between this machine and workspaces, and between workspaces."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import click

from lepton.cli.moving import moving
from lepton.cli.output import Session, with_json
from lepton.cli.places import ADDRESS, DIGITS, message_option, opened, recursive_option
from lepton.core.disk import writing_to
from lepton.core.errors import InvalidError, NotFoundError
from lepton.core.size import number_of
from lepton.sdk.arrived import draft_of
from lepton.sdk.http import CHUNK_BYTES
from lepton.sdk.landing import is_outlet, landed
from lepton.sdk.place import VaultPath, is_address, joined, parse
from lepton.sdk.vault import Vault

STANDARD = "-"
OUTPUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output: where a file goes there, nothing is said there."""
INPUT = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""What names of open files begin with; they are read as they come."""
PACKED = ("gzip", "zstd", "snappy")


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
    target = STANDARD if target in OUTPUT else target
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
    path, is_stream = Path(source), _is_stream(source)
    if is_stream and target.is_folder:
        raise InvalidError(f"What comes from {_called(source)} needs a file's name", fix=f"Write {target}/NAME.")
    if not is_stream and path.is_dir() and not is_recursive:
        raise InvalidError(f"{path} is a folder", fix="Say -r.")
    name = target.name
    if target.is_folder and not path.is_dir():
        name = joined(name, path.name)
    with opened(target) as vault:
        if is_stream:
            with _reading(source) as pieces:
                version = vault.write_stream(name, pieces, branch=target.ref, message=how["message"])
        else:
            with moving("copying") as moved:
                version = vault.upload(path, name, branch=target.ref, progress=moved, **how)
    where = str(replace(target, name=name))
    if not is_stream and path.is_dir() and not any(names for _, _, names in os.walk(path)):
        said = f"{source} has no files, and {where} is as it was: folders without files are not kept."
        session.say(said, {"to": where, "version": version})
        return
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
        _write(Path(target), pieces)
    session.say(f"{source} is in {target}, packed with {kind}.", {"to": target})


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    """A file, whole or not at all; or what a device or pipe is given."""
    if path.is_dir():
        raise InvalidError(f"{path} is a folder", fix="Name a file.")
    with writing_to(path):
        if is_outlet(path):
            with path.open("wb") as out:
                out.writelines(pieces)
            return
        target = landed(path)
        draft = draft_of(target)
        try:
            with draft.open("wb") as out:
                out.writelines(pieces)
            draft.replace(target)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


@contextmanager
def _reading(source: str) -> Iterator[Iterator[bytes]]:
    """The pieces of a local file, or of what comes through a pipe or standard input."""
    if source == STANDARD:
        yield _poured(sys.stdin.buffer)
        return
    try:
        if _is_stream(source):
            with Path(source).open("rb") as file:
                yield _poured(file)
            return
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
        if not is_recursive or _is_file(vault, source):
            vault.find(source.name, ref=source.ref)  # says so if it is a folder
            path = path / source.name.rpartition("/")[2] if path.is_dir() or target.endswith("/") else path
        with moving("copying") as moved:
            written = vault.download(source.name, path, ref=source.ref, again=again, progress=moved)
    said = number_of(written, f"file of {source} is", f"files of {source} are")
    session.say(f"{said} in {path}.", {"to": str(path), "files": written})


def _is_file(vault: Vault, place: VaultPath) -> bool:
    try:
        return bool(place.name and vault.find(place.name, ref=place.ref))
    except NotFoundError:
        return False


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


def _is_stream(source: str) -> bool:
    """Whether it is read as it comes: standard input, another open file, or a pipe."""
    return source == STANDARD or source.startswith(INPUT) or Path(source).is_fifo()


def _called(source: str) -> str:
    return "standard input" if source == STANDARD else source


def _poured(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece
