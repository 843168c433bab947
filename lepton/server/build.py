"""Put a platform together. The one place that knows concrete engines and stores; it imports no door."""

import asyncio
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.errors import ConfigError, StorageFullError
from lepton.core.event import Event
from lepton.engine.base import Engine, open_engine
from lepton.security.key import KEY_BYTES, derive
from lepton.server.config import ServerConfig
from lepton.server.hub import Hub
from lepton.server.identity import Keys, WorkerIdentity
from lepton.server.lease import Lease
from lepton.server.people import bootstrap
from lepton.server.placing import Placing
from lepton.server.pulse import Pulse
from lepton.server.reconcile import Loop
from lepton.server.running import Running
from lepton.server.serving import Serving
from lepton.server.tail import Tails
from lepton.store import idempotency, leases
from lepton.store.database import Database
from lepton.store.open import open_database
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.objects import Objects

KEEP_ANSWERS_S = 86_400.0
HOUSEKEEP_EVERY_S = 60.0


@dataclass(slots=True, kw_only=True)
class Platform:
    """Everything the doors work with."""

    config: ServerConfig
    clock: Clock
    database: Database
    engine: Engine
    objects: Objects
    keys: Keys
    hub: Hub
    tails: Tails
    running: Running
    placing: Placing
    identity: WorkerIdentity
    leases: list[Lease]
    loops: list[Loop] = field(default_factory=list)
    first_token: str | None = None
    """The first user's token, if this start made it."""
    lock: IO[str] | None = None
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self) -> None:
        """Begin to turn the loops."""
        self.tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in self.loops]

    async def close(self) -> None:
        """Stop the loops and let go of everything; jobs go on running."""
        self.hub.close()
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        for lease in self.leases:
            with suppress(Exception):
                lease.release()
        self.database.close()
        self.engine.close()
        if self.lock is not None:
            self.lock.close()


def build(config: ServerConfig, *, clock: Clock | None = None, engine: Engine | None = None) -> Platform:
    """Open or make the data directory and everything in it. Call it in the event loop that will run the platform.

    Raises:
        ConfigError, DatabaseError, UnavailableError, StorageFullError: it cannot be used; the message says why.
    """
    lock = lock_folder(config.data)
    try:
        platform = _open(config, clock or SystemClock(), engine)
    except BaseException:
        lock.close()
        raise
    platform.lock = lock
    return platform


def _open(config: ServerConfig, clock: Clock, engine: Engine | None) -> Platform:
    root = root_key(config.data / "key")
    keys = Keys(secrets=derive(root, "secrets"), workers=derive(root, "workers"))
    database = open_database(config.database, folder=config.data, clock=clock)
    try:
        if not config.database:  # the folder is locked, so a lease that is left is a killed server's
            database.write(leases.release_all)
        token = database.write(lambda tx: bootstrap(tx, clock.now()))
        if token is not None:
            write_private(config.data / "token", token + "\n")
        engine = engine or _open_engine(config)
        platform = _assemble(config, clock=clock, database=database, engine=engine, keys=keys)
    except BaseException:
        database.close()
        raise
    platform.first_token = token
    return platform


def _open_engine(config: ServerConfig) -> Engine:
    try:
        return open_engine(config.engine, folder=config.data / "engine", url_file=config.data / "url")
    except OSError as fault:
        raise StorageFullError(
            f"Cannot use {config.data / 'engine'}: {fault.strerror}", fix="Free some space; look at the folder's owner."
        ) from fault


