"""`lepton pool`: the machines, and what of them is free."""

from collections.abc import Mapping
from typing import Any

import click

from lepton.cli.group import Group
from lepton.cli.output import Session, common
from lepton.cli.replay import replay


@click.group(cls=Group)
def pool() -> None:
    """The machines, and what of them is free."""


pool.add_command(replay)


@pool.command()
@common
def nodes(session: Session) -> None:
    """List the nodes."""
    found = session.client.security.nodes()
    session.table([node_row(node) for node in found], found, hint="no engine has shown a machine yet")


def node_row(node: Mapping[str, Any]) -> dict[str, str]:
    """Column -> text of a node: what is free of what it has."""
    has, free = node["status"]["devices"], node["status"]["free"]
    return {
        "name": node["name"],
        "state": node["state"],
        "cpus free": f"{free['cpu_milli'] / 1000:g} of {has['cpu_milli'] / 1000:g}",
        "gpus free": f"{free['gpu_milli'] / 1000:g} of {has['gpu_milli'] / 1000:g}",
        "memory free": f"{free['memory_bytes'] / 2**30:.1f} of {has['memory_bytes'] / 2**30:.1f} GiB",
    }
