"""`lepton serve run`: an endpoint on this machine with no platform, for while one edits its code.

The same front and replicas as on the platform, started by the same local engine in a temporary folder. When a file
changes, replicas with the new code are started beside the old ones, which go once the new ones answer; if the new code
does not start, the old ones stay.
"""

import json
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import count, islice
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import click

from lepton.core.errors import ConfigError
from lepton.core.ids import make_id
from lepton.core.launch import Isolation, Launch
from lepton.engine.base import Engine, open_engine
from lepton.jobs.gang import describe
from lepton.sdk.source import SKIPPED
from lepton.serve.entries import CODE, file_of, read_what, rename, split_entry
from lepton.serve.plan import plan
from lepton.serve.spec import EndpointSpec

POLL_S = 0.15
GRACE_S = 3.0
AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a replica that died is started again."""
MOST_FILES = 5000
PASSED_ON = frozenset(("LEPTON_ALLOW_ORIGINS", "LEPTON_CACHE_DIR", "LEPTON_LOCAL_DEPLOYMENT_TOKEN"))
"""For Photon programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What shall run."""

    source: Path
    """Folder of the code."""
    entry: str
    """In it."""
    host: str = "127.0.0.1"
    port: int = 0
    replicas: int = 1
    is_reloading: bool = True
    deadline_ms: int = 60_000
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(slots=True)
class Replica:
    """One process of the present or an earlier version of the code."""

    key: str
    version: int
    read_bytes: int = 0
    is_over: bool = False
    is_leaving: bool = False
    born: float = field(default_factory=monotonic)


class Workbench:
    """The processes, and what is to be done about them several times a second."""

    def __init__(self, bench: Bench, engine: Engine, folder: Path) -> None:
        self._bench = bench
        self._engine = engine
        self._folder = folder
        self._numbers = count()
        self._version = 0
        self._stamp = stamp(bench)
        self._replicas: list[Replica] = []
        self._front = Replica("", -1)
        self._url = ""
        self._deaths = 0
        self._has_answered = False
        """A replica of the present code has: it is started again, however often it dies."""
        self._due = 0.0
        self.stop = Event()

    def run(self) -> None:
        """Until it is stopped.

        Raises:
            ConfigError: the front cannot start, e.g. because the port is in use; or no replica, and there is no reload.
        """
        self._front = self._start(0, "front", -1)
        self._start_replicas()
        try:
            while not self.stop.wait(POLL_S):
                self._turn()
        finally:
            self._end()

    def _turn(self) -> None:
        self._show_logs()
        if not self._url:
            self._say_address()
        if self._engine.look(self._front.key).status == "exited":
            raise ConfigError("The front has ended", fix="See above; another port may help.")
        self._note_ready()
        self._replace_dead()
        if self._bench.is_reloading and (now := stamp(self._bench)) != self._stamp:
            self._stamp = now
            self._version += 1
            self._deaths, self._has_answered = 0, False
            say("the code has changed: starting it anew")
            self._start_replicas()
        self._retire()

    def _start_replicas(self) -> None:
        for _ in range(self._bench.replicas):
            self._replicas.append(self._start(1, "worker", self._version))

    def _start(self, rank: int, role: str, version: int) -> Replica:
        bench = self._bench
        spec = EndpointSpec(
            code=make_id("version", at=datetime.now(UTC)),
            entry=bench.entry,
            host=bench.host,
            port=bench.port,
            replicas=bench.replicas,
            deadline_ms=bench.deadline_ms,
            tls_cert=bench.tls_cert,
            tls_key=bench.tls_key,
        )
        job = plan(spec, endpoint="", name=Path(file_of(bench.entry)).stem)
        part = next(part for part in job.roles if part.name == role)
        key = f"run.0.{next(self._numbers)}"
        self._engine.start(
            Launch(
                key=key,
                job="run",
                entry=part.entry,
                params=job.params,
                inputs={"code": str(bench.source)},
                env={**own_environment(), "LEPTON_OFF_PLATFORM": str(self._folder / "store"), "LEPTON_URL": ""},
                cwd=str(bench.source),
                devices=part.devices,
                rank=rank,
                size=1 + bench.replicas,
                isolation=part.isolation,
                paths={str(bench.source): "r", str(self._folder / "store"): "w"},
                grace_s=GRACE_S,
            )
        )
        return Replica(key, version)

    def _note_ready(self) -> None:
        """Remember that the present code has answered."""
        is_alone = all(one.version == self._version for one in self._replicas)
        if not self._has_answered and self._replicas and is_alone and self._ready():
            self._has_answered = True

    def _replace_dead(self) -> None:
        """Start again what died, after growing pauses; code that never started waits for its next change."""
        for replica in [one for one in self._replicas if not one.is_over]:
            ended = self._engine.look(replica.key).exit
            if ended is None:
                continue
            self._show_logs()
            replica.is_over = True
            if replica.version != self._version:
                continue
            say(f"a replica has ended: {describe(ended)}")
            pause_s = AGAIN_S[min(self._deaths, len(AGAIN_S) - 1)]
            self._deaths = self._deaths + 1 if monotonic() - replica.born < 30 else 0
            if self._gives_up() and self._bench.is_reloading:
                say("it does not start: waiting for the code to change")
            self._due = monotonic() + pause_s
        living = [one for one in self._replicas if not one.is_over and one.version == self._version]
        if len(living) < self._bench.replicas and monotonic() >= self._due and not self._gives_up():
            self._replicas.append(self._start(1, "worker", self._version))
        elif not living and self._gives_up() and not self._bench.is_reloading:
            raise ConfigError("No replica starts", fix="See above.")
        self._replicas = [one for one in self._replicas if not one.is_over]

    def _gives_up(self) -> bool:
        """Whether the present code has died so often, and never answered, that it is not tried again."""
        return self._deaths >= len(AGAIN_S) and not self._has_answered

    def _retire(self) -> None:
        """Let go of old code once the new answers."""
        old = [one for one in self._replicas if one.version < self._version and not one.is_leaving]
        if old and self._ready() >= len(old) + self._bench.replicas:
            for replica in old:
                self._engine.stop(replica.key, grace_s=GRACE_S)
                replica.is_leaving = True
            say("the new code answers")

    def _ready(self) -> int:
        """How many replicas the front knows."""
        if not self._url:
            return 0
        where = urlsplit(self._url)
        host, port = str(where.hostname), where.port
        line = HTTPConnection(host, port, timeout=2)
        if where.scheme == "https":
            line = HTTPSConnection(host, port, timeout=2, context=ssl._create_unverified_context())  # our own front
        try:
            line.request("GET", "/lepton/metrics")
            text = line.getresponse().read().decode()
        except (OSError, HTTPException):
            return 0
        finally:
            line.close()
        found = [row.split()[1] for row in text.splitlines() if row.startswith("lepton_workers_ready ")]
        return int(float(found[0])) if found else 0

    def _say_address(self) -> None:
        file = self._folder / "store" / "ready.jsonl"
        line = file.read_text().splitlines()[:1] if file.exists() else []
        if line:
            address = str(json.loads(line[0])["address"])
            self._url = url = address if "://" in address else f"http://{address}"
            say(f"answers at {url} - try it at {url}/docs - Ctrl-C ends it")

    def _show_logs(self) -> None:
        for replica in [self._front, *self._replicas]:
            for piece in self._engine.logs(replica.key, offset=replica.read_bytes):
                sys.stdout.buffer.write(piece)
            replica.read_bytes = self._engine.log_size(replica.key)
        sys.stdout.flush()

    def _end(self) -> None:
        keys = [one.key for one in self._replicas if not one.is_over]
        for key in [self._front.key, *keys]:
            self._engine.stop(key, grace_s=GRACE_S)
        until = monotonic() + GRACE_S + 2
        pause = Event()
        everything = list(self._engine.keys())
        while monotonic() < until and any(self._engine.look(key).status == "running" for key in everything):
            pause.wait(0.02)
        self._show_logs()


def serve_entry(entry: str, *, deadline_s: float, **wishes: Any) -> None:
    """Serve an entry until Ctrl-C or SIGTERM.

    Args:
        wishes: further fields of `Bench`.
    Raises:
        InvalidError, ConfigError: there is nothing of that name, or the front cannot start.
    """
    path = Path(file_of(entry)).absolute()
    run_bench(Bench(source=path.parent, entry=rename(entry, path.name), deadline_ms=round(deadline_s * 1000), **wishes))


def run_bench(bench: Bench) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: there is no such file, or the front cannot start.
    """
    if not (bench.source / file_of(bench.entry)).exists():
        raise ConfigError(f"There is no file {bench.source / file_of(bench.entry)}", fix="Check the name.")
    with tempfile.TemporaryDirectory(prefix="lepton-serve-") as folder:
        place = Path(folder)
        (place / "store").mkdir()
        isolation = os.environ.get("LEPTON_ISOLATION") or Isolation.OWN
        engine = open_engine("local", folder=place / "engine", isolation=isolation)
        workbench = Workbench(bench, engine, place)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: workbench.stop.set())
        try:
            workbench.run()
        finally:
            engine.close()


def own_environment() -> dict[str, str]:
    """What the code under edit finds in its environment: the person's own, without what is for Lepton itself."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.isidentifier() and (not name.startswith("LEPTON_") or name in PASSED_ON)
    }


def stamp(bench: Bench) -> dict[str, int]:
    """What the files that are served look like now: path -> time of the last change."""
    found: dict[str, int] = {}
    for path in islice(watched(bench), MOST_FILES):
        with suppress(OSError):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def watched(bench: Bench) -> Iterator[Path]:
    """The files whose change starts it anew: of code all Python files of its folder, for it may import them."""
    kind, what = split_entry(bench.entry)
    if kind in CODE:
        yield from _files(bench.source)
        return
    name, options = read_what(what)
    path = bench.source / name
    yield from (sorted(path.rglob("*")) if path.is_dir() else [path])
    if "class" in options:
        yield from _files(path.parent)


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.is_dir() and path.name not in SKIPPED and not path.is_symlink():
            yield from _files(path)
        elif path.suffix == ".py":
            yield path


def say(text: str) -> None:
    """Tell the person at the terminal."""
    click.echo(f"lepton: {text}", err=True)
