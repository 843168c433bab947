"""From a launch to what its worker may see of this machine: the bounds that it lays on itself before it begins."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lepton.core.errors import EngineError
from lepton.core.launch import Isolation, Launch
from lepton.core.resource import Json
from lepton.engine.local.views import (
    TEMPORARY,
    WHOLE,
    aliases,
    outer,
    programs_of,
    small_files,
    unfold,
)
from lepton.engine.sandbox.landlock import is_below
from lepton.engine.sandbox.layers import NONE
from lepton.engine.shim import records

ROADS_OUT = (
    *("/run/docker.sock", "/run/docker", "/run/podman", "/run/containerd", "/run/crio", "/run/screen", "/run/libvirt"),
    *("/run/user/{user}", "/tmp/tmux-{user}", "/tmp/lepton-{user}"),
)
"""Sockets of programs that would do outside what they are told to, as this user."""
ROOTS_ROADS_OUT = ("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/snapd.socket")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What holds for all launches of an engine."""

    hidden: Path
    """The platform's own."""
    beside: Sequence[Path] = ()
    """Other folders of its own."""
    url_file: Path | None
    variables: Mapping[str, str]
    """This process's environment."""
    least: Isolation = Isolation.OWN
    """How much every worker is held at least; `off`: none is."""
    layers: Mapping[str, Json] = field(default_factory=lambda: NONE)

    @cached_property
    def private(self) -> list[str]:
        """Every path at which the platform's own folders are to be seen."""
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        beside = [folder for folder in self.beside if not folder.resolve().is_relative_to(self.hidden.resolve())]
        return [path for folder in (self.hidden, *beside) for path in aliases(str(folder), mounts)]

    @cached_property
    def fixed(self) -> list[str]:
        """What the platform itself is made of: who could change it would be the platform at its next start."""
        environment = [sys.prefix] if sys.prefix != sys.base_prefix else []
        return outer([*environment, str(Path(__file__).parents[2])])

    @cached_property
    def programs(self) -> list[str]:
        """Programs and libraries, and links that lead to them."""
        return unfold(programs_of(self.variables, is_narrow=bool(self.layers["namespaces"])))

    @cached_property
    def readable(self) -> list[str]:
        """All that who is held closed may read."""
        return [*outer(self.programs), *unfold(small_files())]

    @cached_property
    def links(self) -> dict[str, str]:
        """Links among the programs, and where they lead."""
        return {path: os.readlink(path) for path in self.programs if os.path.islink(path)}


def level_of(launch: Launch, ground: Ground) -> Isolation:
    """How its worker is held.

    Raises:
        EngineError: there is no such way.
    """
    try:
        wished = Isolation(launch.isolation)
    except ValueError as fault:
        raise EngineError(f"There is no isolation {launch.isolation!r}", fix="Use own or closed.") from fault
    if Isolation.OFF in (ground.least, wished):
        return Isolation.OFF
    return max(wished, ground.least, key=list(Isolation).index)


def make_bounds(
    launch: Launch, folder: Path, ground: Ground, *, gang: Path, meeting: Path | None = None
) -> dict[str, Json] | None:
    """What `sandbox.confine` is told; None: nothing is withheld from this worker.

    Args:
        folder: the launch's own.
        gang, meeting: folders that it shares with other workers, in one folder that is this user's.
    """
    level = level_of(launch, ground)
    if level is Isolation.OFF:
        return None
    own = {str(folder / records.WORK): "w", str(folder / records.LAUNCH): "r", str(gang): "w"}
    if meeting is not None:
        own[str(meeting)] = "w" if launch.is_host else "r"
    if ground.url_file is not None:
        own[str(ground.url_file.parent)] = "r"
    is_closed = level is Isolation.CLOSED
    private = list(dict.fromkeys((*ground.private, str(gang.parent), *(() if is_closed else roads_out()))))
    own |= {} if is_closed else dict.fromkeys(ground.fixed, "r")
    own |= {
        path: mode for path, mode in launch.paths.items() if is_closed or any(is_below(path, one) for one in private)
    }
    bounds = {
        "level": level,
        "layers": ground.layers,
        "private": private,
        "own": list(own.items()),
        "at": str(folder),
        "abstract": launch.size > 1 and bool(launch.gpus),  # NCCL passes memory on by them
    }
    return {**bounds, **_closed(folder, ground)} if is_closed else bounds


def _closed(folder: Path, ground: Ground) -> dict[str, Json]:
    whole = {path: path for path in (*WHOLE, *outer(ground.programs))}
    temporary = dict.fromkeys(TEMPORARY, str(folder / records.WORK / records.TMP))
    return {"seen": {**whole, **temporary}, "links": ground.links, "readable": ground.readable}


def told(bounds: Mapping[str, Json] | None) -> str:
    """How a worker is held, in the word that it finds in its environment; `none`: it should be, and cannot be here."""
    if bounds is None:
        return Isolation.OFF
    layers = bounds["layers"]
    return str(bounds["level"] if (layers["landlock"] or layers["namespaces"]) and layers["filter"] else "none")


def holds_closed(bounds: Mapping[str, Json] | None) -> bool:
    """Whether a worker is held closed."""
    return bounds is not None and bool(bounds["level"] == Isolation.CLOSED)


def home_of(bounds: Mapping[str, Json] | None, work: Path) -> dict[str, str]:
    """Variables of a worker that sees no home but its own folder."""
    if bounds is None or not holds_closed(bounds):
        return {}
    tmp = TEMPORARY[0] if bounds["layers"]["namespaces"] else str(work / records.TMP)
    return {"HOME": str(work), "TMPDIR": tmp}


def roads_out() -> Iterator[str]:
    """Sockets, and folders of them, of programs that would do outside what they are told to, as this user."""
    user = os.geteuid()
    roads = (path.format(user=user) for path in (*ROADS_OUT, *(() if user else ROOTS_ROADS_OUT)))
    return filter(os.path.exists, roads)
