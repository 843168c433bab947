"""`lepton secrets`, `workspaces` and `users`."""

from typing import Any

import click

from lepton.cli.group import Group
from lepton.cli.kinds import Id, Name, Number
from lepton.cli.output import Session, common, moment

LIFETIME = Number(0, 1e9, is_above=True, unit="seconds")


def _named(found: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"name": row["name"], "made": moment(row["created_at"])} for row in found]


@click.group(cls=Group)
def secrets() -> None:
    """Values that jobs may use and nobody can read back."""


@secrets.command("set")
@click.argument("name", type=Name())
@click.option("--value", prompt=True, hide_input=True, help="Asked for unless given, so that no shell remembers it.")
@common
def set_(session: Session, name: str, value: str) -> None:
    """Store secret NAME, or replace it."""
    made = session.client.security.set_secret(name, value)
    session.say(f"secret {name} is stored", made)


@secrets.command("list")
@common
def list_secrets(session: Session) -> None:
    """List names of secrets."""
    found = session.client.security.secrets()
    rows = [{"name": row["name"], "changed": moment(row["updated_at"])} for row in found]
    session.table(rows, found, hint="store one: lepton secrets set NAME")


@secrets.command("delete")
@click.argument("name")
@common
def delete_secret(session: Session, name: str) -> None:
    """Destroy secret NAME."""
    session.client.security.delete_secret(name)
    session.say(f"secret {name} is gone", {"deleted": name})


@click.group(cls=Group)
def workspaces() -> None:
    """Tenants and their members."""


@workspaces.command("list")
@common
def list_workspaces(session: Session) -> None:
    """List the workspaces you reach."""
    found = session.client.security.workspaces()
    session.table(_named(found), found)


@workspaces.command("create")
@click.argument("name", type=Name())
@common
def create_workspace(session: Session, name: str) -> None:
    """Make workspace NAME."""
    session.say(f"workspace {name} is made", session.client.security.create_workspace(name))


@workspaces.command("delete")
@click.argument("name")
@common
def delete_workspace(session: Session, name: str) -> None:
    """End workspace NAME, in which nothing may live."""
    session.client.security.delete_workspace(name)
    session.say(f"workspace {name} is gone", {"deleted": name})


@workspaces.command()
@common
def members(session: Session) -> None:
    """List the members of the workspace given by --workspace."""
    found = session.client.security.members()
    rows = [{"user": user, "role": role} for user, role in found.items()]
    session.table(rows, found, hint="only administrators of the platform reach it")


@workspaces.command()
@click.argument("user")
@click.argument("role", metavar="ROLE", type=click.Choice(["admin", "editor", "viewer", "none"]))
@common
def grant(session: Session, user: str, role: str) -> None:
    """Give USER a ROLE in the workspace given by --workspace; `none` ends the membership."""
    found = session.client.security.set_role(user, "" if role == "none" else role)
    session.table([{"user": name, "role": given} for name, given in found.items()], found)


@click.group(cls=Group)
def users() -> None:
    """People and their tokens."""


@users.command("list")
@common
def list_users(session: Session) -> None:
    """List users."""
    found = session.client.security.users()
    rows = [{**row, "platform admin": _yes(user)} for row, user in zip(_named(found), found, strict=True)]
    session.table(rows, found)


def _yes(user: dict[str, Any]) -> str:
    return "yes" if user["spec"].get("is_platform_admin") else ""


@users.command("create")
@click.argument("name", type=Name())
@click.option("--platform-admin", "is_platform_admin", is_flag=True, help="May make workspaces and users.")
@common
def create_user(session: Session, name: str, is_platform_admin: bool) -> None:
    """Make user NAME."""
    session.say(f"user {name} is made", session.client.security.create_user(name, is_platform_admin=is_platform_admin))


@users.command("delete")
@click.argument("name")
@common
def delete_user(session: Session, name: str) -> None:
    """End user NAME, with all tokens."""
    session.client.security.delete_user(name)
    session.say(f"user {name} is gone", {"deleted": name})


@users.command("token")
@click.argument("name")
@click.option("--label", default="", help="What it is for.")
@click.option(
    "--lifetime", "lifetime_s", type=LIFETIME, default=None, help="Seconds until it expires; never unless given."
)
@common
def create_token(session: Session, name: str, label: str, lifetime_s: float | None) -> None:
    """Make a token for user NAME and print it: the only time it is shown."""
    made = session.client.security.create_token(name, label=label, lifetime_s=lifetime_s)
    session.say(str(made["token"]), made)


@users.command("tokens")
@click.argument("name")
@common
def list_tokens(session: Session, name: str) -> None:
    """List the tokens of user NAME."""
    found = session.client.security.tokens(name)
    rows = [
        {
            "id": token["id"],
            "label": token["label"],
            "made": moment(token["created_at"]),
            "expires": moment(token["expires_at"]) or "never",
        }
        for token in found
    ]
    session.table(rows, found, hint="make one: lepton users token NAME")


@users.command("revoke")
@click.argument("name")
@click.argument("id", type=Id("a token", "lepton users tokens NAME"))
@common
def revoke(session: Session, name: str, id: str) -> None:
    """End token ID of user NAME."""
    session.client.security.revoke_token(name, id)
    session.say(f"token {id} is revoked", {"revoked": id})
