"""`lepton vault log`, `diff`, `branch`, `merge` and the rest: the versions of a workspace's files."""

from typing import Any

import click

from lepton.cli.kinds import COUNT
from lepton.cli.output import Session, moment, with_json
from lepton.cli.places import DIGITS, message_option, opened, place_argument
from lepton.core.errors import NotFoundError
from lepton.core.size import format_bytes, number_of
from lepton.sdk.place import SCHEME, VaultPath
from lepton.sdk.vault import Vault


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
            "kept": "let go" if line["let_go"] else "",
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
    except NotFoundError as fault:
        try:
            return vault.undelete_branch(f"tags/{name}")
        except NotFoundError:
            raise fault from None


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
    files = number_of(done["files"], "file")
    Session(is_json).say(f"{place.ref} stands at version {done['version'][:DIGITS]}, with {files}.", done)


@click.command()
@place_argument
@click.argument("ref")
@message_option
@with_json
def rollback(place: VaultPath, ref: str, message: str, is_json: bool) -> None:
    """Make a new version of a branch with what an older one, REF, held; nothing is lost."""
    with opened(place) as vault:
        done = vault.roll_back(ref, branch=place.ref, message=message)
    files = number_of(done["files"], "file")
    Session(is_json).say(f"{place.ref} holds {files} again, version {done['version'][:DIGITS]}.", done)


COMMANDS: tuple[click.Command, ...] = (log, diff, undelete, branches, branch, tag, merge, rollback)
