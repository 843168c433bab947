"""Put a platform together. The one place that knows concrete engines and stores; it imports no door."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.errors import StorageFullError
from lepton.core.event import Event
from lepton.engine.base import Engine, open_engine
from lepton.pool.boosting import EVERY_S
from lepton.pool.policy import Policy
from lepton.security.identity import make_token
from lepton.security.key import Root
from lepton.server.allowance import Allowance
from lepton.server.apart import Apart
from lepton.server.bound import check_database, note_database
from lepton.server.config import BOOSTED, ServerConfig
from lepton.server.feed import EVERY_S as FEED_EVERY_S
from lepton.server.feed import Feed
from lepton.server.files import Files
from lepton.server.folder import lock_folder, write_private
from lepton.server.fresh import Fresh
from lepton.server.house import SERVER_INDEX, House
from lepton.server.hub import Hub
from lepton.server.identity import Keys, WorkerIdentity
from lepton.server.jumps import Jumps
from lepton.server.landscape import Landscape
from lepton.server.learning import Learning, check_installed, fit_apart
from lepton.server.lease import Lease
from lepton.server.overview import Overview
from lepton.server.ownership import Ownership, Watch
from lepton.server.people import ADMIN, bootstrap
from lepton.server.placing import Placing, policy_of
from lepton.server.pruning import Pruning
from lepton.server.pulse import Pulse
from lepton.server.reconcile import Loop
from lepton.server.root import check_file, settled_root
from lepton.server.running import Running
from lepton.server.schedules import ACTOR as BACKUPS_ACTOR
from lepton.server.schedules import LEASE_S as BACKUP_LEASE_S
from lepton.server.schedules import Schedules
from lepton.server.sealing import Sealing, vault_of
from lepton.server.serving import Serving
from lepton.server.storage import Storage, given, open_storage, own_folder
from lepton.server.tail import Tails
from lepton.server.trials import EVERY_S as TRY_EVERY_S
from lepton.server.trials import Trying, means_apart
from lepton.store import idempotency, leases, people, revoked
from lepton.store.database import Database, Tx
from lepton.store.open import open_database
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.objects import Objects
from lepton.vault.plain import PlainObjects

KEEP_ANSWERS_S = 86_400.0
HOUSEKEEP_EVERY_S = 60.0
PRUNE_EVERY_S = 3600.0
"""How often it is asked whether a day has gone."""
PLACING_REST_S = 0.02
"""A burst of submissions shares one look at the queue."""
CENSUS_REST_S = 1.0
"""What has changed of the jobs is counted so often, so that who looks at the pool has little to count."""
READERS = 4
UPLOADS = 64
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Platform:
    """Everything the doors work with."""

    config: ServerConfig
    clock: Clock
    database: Database
    engine: Engine
    objects: Objects
    sealing: Sealing
    files: Files
    allowance: Allowance
    keys: Keys
    hub: Hub
    tails: Tails
    fresh: Fresh
    running: Running
    placing: Placing
    identity: WorkerIdentity
    leases: list[Lease]
    apart: Apart
    """Computes beside this process what takes long."""
    readers: ThreadPoolExecutor
    """Reads of the database that may take a while."""
    uploads: ThreadPoolExecutor
    """Each upload holds a thread for as long as its sender takes: in a pool of its own, it starves nothing else."""
    landscape: Landscape
    overview: Overview
    loops: list[Loop] = field(default_factory=list)
    first_token: str | None = None
    """The first user's token, if this start made it."""
    lock: IO[str] | None = None
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self) -> None:
        """Begin to turn the loops."""
        self.tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in self.loops]

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a read transaction, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, self.database.read, work)

    def hush(self) -> None:
        """End all streams, so that a shutdown need not wait for who listens."""
        self.hub.close()
        self.tails.wake()

    async def close(self) -> None:
        """Stop the loops and let go of everything; jobs go on running.

        The data directory stays locked until no thread is left that could write to it.
        """
        self.hush()
        self.apart.end()
        self.objects.vault.end()
        for lease in self.leases:
            lease.end()
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError):
                await task
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        with ThreadPoolExecutor(1, thread_name_prefix="lepton-end") as last:
            await loop.run_in_executor(last, self._release)

    def _release(self) -> None:
        for pool in (self.readers, self.uploads):
            pool.shutdown(wait=True, cancel_futures=True)
        for lease in self.leases:
            with suppress(Exception):
                lease.release()
        self.objects.vault.close()
        self.database.close()
        self.engine.close()
        self.tails.close()
        if self.lock is not None:
            self.lock.close()


