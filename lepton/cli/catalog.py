"""`lepton catalog`: what exists, and what it was made from."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from lepton.cli import complete
from lepton.cli.group import Group
from lepton.cli.kinds import COUNT, KINDS, Id, Ref
from lepton.cli.output import Session, common, moment
from lepton.sdk.artifacts import MOMENTS, Version

FILES_SHOWN = 10


@click.group(cls=Group)
def catalog() -> None:
    """What exists, and what it was made from."""


@catalog.command("list")
@click.option("--kind", type=KINDS, default=None, help="Only versions of this kind.")
@click.option("--name", default="", help="Only versions of this name.")
@click.option("--job", type=Id("a job", "lepton jobs list"), default=None, help="Only what this job left.")
@click.option("--limit", type=COUNT, default=50, show_default=True, help="How many are looked at.")
@common
def list_(session: Session, kind: str | None, name: str, job: str | None, limit: int) -> None:
    """List the newest versions; checkpoints only with --kind checkpoint or --job."""
    found = session.client.catalog.list(kind=kind or "", name=name, job=job or "", limit=limit)
    shown = [version for version in found if kind or job or version.kind != "checkpoint"]
    session.many(shown, hint="bring data in: lepton data add FILE --name NAME")


kind_option = click.option(
    "--kind", type=KINDS, default=None, help="Of which kind; else a model, dataset or raw file is preferred."
)


@catalog.command()
@click.argument("ref", type=Ref(), shell_complete=complete.versions)
@kind_option
@common
def get(session: Session, ref: str, kind: str | None) -> None:
    """Show a version: REF is an id, NAME or NAME@NUMBER."""
    found = session.client.catalog.get(ref, kind=kind or "")
    session.card(version_card(found), dict(found.fields))


def version_card(version: Version) -> dict[str, str]:
    """Fact -> text of a version: what it is, what is known of it, its files and what it was made from."""
    facts = {
        name: moment(value) if name in MOMENTS and isinstance(value, int) else str(value)
        for name, value in version.meta.items()
    }
    row = version.row() | {"sha256": version.digest}
    files = [f"{file['path']}  {file['size_bytes']} B  sha256 {file['digest']}" for file in version.fields["files"]]
    return {
        **{name: text for name, text in row.items() if name != "facts"},
        "job": version.job,
        "made": moment(version.fields["created_at"]),
        **{f"parent {role}": parent for role, parent in version.parents.items()},
        **facts,
        **{f"file {number}": text for number, text in enumerate(files[:FILES_SHOWN], 1)},
        "more files": str(len(files) - FILES_SHOWN) if len(files) > FILES_SHOWN else "",
    }


@catalog.command()
@click.argument("ref", shell_complete=complete.versions)
@common
def lineage(session: Session, ref: str) -> None:
    """Print everything an endpoint or version was made from, back to the raw files and their hashes."""
    found = session.client.catalog.lineage(ref)
    if session.is_json:
        session.json(found)
        return
    for line in lineage_lines(found):
        click.echo(line)


def lineage_lines(found: dict[str, Any]) -> list[str]:
    """The chain as a tree, one version a line under what was made from it; raw files with their SHA-256."""
    versions = {link["version"]["id"]: link["version"] for link in found["links"]}
    start = found["links"][0]["version"]["id"]
    tree = Tree(versions)
    if found["subject"]["kind"] != "endpoint":
        return tree.branch(start, "")
    subject = found["subject"]
    title = f"endpoint {subject['name']}  {subject['state']}  {subject['id']}"
    return [title, *hang([tree.branch(start, "model")])]


class Tree:
    """Draws versions below what was made from them; what was drawn before is only named."""

    def __init__(self, versions: Mapping[str, Any]) -> None:
        self._versions = versions
        self._shown: set[str] = set()

    def branch(self, id: str, role: str) -> list[str]:
        """One version and what it was made from."""
        version = self._versions[id]
        title = f"{f'{role}: ' if role else ''}{version['kind']} {version['name']}@{version['number']}"
        if id in self._shown:
            return [f"{title}  (see above)"]
        self._shown.add(id)
        files = version["files"] if version["kind"] == "raw" else []
        below = [[f"file {file['path']}  sha256 {file['digest']}"] for file in files]
        below += [self.branch(parent, name) for name, parent in version["parents"].items()]
        return [f"{title}  {version['digest'][:16]}  {id}", *hang(below)]


def hang(branches: Sequence[Sequence[str]]) -> list[str]:
    """Branches below one stem: each is the lines of it."""
    lines: list[str] = []
    for number, (title, *rest) in enumerate(branches, 1):
        fork, stem = ("└─ ", "   ") if number == len(branches) else ("├─ ", "│  ")
        lines += [fork + title, *(stem + line for line in rest)]
    return lines


@catalog.command()
@click.argument("ref", type=Ref(), shell_complete=complete.versions)
@click.argument("folder", type=click.Path(file_okay=False))
@kind_option
@common
def download(session: Session, ref: str, folder: str, kind: str | None) -> None:
    """Write the files of version REF into FOLDER, each checked against its hash."""
    version = session.client.catalog.get(ref, kind=kind or "")
    path = version.download(folder)
    session.say(f"{version.ref} is in {path}", {"version": version.id, "folder": str(path)})
