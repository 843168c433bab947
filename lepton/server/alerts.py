"""Alerts of the platform itself: one for each thing that is not well, until it is."""

from dataclasses import dataclass, replace

from lepton.core.ids import make_id
from lepton.core.resource import Resource
from lepton.server.people import DEFAULT_WORKSPACE
from lepton.server.submit import Author, changed
from lepton.store import resources
from lepton.store.database import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What an alert is about."""

    name: str
    """Of the alert."""
    of: str
    """Which of those things, e.g. the address of a storage."""


def tell(tx: Tx, about: About, author: Author, *, fault: str, over: str) -> None:
    """Raise the alert where there is a fault and it is not firing, resolve it where there is none and it is.

    Args:
        fault: what is not well; empty: all is.
        over: why it is well again.
    """
    alerts = resources.alive(tx, "alert")
    firing = next((one for one in alerts if one.spec.get(about.name) == about.of), None)
    if firing is not None and not fault:
        _end(tx, firing, author, over)
    elif firing is None and fault:
        alert = Resource(
            id=make_id("alert", at=author.at),
            kind="alert",
            workspace=DEFAULT_WORKSPACE,
            name=about.name,
            spec={"report": "", "cause": fault, about.name: about.of},
            state="firing",
            created_at=author.at,
            updated_at=author.at,
        )
        resources.insert(tx, alert, changed(alert, "firing", replace(author, workspace=DEFAULT_WORKSPACE), fault))


def end_others(tx: Tx, about: About, author: Author, *, over: str) -> None:
    """Resolve the alerts of that name about all other things, where there is one such thing at a time."""
    for alert in resources.alive(tx, "alert"):
        if alert.spec.get(about.name, about.of) != about.of:
            _end(tx, alert, author, over)


def _end(tx: Tx, firing: Resource, author: Author, over: str) -> None:
    author = replace(author, workspace=firing.workspace)
    resolved = replace(firing, state="resolved", is_final=True, updated_at=author.at)
    resources.update(tx, resolved, changed(firing, "firing->resolved", author, over), expected=firing.revision)