def build(config: ServerConfig, *, clock: Clock | None = None, engine: Engine | None = None) -> Platform:
    """Open or make the data directory and everything in it. Call it in the event loop that will run the platform.

    Raises:
        ConfigError, DatabaseError, UnavailableError, StorageFullError: it cannot be used; the message says why.
    """
    clock = clock or SystemClock()
    lock = lock_folder(config.data)
    database: Database | None = None
    try:
        check_file(config)
        check_database(config)
        database = open_database(config.database, folder=config.data, clock=clock)
        root = settled_root(database, config)
        note_database(config)
        token = _settle(database, config, at=clock.now())
        storage, ownership = _take_storage(database, config, root=root.key)
        engine = engine or _open_engine(config, storage)
        keys = Keys.of(root)
        objects = _open_objects(config.data, storage, database, root=root.key, clock=clock)
        platform = _assemble(config, clock=clock, database=database, engine=engine, keys=keys, objects=objects)
        _wire_storage(platform, storage, ownership, root)
    except BaseException:
        if database is not None:
            database.close()
        lock.close()
        raise
    platform.first_token, platform.lock = token, lock
    return platform


def _settle(database: Database, config: ServerConfig, *, at: datetime) -> str | None:
    """Make the first user of a new database; return its token.

    The token is in its file before it is in the database: a start that is cut short is made good by the next.
    """
    if not config.database:  # the folder is locked, so whoever held a lease is gone
        database.write(leases.clear)
    is_reachable = database.read(lambda tx: people.tokens_of(tx, ADMIN))
    if is_reachable:
        return None
    token = make_token()  # also when the last one was revoked: who owns the data directory is never locked out
    write_private(config.data / "token", token + "\n")
    is_first = database.write(lambda tx: bootstrap(tx, token, at))
    if not is_first:  # another server on this database was faster
        (config.data / "token").unlink(missing_ok=True)
    return token if is_first else None


def _take_storage(database: Database, config: ServerConfig, *, root: bytes) -> tuple[Storage, Ownership]:
    storage = open_storage(database, given(config), root=root)
    ownership = Ownership(database, storage)
    try:
        ownership.begin()
    except BaseException:
        storage.driver.close()
        raise
    return storage, ownership


def _open_engine(config: ServerConfig, storage: Storage) -> Engine:
    folder = Path(config.fleet) if config.fleet and config.engine == "fleet" else config.data / "engine"
    try:
        places: dict[str, Any] = {"folder": folder.absolute(), "url_file": config.address_file, "hidden": config.data}
        if config.engine == "local" and isinstance(storage.driver, LocalDriver):
            places["beside"] = [storage.driver.root]
        return open_engine(config.engine, **places, warm_s=config.warm_s, isolation=config.isolation)
    except OSError as fault:
        raise StorageFullError(
            f"Cannot use {folder}: {fault.strerror}", fix="Free some space; look at the folder's owner."
        ) from fault


def _assemble(
    config: ServerConfig, *, clock: Clock, database: Database, engine: Engine, keys: Keys, objects: Objects
) -> Platform:
    holder = os.urandom(16).hex()

    def lease(name: str) -> Lease:
        return Lease(name, holder, database=database, clock=clock, lease_s=config.lease_s)

    held = {name: lease(name) for name in ("placing", "jobs", "serving")}
    identity = WorkerIdentity(keys)
    hub = Hub(asyncio.get_running_loop())
    readers = ThreadPoolExecutor(READERS, thread_name_prefix="lepton-reader")
    running = Running(database, engine, clock=clock, lease=held["jobs"], identity=identity)
    landscape, sealing, allowance = Landscape(), Sealing(database, objects), Allowance(database)
    platform = Platform(
        config=config,
        clock=clock,
        database=database,
        engine=engine,
        objects=objects,
        sealing=sealing,
        files=Files(sealing, allowance),
        allowance=allowance,
        keys=keys,
        identity=identity,
        hub=hub,
        tails=Tails(engine),
        fresh=Fresh(lambda work: asyncio.get_running_loop().run_in_executor(readers, database.read, work), hub),
        running=running,
        placing=Placing(
            database, clock=clock, lease=held["placing"], policy=_policy(config), has_trees=config.learn == BOOSTED
        ),
        landscape=landscape,
        overview=Overview(landscape),
        leases=list(held.values()),
        apart=Apart(),
        readers=readers,
        uploads=ThreadPoolExecutor(UPLOADS, thread_name_prefix="lepton-upload"),
    )
    _wire(platform, Serving(database, clock=clock, lease=held["serving"]))
    return platform


def _policy(config: ServerConfig) -> Policy:
    return policy_of(patience_s=config.patience_s, min_run_s=config.min_run_s, reclaim_s=config.reclaim_s)


def _open_objects(folder: Path, storage: Storage, database: Database, *, root: bytes, clock: Clock) -> Objects:
    """The objects of the vault, and what older versions left in the data directory."""
    try:
        own = own_folder(folder)
        own.clear_drafts()
    except OSError as fault:
        raise StorageFullError(
            f"Cannot use {folder}: {fault.strerror}", fix="Free some space; look at the folder's owner."
        ) from fault
    vault = vault_of(root, storage, database, indexes=folder / SERVER_INDEX, clock=clock)
    return Objects(vault, PlainObjects(own))


