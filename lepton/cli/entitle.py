"""`lepton pool queues` and `lepton pool quota`: who is entitled to how much, changed while work runs."""

from collections.abc import Mapping
from typing import Any, cast

import click

from lepton.cli import complete
from lepton.cli.amounts import EXAMPLE, AmountsOf, short, spent
from lepton.cli.group import Group
from lepton.cli.kinds import Name, Number, ParamType
from lepton.cli.output import Session, common
from lepton.core.errors import NotFoundError
from lepton.jobs.priority import PRIORITIES
from lepton.sdk.pool import QueueOptions, QuotaOptions

AMOUNTS = AmountsOf()
WEIGHT = Number(0.001, 1000)


class Holder(ParamType):
    """Whom a quota limits: `user:ada` or `workspace:lab`."""

    name = "holder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """(user or workspace, name).

        Raises:
            click.BadParameter: it is neither.
        """
        if isinstance(value, tuple):
            return value
        of, _, who = str(value).partition(":")
        if of not in ("user", "workspace") or not who:
            self.fail(f"{str(value)[:80]!r} is nobody's; write e.g. user:ada or workspace:lab.", param, ctx)
        return of, who


AS_ABOVE = -1.0
"""No grace of its own."""


class Grace(ParamType):
    """Seconds; an empty text says none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds, or `AS_ABOVE`."""
        return AS_ABOVE if value == "" else Number(0, 3600, unit="seconds").convert(value, param, ctx)


GRACE = Grace()
ceiling = click.option(
    "--max-priority", type=click.Choice([*PRIORITIES, ""]), default=None, help="Highest for its jobs; '': any."
)
queue_argument = click.argument("name", type=Name(), shell_complete=complete.queues)
holder_argument = click.argument("holder", type=Holder(), metavar="user:NAME|workspace:NAME")


@click.group(cls=Group, invoke_without_command=True)
@common
def queues(session: Session) -> None:
    """Queues: what is guaranteed to each, its limit, what it holds and who waits. Alone it lists them."""
    if click.get_current_context().invoked_subcommand is None:
        list_them(session)


@queues.command("list")
@common
def list_queues(session: Session) -> None:
    """List the queues."""
    list_them(session)


def list_them(session: Session) -> None:
    """Print the queues."""
    found = session.client.pool.queues()
    session.table([queue_row(queue) for queue in found], found)


def queue_row(queue: Mapping[str, Any]) -> dict[str, str]:
    """Column -> text of a queue."""
    spec, status = queue["spec"], queue["status"]
    return {
        "name": queue["name"],
        "parent": spec["parent"],
        "guarantee": short(spec["guarantee"]),
        "limit": short(spec["limit"]),
        "weight": f"{spec['weight']:g}",
        "max priority": spec.get("max_priority", ""),
        "max grace": spent(status["max_grace_s"]),
        "admits": ", ".join(spec["workspaces"]),
        "held": short(status["held"]),
        "jobs": str(status["jobs"]),
        "waiting": str(status["waiting"]),
        "longest wait": spent(status["longest_wait_s"]) if status["waiting"] else "",
    }


@queues.command("set")
@queue_argument
@click.option("--parent", default=None, shell_complete=complete.queues, help="The queue above it; '': none.")
@click.option("--guarantee", type=AMOUNTS, default=None, metavar="AMOUNTS", help=f"E.g. {EXAMPLE}; '': nothing.")
@click.option("--limit", type=AMOUNTS, default=None, metavar="AMOUNTS", help="The most it may hold; '': no limit.")
@click.option("--weight", type=WEIGHT, default=None, show_default="1", help="Its share of what is borrowed.")
@click.option("--admit", "workspaces", multiple=True, metavar="WORKSPACE", help="Who may use it; repeat; '': all.")
@ceiling
@click.option("--max-grace", "max_grace_s", type=GRACE, help="Seconds its jobs get at most to make room; '': as above.")
@common
def set_queue(session: Session, name: str, workspaces: tuple[str, ...], **options: Any) -> None:
    """Make queue NAME, or change what is given of it; the rest stays as it is."""
    pool = session.client.pool
    try:
        known: Mapping[str, Any] = pool.queue(name)
    except NotFoundError:
        known = {"spec": {}, "revision": 0}
    given = {option: value for option, value in options.items() if value is not None}
    if given.get("max_grace_s") == AS_ABOVE:
        given["max_grace_s"] = None
    admitted = {"workspaces": [place for place in workspaces if place]} if workspaces else {}
    wish = cast(QueueOptions, {**known["spec"], **given, **admitted})
    made = pool.set_queue(name, revision=known["revision"], **wish)
    session.card(queue_row(made), made)
    for warning in made["warnings"]:
        session.note(warning, queue=name)


@queues.command("delete")
@queue_argument
@common
def delete_queue(session: Session, name: str) -> None:
    """End queue NAME, in which no job lives and below which no other stands."""
    session.client.pool.delete_queue(name)
    session.say(f"queue {name} is gone", {"deleted": name})


@click.group(cls=Group, invoke_without_command=True)
@common
def quota(session: Session) -> None:
    """Quotas: the most that a user or a workspace may hold, whatever queues it uses. Alone it lists them."""
    if click.get_current_context().invoked_subcommand is None:
        list_all(session)


@quota.command("list")
@common
def list_quotas(session: Session) -> None:
    """List the quotas."""
    list_all(session)


def list_all(session: Session) -> None:
    """Print the quotas."""
    found = session.client.pool.quotas()
    hint = "nobody is limited; lepton pool quota set user:NAME --limit gpus=4"
    session.table([quota_row(quota) for quota in found], found, hint=hint)


def quota_row(quota: Mapping[str, Any]) -> dict[str, str]:
    """Column -> text of a quota."""
    return {
        "of": quota["name"],
        "limit": short(quota["spec"]["limit"]),
        "max priority": quota["spec"].get("max_priority", ""),
        "held": short(quota["status"]["held"]),
    }


@quota.command("set")
@holder_argument
@click.option("--limit", type=AMOUNTS, default=None, metavar="AMOUNTS", help=f"E.g. {EXAMPLE}; '': no limit.")
@ceiling
@common
def set_quota(session: Session, holder: tuple[str, str], **options: Any) -> None:
    """Limit a user or a workspace, or change what is given of that; what runs or waits already stays."""
    given = {option: value for option, value in options.items() if value is not None}
    if not given:
        raise click.UsageError("Give --limit, --max-priority, or both.")
    pool = session.client.pool
    try:
        known: Mapping[str, Any] = pool.quota(*holder)
    except NotFoundError:
        known = {"spec": {}, "revision": 0}
    kept = {option: known["spec"][option] for option in options if option in known["spec"]}
    made = pool.set_quota(*holder, revision=known["revision"], **cast(QuotaOptions, {**kept, **given}))
    session.card(quota_row(made), made)


@quota.command("delete")
@holder_argument
@common
def delete_quota(session: Session, holder: tuple[str, str]) -> None:
    """Take a limit away."""
    session.client.pool.delete_quota(*holder)
    name = ":".join(holder)
    session.say(f"the quota of {name} is gone", {"deleted": name})
