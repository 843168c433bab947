"""`lepton pool`: the machines, what of them is free, and who may have how much of it."""

from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any

import click

from lepton.cli import complete
from lepton.cli.amounts import GIB, WORDS
from lepton.cli.entitle import queues, quota
from lepton.cli.group import Group
from lepton.cli.kinds import Number, ParamType
from lepton.cli.output import Session, common
from lepton.cli.replay import replay
from lepton.cli.top import top
from lepton.core.errors import ConflictError
from lepton.core.launch import Devices
from lepton.pool.shape import given_of
from lepton.pool.standing import NodeState

DRAIN_POLL_S = 0.5
NODE_STATES = click.Choice([state.value for state in NodeState])
MOST = Number(1, 100_000, is_whole=True)
node_argument = click.argument("node", shell_complete=complete.nodes)


@click.group(cls=Group)
def pool() -> None:
    """The machines, what of them is free, and who may have how much of it."""


for part in (queues, quota, replay, top):
    pool.add_command(part)


@pool.command()
@click.option("--state", type=NODE_STATES, default=None, help="Only nodes in it.")
@click.option("--limit", type=MOST, default=100_000, show_default=True, help="How many at most, by name.")
@common
def nodes(session: Session, state: str | None, limit: int) -> None:
    """List the nodes, with what is free of what each has."""
    found = session.client.pool.nodes(state=state or "", limit=limit)
    session.table(node_rows(found), found, hint=f"no node is {state}" if state else "no engine has shown a machine yet")


def node_rows(nodes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Column -> text of each node: what is free of what it has, of devices that there are anywhere."""
    kinds = [device for device in WORDS if any(node["status"]["devices"].get(device) for node in nodes)]
    return [node_row(node, kinds) for node in nodes]


def node_row(node: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, str]:
    """Column -> text of a node; a column for each of these devices."""
    return {
        "name": node["name"],
        "state": node["state"],
        **{f"{WORDS[kind]} free": _free(node, kind) for kind in kinds},
        **_tail(node),
    }


def _free(node: Mapping[str, Any], device: str) -> str:
    has, free = node["status"]["devices"], node["status"]["free"]
    if not has.get(device):
        return ""
    if not getattr(given_of(Devices(**has)), device):  # of two kinds of accelerator one is given away
        return f"{has[device] / 1000:g} unused"
    return f"{free.get(device, 0) / 1000:g} of {has[device] / 1000:g}"


def _tail(node: Mapping[str, Any]) -> dict[str, str]:
    has, free, jobs = node["status"]["devices"], node["status"]["free"], node["status"]["jobs"]
    return {
        "memory free": f"{free['memory_bytes'] / GIB:.1f} of {has['memory_bytes'] / GIB:.1f} GiB",
        "jobs": str(jobs) if jobs else "",
        "rack": node["status"].get("labels", {}).get("rack", ""),
    }


@pool.command()
@node_argument
@common
def cordon(session: Session, node: str) -> None:
    """Let no new work go to NODE; what runs there stays."""
    told(session, session.client.pool.cordon(node))


@pool.command()
@node_argument
@common
def uncordon(session: Session, node: str) -> None:
    """Let work go to NODE again."""
    told(session, session.client.pool.uncordon(node))


@pool.command()
@node_argument
@click.option("--wait", "is_waiting", is_flag=True, help="Return when nothing runs there any more.")
@common
def drain(session: Session, node: str, is_waiting: bool) -> None:
    """Let no new work go to NODE, and move away what runs there."""
    found = session.client.pool.drain(node)
    said, pause = -1, Event()
    while is_waiting and (jobs := found["status"]["jobs"]) and found["state"] == "draining":
        if jobs != said:
            session.note(f"{jobs} jobs still run on {node}", node=node)
        said = jobs
        pause.wait(DRAIN_POLL_S)
        found = session.client.pool.node(node)
    if is_waiting and found["status"]["jobs"]:
        raise ConflictError(
            f"{node} is {found['state']}, and {found['status']['jobs']} jobs are still there",
            fix="Somebody wished otherwise, or it has failed: lepton pool nodes",
        )
    told(session, found)


class Labelling(ParamType):
    """`K=V`, or `K-`: that label shall go."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str | None]:
        """(name, value or None).

        Raises:
            click.BadParameter: it is neither.
        """
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals and name.endswith("-"):
            name, is_right = name.removesuffix("-"), len(name) > 1
        else:
            is_right = bool(equals and name)
        if not is_right:
            self.fail(f"{str(value)[:80]!r} is no label; write e.g. rack=r1, or rack- to take it away.", param, ctx)
        return name, text if equals else None


@pool.command()
@node_argument
@click.argument("labels", nargs=-1, required=True, type=Labelling(), metavar="K=V|K-...")
@common
def label(session: Session, node: str, labels: tuple[tuple[str, str | None], ...]) -> None:
    """Give NODE labels beside its engine's, and before them; K- takes one away that was given so."""
    found = session.client.pool.label(node, dict(labels))
    has = ", ".join(f"{name}={value}" for name, value in sorted(found["status"]["labels"].items()))
    session.say(f"{node} has the labels {has or '(none)'}", dict(found))


@pool.command()
@node_argument
@common
def remove(session: Session, node: str) -> None:
    """Forget NODE, which has failed: its labels, its wish, and that it could come back."""
    session.client.pool.remove(node)
    session.say(f"{node} is gone", {"removed": node})


def told(session: Session, node: Mapping[str, Any]) -> None:
    """Print how a node stands."""
    jobs = node["status"]["jobs"]
    wish = node["spec"]["wish"]
    back = f"; {wish} when it is back" if node["state"] == "failed" else ""
    session.say(f"{node['name']} is {node['state']}{back}; jobs there: {jobs}", dict(node))