def _wire(platform: Platform, serving: Serving) -> None:
    """Make the loops, and let what is committed or ends wake the right ones."""
    config, running = platform.config, platform.running
    pulse = Pulse(platform.database, platform.engine, clock=platform.clock, heartbeat_s=config.heartbeat_s)
    loops = {
        "pulse": Loop("pulse", pulse.turn, every_s=config.heartbeat_s),
        "placing": Loop("placing", platform.placing.turn, every_s=config.heartbeat_s, rest_s=PLACING_REST_S),
        "jobs": Loop("jobs", running.turn, every_s=config.heartbeat_s),
        "serving": Loop("serving", serving.turn, every_s=config.heartbeat_s),
        "census": Loop("census", lambda: count(platform), every_s=config.heartbeat_s, rest_s=CENSUS_REST_S),
        "sealing": Loop("sealing", platform.sealing.turn, every_s=HOUSEKEEP_EVERY_S),
        "housekeeping": Loop("housekeeping", lambda: housekeep(platform), every_s=HOUSEKEEP_EVERY_S),
    }
    platform.loops = [*loops.values(), *_learning(platform)]

    def on_event(event: Event) -> None:
        if event.kind == "job" and event.verb != "created":  # a queued job is placing's alone
            running.touch(event.subject)
            loops["jobs"].wake()
        if event.kind == "job":
            loops["census"].wake()
        if event.kind in ("job", "node", "queue", "quota", "pool"):
            loops["placing"].wake()
        if event.kind == "job" and event.verb.endswith("->queued"):  # its node may be gone
            loops["pulse"].wake()
        if event.kind in ("endpoint", "node") or event.data.get("stage") == "serve":
            loops["serving"].wake()

    main = asyncio.get_running_loop()

    def on_change(key: str) -> None:
        running.touch(key.partition(".")[0])  # job.generation.rank, and of one that was replaced its count
        if not main.is_closed():
            main.call_soon_threadsafe(loops["jobs"].wake)

    platform.hub.on_event(on_event)
    _hear_commits(platform, main)
    platform.engine.on_change(on_change)


def _learning(platform: Platform) -> list[Loop]:
    """The loops that learn what the pool decides by."""
    placing, apart = platform.placing, platform.apart
    trying = Trying(platform.database, placing, clock=platform.clock, means=means_apart(apart))
    loops = [Loop("trials", trying.turn, every_s=TRY_EVERY_S)]
    if platform.config.learn == BOOSTED:
        check_installed()
        loops.append(Loop("learning", Learning(placing.mirror, fit_apart(apart)).turn, every_s=EVERY_S))
    return loops


def _wire_storage(platform: Platform, storage: Storage, ownership: Ownership, keys: Root) -> None:
    """The loops that look whose the storage is, prune it and make backups; their lease outlives the copy of a pack."""
    database, clock = platform.database, platform.clock
    watch = Watch(database, ownership, keys.key, clock)
    pruning = Pruning(database, platform.objects.vault, clock, ownership)
    house = House(
        folder=platform.config.data,
        keys=keys,
        database=platform.database,
        storage=storage,
        vault=platform.objects.vault,
        clock=platform.clock,
        actor=BACKUPS_ACTOR,
    )
    lease = Lease(
        "backups", os.urandom(16).hex(), database=platform.database, clock=platform.clock, lease_s=BACKUP_LEASE_S
    )
    platform.leases.append(lease)
    platform.loops += [
        Loop("ownership", watch.turn, every_s=HOUSEKEEP_EVERY_S),
        Loop("pruning", pruning.turn, every_s=PRUNE_EVERY_S),
        Loop("backups", Schedules(house, lease).turn, every_s=HOUSEKEEP_EVERY_S),
    ]


def _hear_commits(platform: Platform, main: asyncio.AbstractEventLoop) -> None:
    """Let the hub hear of every commit: our own at once; of other servers, where there may be some, soon."""
    if platform.database.dialect.is_near:
        platform.database.on_commit(platform.hub.publish)
        return
    feed = Loop("feed", Feed(platform.database, platform.hub).turn, every_s=FEED_EVERY_S)
    platform.loops.append(feed)

    def on_news(*_: object) -> None:
        if not main.is_closed():
            main.call_soon_threadsafe(feed.wake)

    platform.database.on_commit(on_news)
    platform.database.on_news(on_news)


def count(platform: Platform) -> None:
    """Let the overview know what has changed of the jobs."""
    platform.database.read(platform.overview.sync)


def housekeep(platform: Platform) -> None:
    """End what nobody wants, forget what nobody will ask for."""
    doubt_s = Jumps(platform.database, platform.clock).doubt_s()
    platform.running.collect(platform.config.keep_logs_s + doubt_s)
    now = to_micros(platform.clock.now()) - int(doubt_s * 1_000_000)
    platform.database.write(lambda tx: idempotency.sweep(tx, now - int(KEEP_ANSWERS_S * 1_000_000)))
    platform.database.write(lambda tx: revoked.sweep(tx, now))
