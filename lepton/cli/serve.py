"""`lepton serve`: deploy models as endpoints, and call them."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import click

from lepton.cli import complete
from lepton.cli.group import Group
from lepton.cli.kinds import ENDPOINT_STATES, PORT, RANK, Name, Number, Size
from lepton.cli.needs import needs
from lepton.cli.output import Session, common, moment
from lepton.cli.standing import maybe_standing

if TYPE_CHECKING:
    from lepton.sdk.endpoints import Endpoint
    from lepton.sdk.limits import EndpointOptions, FrontOptions

PATIENCE_S = 2.0
"""An endpoint that is ready within this is not worth a note."""
HERE = click.Path(exists=True, dir_okay=False)
RATE = Number(0, 1_000_000, is_whole=True)
CONNECTIONS = Number(16, 1_000_000, is_whole=True)


@click.group(cls=Group)
def serve() -> None:
    """Deploy models as endpoints, and call them."""


@serve.command()
@click.argument("target", shell_complete=complete.models)
@click.option("--name", type=Name(), required=True, help="What to call the endpoint.")
@needs
@click.option("--port", type=PORT, default=None, help="Where it answers; 0: any free port.  [default: 0]")
@click.option("--host", default=None, help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--front", default=None, shell_complete=complete.endpoints, help="Front that it shares with others.")
@click.option(
    "--host-name", "hosts", multiple=True, help="Name by which that front's clients ask for it; several times."
)
@click.option("--rate", "rate_per_s", type=RATE, default=None, help="Requests a second of each user; 0: any number.")
@click.option("--quota", "quota_per_day", type=RATE, default=None, help="Requests a day of each user; 0: any number.")
@click.option("--max-connections", type=CONNECTIONS, default=None, help="Clients at one time.  [default: 4096]")
@click.option(
    "--max-held", "max_held_bytes", type=Size(), default=None, help="Of requests, in the front.  [default: 256M]"
)
@click.option(
    "--allow", multiple=True, help="Network whose addresses may connect, e.g. 10.0.0.0/8; several times; '': any."
)
@click.option("--tls-cert", default=None, help="Certificate chain in PEM, by its path where the endpoint runs.")
@click.option("--tls-key", default=None, help="Its key.")
@click.option("--jwt-issuer", default=None, help="Take JWTs of this issuer too, with the next two.")
@click.option("--jwt-audience", default=None, help="Their audience.")
@click.option("--jwt-keys", default=None, help="URL of the issuer's JWKS, or its path where the endpoint runs.")
@click.option(
    "--isolation", type=click.Choice(["own", "closed"]), default=None, help="What its replicas see; pickles: closed."
)
@maybe_standing
@click.option("--replace", "is_replacing", is_flag=True, help="If there is an endpoint NAME, give it TARGET.")
@click.option("--wait/--no-wait", "is_waiting", default=True, help="Return when it answers.")
@common
def deploy(session: Session, target: str, name: str, is_replacing: bool, is_waiting: bool, **wishes: Any) -> None:
    """Deploy TARGET as an endpoint: a model version, a service's file.py[:Class], or a model's KIND:FILE.

    With --replace an endpoint that is there gets TARGET in place: what it was answers until TARGET does, or goes first
    where both cannot be, as at one --port. It keeps its front, replicas and all other limits that are not given.
    """
    serve = session.client.serve
    put = serve.apply if is_replacing else serve.deploy
    endpoint = put(target, name=name, **cast("EndpointOptions", _given(wishes)))
    session.one(endpoint.wait(tell=_teller(session, endpoint)) if is_waiting else endpoint)


@serve.command()
@click.argument("name", type=Name())
@click.option("--port", type=PORT, default=None, help="Where it answers; 0: any free port.  [default: 0]")
@click.option("--host", default=None, help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--max-connections", type=CONNECTIONS, default=None, help="Clients at one time.  [default: 4096]")
@click.option(
    "--max-held", "max_held_bytes", type=Size(), default=None, help="Of requests, in the front.  [default: 256M]"
)
@click.option(
    "--allow", multiple=True, help="Network whose addresses may connect, e.g. 10.0.0.0/8; several times; '': any."
)
@click.option("--tls-cert", default=None, help="Certificate chain in PEM, by its path where the front runs.")
@click.option("--tls-key", default=None, help="Its key.")
@maybe_standing
@click.option("--wait/--no-wait", "is_waiting", default=True, help="Return when it answers.")
@common
def front(session: Session, name: str, is_waiting: bool, **wishes: Any) -> None:
    """Make NAME a front that endpoints share: one address for all that are deployed with --front NAME."""
    made = session.client.serve.front(name, **cast("FrontOptions", _given(wishes)))
    session.one(made.wait(tell=_teller(session, made)) if is_waiting else made)


def _teller(session: Session, endpoint: "Endpoint") -> Callable[[str], None]:
    """Says on standard error what an endpoint waits for: once it has waited a while, and when that changes."""
    begun, said = monotonic(), ""

    def tell(what: str) -> None:
        nonlocal said
        if what != said and monotonic() - begun > PATIENCE_S:
            said = what
            session.note(f"{endpoint.name} is {what}", endpoint=endpoint.id)

    return tell


def _given(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for; the rest is the server's to choose."""
    given = {field: wish for field, wish in wishes.items() if wish not in (None, ())}
    return {field: [one for one in wish if one] if isinstance(wish, tuple) else wish for field, wish in given.items()}


