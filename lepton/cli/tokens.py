"""`lepton tokens`: signed tokens that endpoints check by themselves."""

import click

from lepton.cli import complete
from lepton.cli.group import Group
from lepton.cli.kinds import Id, Number
from lepton.cli.output import Session, common

LIFETIME = Number(1, 86_400, is_whole=True, unit="seconds")


@click.group(cls=Group)
def tokens() -> None:
    """Signed tokens (JWT) for endpoints."""


@tokens.command()
@click.option("--endpoint", default="", shell_complete=complete.endpoints, help="For this one.  [default: all]")
@click.option("--lifetime", "lifetime_s", type=LIFETIME, default=600, show_default=True, help="Seconds until it ends.")
@common
def jwt(session: Session, endpoint: str, lifetime_s: int) -> None:
    """Make a JWT from your token and print it: for one endpoint, or for all of the workspace."""
    made = session.client.security.create_jwt(endpoint, lifetime_s=lifetime_s)
    session.say(str(made["token"]), made)


@tokens.command()
@click.argument("id", type=Id("a JWT", "lepton tokens jwt --json"))
@click.option("--user", default="", help="Whose it is; of others only administrators may.  [default: you]")
@common
def revoke(session: Session, id: str, user: str) -> None:
    """Take back the JWT with this ID: endpoints refuse it within seconds."""
    whose = user or str(session.client.security.whoami()["name"])
    session.client.security.revoke_jwt(whose, id)
    session.say(f"JWT {id} is revoked", {"revoked": id})


@tokens.command()
@common
def keys(session: Session) -> None:
    """Print the public keys that JWTs are checked with, as a JWKS document."""
    session.json(session.client.security.jwks())
