"""The file that says which machines a fleet has; whoever edits it fails a machine, or brings one back.

A JSON list: `[{"name": "n01", "devices": {"gpu_milli": 8000, ...}, "labels": {"rack": "r1"}, "address": "127.0.0.1"}]`.
All but the name may be left out.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lepton.core.errors import InvalidError, LeptonError
from lepton.core.ids import check_name
from lepton.core.launch import Devices, NodeFacts

MACHINE = Devices(cpu_milli=64_000, gpu_milli=8_000, memory_bytes=512 << 30)
RACK = 4
"""Machines in one rack of a fleet that nobody has described."""
SETTLED_S = 0.1
"""A file that was written less than this ago may be written again without looking otherwise."""

Look = tuple[int, ...]


def default_nodes(count: int = 8) -> list[NodeFacts]:
    """Machines of 64 CPUs, 8 GPUs and 512 GiB, in racks of four."""
    width = max(2, len(str(count)))
    return [
        NodeFacts(name=f"n{number + 1:0{width}}", devices=MACHINE, labels={"rack": f"r{number // RACK + 1}"})
        for number in range(count)
    ]


def text_of(nodes: Sequence[NodeFacts]) -> str:
    """The file's text for these nodes."""
    return "[\n" + ",\n".join(f"  {json.dumps(asdict(node))}" for node in nodes) + "\n]\n"


def parse(text: str | bytes) -> dict[str, NodeFacts]:
    """Name -> node, in the order of the file.

    Raises:
        InvalidError: it is no such list.
    """
    try:
        nodes = [_node(fields) for fields in _list(json.loads(text))]
    except (ValueError, TypeError, AttributeError, KeyError) as fault:
        raise InvalidError(f"no list of nodes: {fault!r}"[:300], fix='Write [{"name": "n01"}, ...].') from fault
    twice = [name for name, count in Counter(node.name for node in nodes).items() if count > 1]
    if twice:
        raise InvalidError(f"there are two nodes {twice[0]!r}", fix="Give each a name of its own.")
    return {node.name: node for node in nodes}


class Roster:
    """The file, and what it was when it was last read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._look: Look = ()
        self._text: bytes | None = None

    def has_changed(self) -> bool:
        """Whether the file may be another than the one that was read; costs microseconds."""
        return self._look == () or look_at(self.path) != self._look

    @property
    def is_settled(self) -> bool:
        """Whether what was read is what its writer meant: a file that is written in place is empty for a moment."""
        return self._look != ()

    def forget(self) -> None:
        """Let it be read again, whatever it says."""
        self._look, self._text = (), None

    def read(self) -> tuple[bytes, float] | None:
        """Its text and the time of the change (seconds since 1970), if the text is another than last time.

        Raises:
            OSError: it cannot be read; said only once.
        """
        self._look = look = look_at(self.path)
        text = self.path.read_bytes()
        if time.time_ns() - look[0] < SETTLED_S * 1e9:
            self._look = ()
        before, self._text = self._text, text
        return None if text == before else (text, look[0] / 1e9)


def look_at(path: Path) -> Look:
    """Time of its last change in nanoseconds, inode, size; all 0 if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ctime_ns, found.st_ino, found.st_size)


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise TypeError(f"{type(found).__name__} in place of a list")
    return found


def _node(fields: Any) -> NodeFacts:
    unknown = fields.keys() - NodeFacts.__slots__
    if unknown:
        raise KeyError(*unknown)
    try:
        name = check_name(fields["name"])
        devices = Devices(**fields["devices"]) if "devices" in fields else MACHINE
    except LeptonError as fault:
        raise ValueError(fault.message) from fault
    labels = {str(key): str(value) for key, value in fields.get("labels", {}).items()}
    if not all(isinstance(amount, int) for amount in asdict(devices).values()):
        raise TypeError(f"an amount of node {name} is no whole number")
    return NodeFacts(name=name, devices=devices, labels=labels, address=str(fields.get("address", "127.0.0.1")))
