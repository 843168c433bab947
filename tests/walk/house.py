"""A whole platform for tests: the real command line, a server that can be killed, and the books afterwards."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from select import poll
from threading import Event
from time import monotonic
from typing import Any

from lepton.core.artifact import Version
from lepton.core.clock import SystemClock
from lepton.core.resource import Resource
from lepton.jobs.life import FINAL, NEXT, State
from lepton.sdk.client import AsyncClient, Client
from lepton.sdk.find import find
from lepton.sdk.http import Http
from lepton.sdk.portal import Portal
from lepton.server.config import ServerConfig
from lepton.server.folder import root_key
from lepton.server.sealing import vault_of
from lepton.server.storage import Storage, own_address
from lepton.store import catalog, events, holdings, resources
from lepton.store.database import Tx
from lepton.store.open import open_database
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.objects import Objects
from lepton.vault.plain import PlainObjects

LEPTON = [sys.executable, "-m", "lepton.cli.main"]
START_S, END_S, WALK_S = 30, 40, 300
ONCE = {
    ("raw", "digits"),
    ("dataset", "digits"),
    ("dataset", "digits-clean"),
    ("report", "digits-clean"),
    ("model", "digits"),
    ("model", "digits-fast"),
}
"""Versions that one walk leaves once, whatever happens; equal input gives an equal digest."""
SHORT = ("--epochs", "4")
"""A walk learns as much as its tests need: training would be two thirds of its time."""


def wait_until(holds: Any, what: str, timeout_s: float = 30.0) -> Any:
    """The first true value of `holds()`."""
    until, pause = monotonic() + timeout_s, Event()
    while monotonic() < until:
        if value := holds():
            return value
        pause.wait(0.02)
    raise AssertionError(f"waited in vain until {what}")


@contextmanager
def interruptible() -> Iterator[None]:
    """What is started meanwhile can be ended by SIGINT, even if these tests run where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short name, so that the engine's sockets stay inside it."""
    folder = Path(tempfile.mkdtemp(prefix="lw-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class House:
    """One data directory, its server and its user."""

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        (folder / "tmp").mkdir(exist_ok=True)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
        self.env = {
            **plain,
            "LEPTON_DATA": str(self.data),
            "XDG_STATE_HOME": str(folder / "state"),
            "TMPDIR": str(folder / "tmp"),
        }
        self.server: subprocess.Popen[bytes] | None = None
        self.clients: list[Client] = []
        self.processes: list[subprocess.Popen[Any]] = []

    def up(self, *flags: str) -> int:
        """Start the server and return its process id once it answers."""
        self.data.mkdir(exist_ok=True)
        reading, writing = os.pipe()
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [*LEPTON, "up", "--data", str(self.data), *(flags or ("--port", "0"))],
                env={**self.env, "LEPTON_READY_FD": str(writing)},
                pass_fds=[writing],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(self.server)
        os.close(writing)
        waiting = poll()
        waiting.register(reading)
        is_ready = bool(waiting.poll(START_S * 1000)) and os.read(reading, 1) == b"1"
        os.close(reading)
        assert is_ready, (self.folder / "server.log").read_text()[-3000:]
        return self.server.pid

    def kill(self) -> None:
        """kill -9 of the server."""
        assert self.server is not None
        self.server.kill()
        self.server.wait(END_S)

    def terminate(self) -> int:
        """SIGTERM to the server; its exit code."""
        assert self.server is not None
        self.server.terminate()
        return self.server.wait(END_S)

    def lepton(self, *words: str, timeout_s: float = WALK_S) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*LEPTON, *words], env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command whose output goes to `<first word>.out`."""
        with (self.folder / f"{words[0]}.out").open("a") as out, interruptible():
            process = subprocess.Popen([*LEPTON, *words], env=self.env, stdout=out, stderr=out, text=True)
        self.processes.append(process)
        return process

    @property
    def client(self) -> Client:
        """A client that looks up the address again when the server is away."""
        if not self.clients:
            inner = AsyncClient(Http(find(environment={"LEPTON_DATA": str(self.data)})), "default")
            self.clients.append(Client(inner, Portal()))
        return self.clients[0]

    def versions(self) -> dict[tuple[str, str], list[str]]:
        """(kind, name) -> digests, oldest first."""
        found: dict[tuple[str, str], list[str]] = {}
        for version in reversed(self.client.catalog.list(limit=1000)):
            found.setdefault((version.kind, version.name), []).append(version.digest)
        return found

    def end(self) -> None:
        """Take endpoints down, stop jobs, end the server."""
        if self.server is None or self.server.poll() is not None:
            return
        for endpoint in self.client.serve.list():
            if endpoint.state != "deleted":
                endpoint.delete().wait("deleted")
        for job in self.client.jobs.list(limit=1000):
            if not job.is_final:
                job.stop(grace_s=1).wait(check=False, timeout_s=END_S)
        self.client.close()
        self.terminate()

    def left_running(self) -> list[str]:
        """Every process that has to do with this folder."""
        return [line for line in processes() if str(self.folder) in line]


def processes() -> Iterator[str]:
    """Command line and environment of every other process."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int(path.name) != os.getpid() and (path / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                told = (path / "cmdline").read_bytes() + b" | " + (path / "environ").read_bytes()
                yield f"{path.name}: {told.decode(errors='replace')}"
        except OSError:
            continue


@contextmanager
def opened_house() -> Iterator[House]:
    """A house of its own; nothing of it runs afterwards, whatever the test did."""
    with short_folder() as folder:
        house = House(folder)
        try:
            yield house
        finally:
            for line in house.left_running():
                pid = int(line.partition(":")[0])
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            for process in house.processes:
                process.wait(END_S)
            for client in house.clients:
                client.close()


class Books:
    """What a data directory holds once its server has ended."""

    def __init__(self, data: Path) -> None:
        self.data = data
        database = open_database("", folder=data, clock=SystemClock())
        try:
            self.jobs: list[Resource] = database.read(_jobs)
            self.versions: list[Version] = database.read(_versions)
            self.events = database.read(lambda tx: events.after(tx, 0, limit=1_000_000))
        finally:
            database.close()

    def check(self) -> None:
        """Every job's events are a whole life, no version is doubled, every file is whole, no draft is left."""
        for job in self.jobs:
            self._check_life(job)
        assert len({seq for seq, _ in self.events}) == len(self.events)
        numbers: dict[tuple[str, str], list[int]] = {}
        for version in self.versions:
            numbers.setdefault((version.kind, version.name), []).append(version.number)
        assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values()), numbers
        made = Counter((v.job, v.kind, v.name, v.digest) for v in self.versions if v.job)
        assert made.most_common(1)[0][1] == 1
        self._check_files()

    def _check_life(self, job: Resource) -> None:
        told = [event.verb for _, event in self.events if event.subject == job.id]
        assert told[0] == "created"
        state = State.QUEUED
        for verb in told[1:]:
            before, arrow, after = verb.partition("->")
            if arrow:
                assert before == state and State(after) in NEXT[state], (job.name, told)
                state = State(after)
        assert job.state == state and state in FINAL, (job.name, told)

    def _check_files(self) -> None:
        clock = SystemClock()
        database = open_database("", folder=self.data, clock=clock)
        driver = LocalDriver(self.data / "vault")
        with tempfile.TemporaryDirectory() as folder:
            root = root_key(ServerConfig(data=self.data))
            storage = Storage(driver=driver, id="", address=own_address(self.data))
            vault = vault_of(root, storage, database, indexes=Path(folder), clock=clock)
            objects = Objects(vault, PlainObjects(driver))
            for version in self.versions:
                digests = [file.digest for file in version.files]
                held = database.read(lambda tx, d=digests, v=version: holdings.find(tx, d, workspaces=[v.workspace]))  # type: ignore[misc]
                for digest in digests:
                    assert sha256(b"".join(objects.open(held[digest]))).hexdigest() == digest
            vault.close()
        database.close()
        assert not list((self.data / "vault" / ".new").iterdir())
        assert not [path.name for path in (self.data / "engine").glob(".*")]


def _jobs(tx: Tx) -> list[Resource]:
    return resources.list_page(tx, "job", "default", where={}, limit=10_000)


def _versions(tx: Tx) -> list[Version]:
    return [catalog.read(row) for row in tx.rows(f"SELECT {catalog.COLUMNS} FROM versions")]
