"""A photon as a program of a replica: its application is a mount at the root, behind the front."""

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lepton.core.errors import ConfigError
from lepton.core.launch import Isolation
from lepton.core.resource import Json
from lepton.serve.asgi import Mount
from lepton.serve.photon import alias, archive, config
from lepton.serve.photon.app import finish, topics_of
from lepton.serve.photon.checkout import fetch_code_from_vcs
from lepton.serve.photon.direct import directs
from lepton.serve.photon.marks import marks_of
from lepton.serve.photon.meter import Meter
from lepton.serve.photon.models import create, load
from lepton.serve.photon.server import answer_liveness
from lepton.serve.program import Work
from lepton.serve.requirements import check
from lepton.serve.routes import HANDLERS
from lepton.serve.siblings import of_gang

MARGIN_S = 15.0
"""Beyond the photon's own timeout, so that the answer is the photon's."""
ROOM = 1024
"""Requests that a replica holds; the photon itself decides how many of them run."""

ALWAYS = ("/", "/metrics")
"""What a photon answers instead of the front."""
BEHIND_TOKEN = ("/healthz", "/livez", "/queue-length")


def open_program(folder: Path, entry: str) -> "PhotonProgram":
    """The photon of `file.py[:Class]`, `file.photon`, or any model string, ready to answer.

    Raises:
        ConfigError: it is a pickle, and nothing holds this process.
        ValueError: there is none.
        Exception: whatever its code raises.
    """
    if entry.endswith(".photon"):
        check_held(entry)
    alias.install()
    sys.path.insert(0, str(folder))
    if entry.endswith(".photon"):
        path = str(folder / entry)
        told = archive.read_metadata(path)
        check(told.get("requirement_dependency") or (), is_strict=False)
        url = told.get(config.METADATA_VCS_URL_KEY)
        os.chdir(fetch_code_from_vcs(url) if url else tempfile.mkdtemp(prefix="lepton-photon-"))
        photon = load(path)
    else:
        os.chdir(folder)
        photon = create("photon", entry)
        photon._photon_name = type(photon).__name__.lower()
        lay_out(photon, folder)
        check(getattr(photon, "_requirement_dependency", ()), is_strict=False)
    return PhotonProgram(photon)


def check_held(name: str, how: str | None = None) -> None:
    """Refuse to open a pickle in a process that nothing holds: to open one is to run whatever its maker has put in.

    Args:
        how: this process is held; as its engine says unless given.
    Raises:
        ConfigError: it is not held, and nobody has said that it need not be.
    """
    how = os.environ.get("LEPTON_HELD") if how is None else how
    if how not in list(Isolation):
        raise ConfigError(
            f"{name} is a pickle, which runs whatever its maker has put in, and this machine holds no worker back",
            fix="Serve it where there is Landlock and seccomp (lepton doctor), or its .py file;"
            " if you trust its maker, start with LEPTON_ISOLATION=off.",
        )


def lay_out(photon: Any, folder: Path) -> None:
    """Be in a folder where the photon finds its extra files by the names it gave them, and its code.

    Raises:
        ValueError: one of the names lies outside the folder.
    """
    found = archive.extra_files_of(photon.extra_files)
    if all(name == path for name, path in found.items()):
        return
    place = Path(tempfile.mkdtemp(prefix="lepton-photon-"))
    for each in folder.iterdir():
        (place / each.name).symlink_to(each.absolute())
    for name, path in found.items():
        parts = Path(os.path.normpath(name)).parts
        if parts[0] in ("..", "/"):
            raise ValueError(f"extra_files of the photon names {name!r}, which lies outside its folder")
        target = _own_folder(place, parts[:-1]) / parts[-1]
        target.unlink(missing_ok=True)
        target.symlink_to((folder / str(path)).absolute())
    os.chdir(place)


def _own_folder(place: Path, parts: tuple[str, ...]) -> Path:
    """A folder below `place` that can be added to: a link on the way becomes a folder of links."""
    for part in parts:
        place = place / part
        if place.is_symlink():
            real = place.resolve()
            place.unlink()
            place.mkdir()
            for each in real.iterdir():
                (place / each.name).symlink_to(each)
        place.mkdir(exist_ok=True)
    return place


class PhotonProgram:
    """`program.Program` of one photon. Its `init` has run, before there is any event loop, as programs expect."""

    room = ROOM
    threads = 0

    def __init__(self, photon: Any) -> None:
        self._photon = photon
        if photon.health_check_liveness_tcp_port is not None:
            answer_liveness(photon.health_check_liveness_tcp_port, is_shared=True)
        photon._call_init_once()
        app, meter = photon._create_app(load_mount=True), Meter()
        self._siblings = of_gang(topics_of(meter))
        whole = finish(app, photon, meter, siblings=self._siblings)
        self._mount = Mount("", whole, finishes=True)
        has_token = bool(config.get_local_deployment_token())
        self._directs = [] if has_token else directs(app, self._mount, meter)

    def works(self) -> list[Work]:
        """Whatever is asked, and before that what can be answered at less cost."""
        work = self._mount.work(HANDLERS)
        limit_s = float(self._photon.handler_timeout or 0) + MARGIN_S
        made = [replace(work, operation=replace(work.operation, timeout_s=limit_s))]
        for direct in self._directs:
            made += direct.works(HANDLERS + len(made), limit_s)
        return made

    def about(self) -> Mapping[str, Json]:
        """What the front must leave to it."""
        own = {f"/{mark.path}" for mark in marks_of(type(self._photon)) if mark.method.upper() == "GET"}
        guarded = set(BEHIND_TOKEN) if config.get_local_deployment_token() else set()
        replaced = [*ALWAYS, *sorted(guarded | own.intersection(BEHIND_TOKEN))]
        return {"service": type(self._photon).__name__, "photon": self._photon._photon_name, "replaces": replaced}

    async def start(self) -> None:
        """Let what it mounts get ready, and other replicas ask what this one counts."""
        await self._siblings.start()
        await self._mount.start()

    async def close(self) -> None:
        """Let go of it."""
        self._photon._handle_exit()
        await self._siblings.close()
        await self._mount.close()

    def is_healthy(self) -> bool:
        """As long as it answers."""
        return True

    def tick(self) -> None:
        """Nothing to do by the clock."""
