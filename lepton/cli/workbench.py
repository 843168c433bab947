"""`lepton serve run`: an endpoint on this machine with no platform, for while one edits its code.

The same front and replicas as on the platform, started by the same local engine in a temporary folder, as the class and
the command line ask. When a file changes, replicas with the new code are started beside the old ones, which go once the
new ones answer and they have answered what they had begun; if the new code does not start, the old ones stay.
"""

import json
import os
import signal
import ssl
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from itertools import count
from math import inf
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import click

from lepton.cli.bench import Bench, doubts, gpus_of, own_environment, stamp, wish_of
from lepton.core.errors import ConfigError, LeptonError
from lepton.core.launch import Devices, Exit, Isolation, Launch
from lepton.engine.base import Engine, open_engine
from lepton.jobs.gang import describe
from lepton.serve.entries import file_of, rename
from lepton.serve.plan import plan

POLL_S = 0.15
END_S = 5.0
"""Beyond what a request may take, for a process to end."""
TELL_S = 1.0
"""Old code that still answers after this long is told of."""
MOST_S = 3600.0
"""A drain is bounded by what a request may take."""
AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a replica that died is started again."""
WARM_S = 3600.0
TAIL_BYTES = 16 << 10
YOUNG_S = 5.0
"""A front that ends sooner again and again is not started any more."""


@dataclass(slots=True)
class Replica:
    """One process of the present or an earlier version of the code."""

    key: str
    version: int
    read_bytes: int = 0
    tail: bytes = b""
    """The end of what was shown of its log."""
    is_over: bool = False
    left_at: float = 0.0
    """When it was asked to end; 0: it was not."""
    born: float = field(default_factory=monotonic)

    def tell(self, ended: Exit) -> str:
        """How it ended; its log may have just said why."""
        is_shown = " ".join(ended.detail.split()) in " ".join(self.tail.decode(errors="replace").split())
        return describe(replace(ended, detail="") if is_shown else ended)


class Workbench:
    """The processes, and what is to be done about them several times a second.

    Raises:
        LeptonError: what the class asks for cannot be, or is not installed.
    """

    def __init__(self, bench: Bench, engine: Engine, folder: Path) -> None:
        self._bench = bench
        self._engine = engine
        self._folder = folder
        self._numbers = count()
        self._version = 0
        self._stamp = stamp(bench)
        self._wish = wish_of(bench)
        self._machine = next((facts.devices for facts in engine.nodes()), Devices())
        self._replicas: list[Replica] = []
        self._front = Replica("", -1)
        self._url = ""
        self._deaths = self._front_deaths = 0
        self._is_refused = False
        """The present code asks for what cannot be: it does not start by being tried again."""
        self._has_answered = False
        """A replica of the present code has: it is started again, however often it dies."""
        self._due = 0.0
        self.stop = Event()
        self.now = Event()
        """Wait for nothing any more."""

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

    def ask_to_stop(self) -> None:
        """The first time: let it answer what it has; the second: end at once."""
        (self.now if self.stop.is_set() else self.stop).set()

    def _turn(self) -> None:
        self._show_logs()
        if not self._url:
            self._say_address()
        if (ended := self._engine.look(self._front.key).exit) is not None:
            self._replace_front(ended)
        self._note_ready()
        self._replace_dead()
        if self._bench.is_reloading and (now := stamp(self._bench)) != self._stamp:
            self._stamp = now
            self._reload()
        self._retire()

    def _reload(self) -> None:
        try:
            self._wish = wish_of(self._bench)
        except LeptonError as fault:
            say(f"{fault}. {fault.fix}")
            say("the code has changed, and cannot start: waiting for its next change")
            return
        self._version += 1
        self._deaths, self._has_answered, self._is_refused = 0, False, False
        say("the code has changed: starting it anew")
        self._start_replicas()

    def _start_replicas(self) -> None:
        for doubt in doubts(self._wish, self._machine):
            say(doubt)
        for _ in range(self._wish.replicas):
            self._replicas.append(self._start(1, "worker", self._version))

    def _start(self, rank: int, role: str, version: int) -> Replica:
        bench, spec = self._bench, self._wish
        job = plan(spec, endpoint="", name=Path(file_of(bench.entry)).stem)
        part = next(part for part in job.roles if part.name == role)
        number = next(self._numbers)
        key = f"run.0.{number}"
        self._engine.start(
            Launch(
                key=key,
                job="run",
                entry=part.entry,
                preload=part.preload if spec.preload and role == "worker" else (),
                params={**job.params, "drain_s": MOST_S},
                inputs={"code": str(bench.source)},
                env={**own_environment(), "LEPTON_OFF_PLATFORM": str(self._folder / "store"), "LEPTON_URL": ""},
                cwd=str(bench.source),
                devices=part.devices,
                gpus=gpus_of(spec, number - 1, self._machine) if role == "worker" else (),
                rank=rank,
                size=1 + spec.replicas,
                isolation=part.isolation,
                door=part.door,
                paths={str(bench.source): "r", str(self._folder / "store"): "w"},
                grace_s=MOST_S,
            )
        )
        return Replica(key, version)

    def _replace_front(self, ended: Exit) -> None:
        """One that has answered is started again behind the same door.

        Raises:
            ConfigError: it never has, or ends at once again and again.
        """
        self._front_deaths = self._front_deaths + 1 if monotonic() - self._front.born < YOUNG_S else 0
        if not self._url or self._front_deaths >= len(AGAIN_S):
            raise ConfigError("The front has ended", fix="What it wrote last, above, says why.")
        self._show_logs()
        say(f"the front has ended, and is started again: {self._front.tell(ended)}")
        self._front = self._start(0, "front", -1)

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
            say(f"a replica has ended: {replica.tell(ended)}")
            self._is_refused |= ended.detail.startswith(f"{ConfigError.code}: ")
            pause_s = AGAIN_S[min(self._deaths, len(AGAIN_S) - 1)]
            self._deaths = self._deaths + 1 if monotonic() - replica.born < 30 else 0
            if self._gives_up() and self._bench.is_reloading:
                say("it does not start: waiting for the code to change")
            self._due = monotonic() + pause_s
        living = [one for one in self._replicas if not one.is_over and one.version == self._version]
        if len(living) < self._wish.replicas and monotonic() >= self._due and not self._gives_up():
            self._replicas.append(self._start(1, "worker", self._version))
        elif not living and self._gives_up() and not self._bench.is_reloading:
            raise ConfigError("No replica starts", fix="See above.")
        self._replicas = [one for one in self._replicas if not one.is_over]

    def _gives_up(self) -> bool:
        """Whether the present code never answered, and is refused or has died so often that it is not tried again."""
        return (self._is_refused or self._deaths >= len(AGAIN_S)) and not self._has_answered

    def _retire(self) -> None:
        """Let go of old code once the new answers."""
        old = [one for one in self._replicas if one.version < self._version]
        staying = [one for one in old if not one.left_at]
        if staying and self._ready() >= len(staying) + self._wish.replicas:
            limit_s = self._numbers_now().get("request_limit_seconds", 0.0)
            for replica in staying:
                self._engine.stop(replica.key, grace_s=limit_s + END_S)
                replica.left_at = monotonic()
            say("the new code answers")
        late = [one for one in old if one.left_at and monotonic() - one.left_at > TELL_S]
        if late:
            say("the old code still answers what it had begun")
        for replica in late:
            replica.left_at = inf  # told once

    def _ready(self) -> int:
        """How many replicas the front knows."""
        return int(self._numbers_now().get("workers_ready", 0))

    def _numbers_now(self) -> Mapping[str, float]:
        """What the front counts, by its names; empty if it does not answer."""
        if not self._url:
            return {}
        where = urlsplit(self._url)
        host, port = str(where.hostname), where.port
        line = HTTPConnection(host, port, timeout=2)
        if where.scheme == "https":
            line = HTTPSConnection(host, port, timeout=2, context=ssl._create_unverified_context())  # our own front
        try:
            line.request("GET", "/lepton/metrics")
            text = line.getresponse().read().decode()
        except (OSError, HTTPException):
            return {}
        finally:
            line.close()
        rows = [row.split() for row in text.splitlines() if row.startswith("lepton_") and "{" not in row]
        return {name.removeprefix("lepton_"): float(value) for name, value in rows}

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
                replica.tail = (replica.tail + piece)[-TAIL_BYTES:]
            replica.read_bytes = self._engine.log_size(replica.key)
        sys.stdout.flush()

    def _end(self) -> None:
        """Let the front answer what it has, then end all."""
        numbers = self._numbers_now()
        limit_s = numbers.get("request_limit_seconds", 0.0)
        open_now = round(numbers.get("queue_waiting", 0) + numbers.get("requests_held", 0))
        if open_now:
            what = "a request that has begun" if open_now == 1 else f"{open_now} requests that have begun"
            say(f"waits for {what}, for up to {limit_s:g} s - Ctrl-C again ends it at once")
        self._finish([self._front.key], limit_s + END_S)
        self._finish([one.key for one in self._replicas if not one.is_over], END_S)
        self._finish(list(self._engine.keys()), 0.0)

    def _finish(self, keys: list[str], grace_s: float) -> None:
        """End processes; returns when they have."""
        grace_s = 0.0 if self.now.is_set() else grace_s
        for key in keys:
            self._engine.stop(key, grace_s=grace_s)
        pause, until = Event(), monotonic() + grace_s + END_S
        while monotonic() < until and any(self._engine.look(key).status == "running" for key in keys):
            if self.now.is_set() and grace_s:
                return self._finish(keys, 0.0)
            self._show_logs()
            pause.wait(0.02)
        self._show_logs()
        return None


def serve_entry(entry: str, **wishes: Any) -> None:
    """Serve an entry until Ctrl-C or SIGTERM.

    Args:
        wishes: further fields of `Bench`, or of its limits.
    Raises:
        InvalidError, ConfigError: there is nothing of that name, or the front cannot start.
    """
    path = Path(file_of(entry)).absolute()
    limits = {name: wishes.pop(name) for name in list(wishes) if name not in Bench.__dataclass_fields__}
    entry = rename(entry, path.name)
    run_bench(Bench(source=path.parent, entry=entry, limits=limits, **wishes))


def run_bench(bench: Bench) -> None:
    """Serve until Ctrl-C or SIGTERM; a second one ends it at once.

    Raises:
        ConfigError: there is no such file, or the front cannot start.
    """
    if not (bench.source / file_of(bench.entry)).exists():
        raise ConfigError(f"There is no file {bench.source / file_of(bench.entry)}", fix="Check the name.")
    with tempfile.TemporaryDirectory(prefix="lepton-serve-") as folder:
        place = Path(folder)
        (place / "store").mkdir()
        isolation = os.environ.get("LEPTON_ISOLATION") or Isolation.OWN
        engine = open_engine("local", folder=place / "engine", isolation=isolation, warm_s=WARM_S)
        try:
            workbench = Workbench(bench, engine, place)
            _hear_stops(workbench)
            workbench.run()
        finally:
            engine.close()


def _hear_stops(workbench: Workbench) -> None:
    """Let signals ask it to stop, from a thread: in the main one they may come while it holds what an Event needs."""
    read_end, write_end = os.pipe()

    def hear() -> None:
        while os.read(read_end, 1):
            workbench.ask_to_stop()

    Thread(target=hear, name="lepton-stops", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os.write(write_end, b"x"))


def say(text: str) -> None:
    """Tell the person at the terminal."""
    with suppress(OSError):
        click.echo(f"lepton: {text}", err=True)