def _absolute(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """A file from here: the front works in another folder. Not followed: certificates that are renewed are links."""
    return os.path.abspath(value) if value else ""


@serve.command()
@click.argument("entry")
@click.option("--port", type=PORT, default=8000, show_default=True, help="Where it answers; 0: any free port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@needs
@click.option("--reload/--no-reload", "is_reloading", default=True, help="Start anew when a file changes.")
@click.option(
    "--tls-cert",
    type=HERE,
    callback=_absolute,
    default=None,
    help="Certificate chain in PEM; with --tls-key it speaks TLS.",
)
@click.option("--tls-key", type=HERE, callback=_absolute, default=None, help="Its key.")
@common
def run(session: Session, entry: str, **wishes: Any) -> None:
    """Serve ENTRY, a file.py[:Class] or a model's KIND:FILE, here while you edit it; no platform is needed.

    It runs as `serve deploy` would run it: what the class asks for counts, what is given here instead. Ctrl-C lets it
    answer what it has begun; once more ends it at once.
    """
    import_module("lepton.cli.workbench").serve_entry(entry, **_given(wishes))


@serve.command("list")
@click.option("--state", type=ENDPOINT_STATES, default=None, help="Only endpoints in this state.")
@common
def list_(session: Session, state: str | None) -> None:
    """List endpoints."""
    found = session.client.serve.list(state=state or "")
    living = [endpoint for endpoint in found if state or endpoint.state != "deleted"]
    session.many(living, hint="deploy a model: lepton serve deploy MODEL --name NAME")


@serve.command()
@click.argument("endpoint", shell_complete=complete.endpoints)
@common
def get(session: Session, endpoint: str) -> None:
    """Show ENDPOINT and what it answered lately."""
    found = session.client.serve.get(endpoint)
    served = {name: f"{value:g}" for name, value in found.status.get("served", {}).items() if name != "at"}
    session.card({**found.row(), "why": str(found.status.get("why", "")), **served}, found.fields)


@serve.command()
@click.argument("endpoint", shell_complete=complete.endpoints)
@click.option("-f", "--follow", is_flag=True, help="Go on until it is taken down.")
@click.option(
    "--rank",
    type=RANK,
    default=0,
    show_default=True,
    help="0: the front; 1 and up: the workers. Of an endpoint that shares a front, 0 is the first worker.",
)
@common
def logs(session: Session, endpoint: str, follow: bool, rank: int) -> None:
    """Print what the processes of ENDPOINT write."""
    job = session.client.jobs.get(session.client.serve.get(endpoint).job)
    session.stream(job.logs(rank=rank, follow=follow), {"endpoint": endpoint, "rank": rank})


@serve.command()
@click.argument("endpoint", shell_complete=complete.endpoints)
@common
def why(session: Session, endpoint: str) -> None:
    """Say why ENDPOINT is as it is: which of its processes have died and why, and what they wrote last."""
    found = session.client.serve.get(endpoint).why()
    log = f"\n\n{found['log']}" if found["log"] else ""
    died = "".join(f"\n{_death(one)}" for one in found["deaths"])
    session.say(f"{found['state']}: {found['why']}{died}{log}", found)


def _death(one: Mapping[str, Any]) -> str:
    """One line of a process that has died and was replaced."""
    how_often = "once" if one["count"] == 1 else f"{one['count']} times"
    return f"rank {one['rank']} has ended {how_often} and was started again, last at {moment(one['at'])}: {one['why']}"


@serve.command()
@click.argument("endpoint", shell_complete=complete.endpoints)
@click.argument("inputs", default="-")
@click.option("--path", default="", help="Of a service: which of its handlers, e.g. /greet; its fields are INPUTS.")
@click.option("--cacert", default="", help="Certificates to trust, in PEM, if the endpoint's own is private.")
@common
def call(session: Session, endpoint: str, inputs: str, path: str, cacert: str) -> None:
    """Ask ENDPOINT. INPUTS is JSON, @FILE with JSON, or - to read it from standard input."""
    asked, found = _read(inputs), session.client.serve.get(endpoint)
    answer = found.ask(path, asked, cacert=cacert) if path else found.predict(asked, cacert=cacert)
    if isinstance(answer, bytes):
        click.echo(answer, nl=False)
    else:
        session.json(answer)


def _read(inputs: str) -> Any:
    try:
        if inputs == "-":
            if sys.stdin.isatty():
                click.echo("Write JSON, then Ctrl-D.", err=True)
            return json.load(sys.stdin)
        if inputs.startswith("@"):
            with open(inputs[1:]) as file:
                return json.load(file)
        return json.loads(inputs)
    except (OSError, ValueError) as fault:
        raise click.BadParameter(
            f"{inputs[:80]!r} is not JSON: {fault}. Write e.g. '[[0, 1], [2, 3]]', @FILE, or - for standard input.",
            param_hint="INPUTS",
        ) from None


@serve.command()
@click.argument("endpoint", shell_complete=complete.endpoints)
@click.option("--wait/--no-wait", "is_waiting", default=True, help="Return when it is gone.")
@common
def delete(session: Session, endpoint: str, is_waiting: bool) -> None:
    """Take ENDPOINT down."""
    found = session.client.serve.get(endpoint).delete()
    session.one(found.wait("deleted") if is_waiting else found)
