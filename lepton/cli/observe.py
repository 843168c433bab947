"""`lepton observe`: check endpoints for drift; see alerts."""

from typing import Any, cast

import click

from lepton.cli import complete
from lepton.cli.data import finish, wait_option
from lepton.cli.group import Group
from lepton.cli.kinds import ALERT_STATES, Id
from lepton.cli.output import Session, common
from lepton.cli.standing import standing
from lepton.sdk.stations import ObserveOptions


@click.group(cls=Group)
def observe() -> None:
    """Check endpoints for drift; see alerts."""


@observe.command()
@click.argument("endpoint", shell_complete=complete.endpoints)
@standing
@wait_option
@common
def check(session: Session, endpoint: str, is_waiting: bool, **options: Any) -> None:
    """Compare what ENDPOINT was asked lately with what its model was trained on."""
    finish(session, session.client.observe.check(endpoint, **cast(ObserveOptions, options)), is_waiting)


@observe.command()
@click.option("--state", type=ALERT_STATES, default=None, help="Only alerts in this state.")
@common
def alerts(session: Session, state: str | None) -> None:
    """List the newest alerts."""
    session.many(session.client.observe.alerts(state=state or ""), hint="no endpoint has drifted")


@observe.command()
@click.argument("alert", type=Id("an alert", "lepton observe alerts"))
@common
def resolve(session: Session, alert: str) -> None:
    """Say that somebody has looked at ALERT, an id, and it is over."""
    found = session.client.observe.alert(alert).resolve()
    session.say(f"alert {found.id} of {found.name} is resolved", dict(found.fields))