def _assemble(config: ServerConfig, *, clock: Clock, database: Database, engine: Engine, keys: Keys) -> Platform:
    holder = os.urandom(16).hex()

    def lease(name: str) -> Lease:
        return Lease(name, holder, database=database, clock=clock, lease_s=config.lease_s)

    held = {name: lease(name) for name in ("placing", "jobs", "serving")}
    identity = WorkerIdentity(keys)
    running = Running(database, engine, clock=clock, lease=held["jobs"], identity=identity)
    platform = Platform(
        config=config,
        clock=clock,
        database=database,
        engine=engine,
        objects=Objects(_open_vault(config.data / "vault")),
        keys=keys,
        identity=identity,
        hub=Hub(asyncio.get_running_loop()),
        tails=Tails(engine),
        running=running,
        placing=Placing(database, clock=clock, lease=held["placing"], patience_s=config.patience_s),
        leases=list(held.values()),
    )
    _wire(platform, Serving(database, clock=clock, lease=held["serving"]))
    return platform


def _open_vault(folder: Path) -> LocalDriver:
    try:
        driver = LocalDriver(folder)
        driver.clear_drafts()
    except OSError as fault:
        raise StorageFullError(
            f"Cannot use {folder}: {fault.strerror}", fix="Free some space; look at the folder's owner."
        ) from fault
    return driver


def _wire(platform: Platform, serving: Serving) -> None:
    """Make the loops, and let what is committed or ends wake the right ones."""
    config, running = platform.config, platform.running
    pulse = Pulse(platform.database, platform.engine, clock=platform.clock, heartbeat_s=config.heartbeat_s)
    loops = {
        "pulse": Loop("pulse", pulse.turn, every_s=config.heartbeat_s),
        "placing": Loop("placing", platform.placing.turn, every_s=config.heartbeat_s),
        "jobs": Loop("jobs", running.turn, every_s=config.heartbeat_s),
        "serving": Loop("serving", serving.turn, every_s=config.heartbeat_s),
        "housekeeping": Loop("housekeeping", lambda: housekeep(platform), every_s=HOUSEKEEP_EVERY_S),
    }
    platform.loops = list(loops.values())

    def on_event(event: Event) -> None:
        if event.kind == "job":
            running.touch(event.subject)
            loops["jobs"].wake()
        if event.kind in ("job", "node"):
            loops["placing"].wake()
        if event.kind == "endpoint" or event.data.get("stage") == "serve":
            loops["serving"].wake()

    main = asyncio.get_running_loop()

    def on_change(key: str) -> None:
        running.touch(key.rsplit(".", 2)[0])
        if not main.is_closed():
            main.call_soon_threadsafe(loops["jobs"].wake)

    platform.hub.on_event(on_event)
    platform.database.on_commit(platform.hub.publish)
    platform.engine.on_change(on_change)


def housekeep(platform: Platform) -> None:
    """End what nobody wants, forget what nobody will ask for."""
    platform.running.collect(platform.config.keep_logs_s)
    before = to_micros(platform.clock.now()) - int(KEEP_ANSWERS_S * 1_000_000)
    platform.database.write(lambda tx: idempotency.sweep(tx, before))


def lock_folder(folder: Path) -> IO[str]:
    """Make the data directory and keep other servers out of it.

    Raises:
        ConfigError: it cannot be written, or another server uses it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as fault:
        raise ConfigError(
            f"The data directory {folder} cannot be written: {fault.strerror}", fix="Choose another with --data DIR."
        ) from fault
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        lock.close()
        raise ConfigError(
            f"Another server already uses {folder}", fix="Stop it with `lepton down`, or choose another --data DIR."
        ) from fault
    return lock


def root_key(path: Path) -> bytes:
    """The platform's root key; made at the first start, mode 0600.

    Raises:
        ConfigError: the file is not a key.
    """
    if not path.exists():
        write_private(path, os.urandom(KEY_BYTES).hex() + "\n")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as fault:
        raise ConfigError(f"The key file {path} cannot be read: {fault}", fix="Restore it from a backup.") from fault
    if len(key) != KEY_BYTES:
        raise ConfigError(f"The key file {path} is torn", fix="Restore it from a backup.")
    return key


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all, even through a power cut.

    Raises:
        StorageFullError: there is no room or no right to write.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise StorageFullError(
            f"Cannot write {path}: {fault.strerror}", fix="Free some space in the data directory."
        ) from fault
