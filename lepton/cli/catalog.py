"""`lepton catalog`: what exists, and what it was made from."""

from typing import Any

import click

from lepton.cli.output import Session, common


@click.group()
def catalog() -> None:
    """What exists, and what it was made from."""


@catalog.command("list")
@click.option("--kind", default="", help="raw, dataset, report, model, checkpoint, code, result or capture.")
@click.option("--name", default="", help="Only versions of this name.")
@click.option("--job", default="", help="Only what this job left.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@common
def list_(session: Session, kind: str, name: str, job: str, limit: int) -> None:
    """List the newest versions."""
    session.many(session.client.catalog.list(kind=kind, name=name, job=job, limit=limit))


@catalog.command()
@click.argument("ref")
@common
def get(session: Session, ref: str) -> None:
    """Show a version: REF is an id, NAME or NAME@NUMBER."""
    session.one(session.client.catalog.get(ref))


@catalog.command()
@click.argument("ref")
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
    """The chain as an indented tree, one version a line; raw files with their SHA-256."""
    subject = found["subject"]
    shift = 1 if subject["kind"] == "endpoint" else 0
    lines = [f"endpoint {subject['name']}  {subject['state']}  {subject['id']}"] if shift else []
    for link in found["links"]:
        version, depth = link["version"], link["depth"] + shift
        role = f"{link['role']}: " if link["role"] else ""
        indent = "   " * (depth - 1) + "└─ " if depth else ""
        title = f"{version['kind']} {version['name']}@{version['number']}"
        lines.append(f"{indent}{role}{title}  {version['digest'][:16]}  {version['id']}")
        if version["kind"] == "raw":
            lines += [f"{'   ' * depth}└─ file {file['path']}  sha256 {file['digest']}" for file in version["files"]]
    return lines


@catalog.command()
@click.argument("ref")
@click.argument("folder", type=click.Path(file_okay=False))
@common
def download(session: Session, ref: str, folder: str) -> None:
    """Write the files of version REF into FOLDER, each checked against its hash."""
    version = session.client.catalog.get(ref)
    path = version.download(folder)
    session.say(f"{version.ref} is in {path}", {"version": version.id, "folder": str(path)})
