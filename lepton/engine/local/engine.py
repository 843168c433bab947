"""The local engine: makes launch folders, has shims forked, and reads what they left.

It keeps nothing in memory that matters: killed at any moment, another one on the same folder goes on.
"""

import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from lepton.core.errors import EngineError, StorageFullError
from lepton.core.launch import Exit, ExitReason, Isolation, Launch, NodeFacts, Sighting
from lepton.core.resource import Json
from lepton.engine.local.bounds import Ground, holds_closed
from lepton.engine.local.doors import Doors
from lepton.engine.local.forker import Forker
from lepton.engine.local.gangs import gang_folder, join_gang, leave_gang, meeting_folder
from lepton.engine.local.lost import record_lost
from lepton.engine.local.machine import facts, node_name
from lepton.engine.local.plan import can_be_warm, make_plan
from lepton.engine.local.warm import WarmZygotes
from lepton.engine.local.watch import Watch
from lepton.engine.shim import records
from lepton.engine.shim.processes import identity, is_alive, start_of
from lepton.engine.shim.segments import read_segments, size_of

log = logging.getLogger("lepton.engine")
KEY = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,199}")


class LocalEngine:
    """`engine.base.Engine` on this machine. Everything it keeps lies in `folder`.

    Args:
        url_file: the file that holds the server's present address.
        warm_s: how long a warm zygote lives unused; 0: every worker starts cold.
        hidden: what no worker sees but for what is its own; None: `folder`.
        beside: other folders that no worker sees.
        isolation: how every worker is held at least: `own`, `closed` or `off`.
    """

    def __init__(
        self,
        *,
        folder: Path,
        url_file: Path | None = None,
        warm_s: float = 0.0,
        hidden: Path | None = None,
        beside: Sequence[Path] = (),
        isolation: str = Isolation.OWN,
    ) -> None:
        self.folder = folder.absolute()
        self.node = node_name()
        """Name of this machine among the nodes."""
        self._hidden, self._beside = (hidden or folder).absolute(), [each.absolute() for each in beside]
        self._url_file = url_file.absolute() if url_file else None
        self._least = Isolation(isolation)
        self._lock = threading.Lock()
        self._calls: list[Callable[[str], None]] = []
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._doors = Doors()
        self._forker = Forker()
        self.warm_zygotes = WarmZygotes(idle_s=warm_s, own=os.environ)
        self._watch = Watch(self._tell)
        self._adopt()

    @property
    def zygote(self) -> int:
        """Process id of the zygote."""
        return self._forker.pid

    @cached_property
    def layers(self) -> Mapping[str, Json]:
        """What this machine has to hold workers by, see `sandbox.layers`."""
        return self._forker.layers()

    @cached_property
    def ground(self) -> Ground:
        """What its workers stand on."""
        for name, why in self.layers["lacks"].items():
            log.warning("workers are held without %s: %s", name, why)
        if self._least is Isolation.OFF:
            log.warning("isolation is off: a worker can read and change all that this user can")
        return Ground(
            hidden=self._hidden,
            beside=self._beside,
            url_file=self._url_file,
            variables=os.environ,
            least=self._least,
            layers=self.layers,
        )

    def nodes(self) -> Iterator[NodeFacts]:
        """This machine, by its host name."""
        yield facts(self.node)

    def start(self, launch: Launch) -> None:
        """Start it; a second call with the same key does nothing, even after the first has ended.

        Raises:
            EngineError: the key or node cannot be, or no process can be made.
            StorageFullError: the disk is full; nothing is left of the attempt.
        """
        folder = self._folder(launch.key)
        if launch.node not in ("", self.node):
            raise EngineError(f"This engine has no node {launch.node!r}", fix=f"Its only node is {self.node!r}.")
        is_new = not (folder / records.SHIM).exists()
        if is_new:
            self._start_new(launch, folder)
        if is_new or not (folder / records.EXIT).exists():  # whoever started it, this engine hears of its end
            self._watch.add(launch.key, records.read(str(folder / records.SHIM)))

    def warm(self, preload: tuple[str, ...]) -> None:
        """Have a warm zygote with these modules soon."""
        self.warm_zygotes.hint(preload)

    def look(self, key: str) -> Sighting:
        """Say what is true now; never raise for an unknown key."""
        if not KEY.fullmatch(key) or not (folder := self.folder / key).is_dir():
            return Sighting(key=key, status="unknown")
        ended = records.read(str(folder / records.EXIT))
        if ended is None:
            if not (folder / records.SHIM).exists():
                return Sighting(key=key, status="unknown")
            worker = records.read(str(folder / records.WORKER)) or {"pid": 0, "started_at": None}
            if is_alive(records.read(str(folder / records.SHIM))):
                return Sighting(key=key, status="running", pid=worker["pid"], started_at=_time(worker["started_at"]))
            ended = records.read(str(folder / records.EXIT)) or record_lost(folder)
        return _exited(key, ended, records.read(str(folder / records.WORKER)) or {})

    def keys(self) -> list[str]:
        """Everything that is here, running or ended and not forgotten."""
        return sorted(name for name in os.listdir(self.folder) if KEY.fullmatch(name))

    def logs(self, key: str, *, offset: int = 0) -> Iterator[bytes]:
        """What it has written since byte `offset`, as far as written now; does not wait."""
        if KEY.fullmatch(key):
            yield from read_segments(str(self.folder / key / records.LOG), max(offset, 0))

    def log_size(self, key: str) -> int:
        """Bytes written by it so far, dropped ones included."""
        return size_of(str(self.folder / key / records.LOG)) if KEY.fullmatch(key) else 0

    def stop(self, key: str, *, grace_s: float) -> None:
        """Ask the worker to end; its whole process tree is killed after `grace_s` seconds. Returns at once."""
        if not KEY.fullmatch(key):
            return
        self._doors.stopping(key)
        shim = records.read(str(self.folder / key / records.SHIM))
        if shim is None or not is_alive(shim):
            return
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(shim["pid"])
            try:
                if is_alive(shim):
                    with suppress(OSError):  # on a full disk the launch's own grace counts
                        records.write(str(self.folder / key / records.STOP), {"grace_s": grace_s})
                    signal.pidfd_send_signal(fd, signal.SIGTERM)
                    signal.pidfd_send_signal(fd, signal.SIGCONT)  # should somebody have halted it
            finally:
                os.close(fd)

    def forget(self, key: str) -> None:
        """Delete what is kept of an ended key; an unknown or running key: nothing."""
        if self.look(key).status == "exited":
            self._remove(self.folder / key)

    def on_change(self, call: Callable[[str], None]) -> None:
        """Call `call(key)` soon after a key has ended, from any thread."""
        with self._lock:
            self._calls.append(call)

    def close(self) -> None:
        """Let go of threads and files. What runs goes on running."""
        self._watch.close()
        self.warm_zygotes.close()
        self._forker.close()
        self._doors.close()

    def _folder(self, key: str) -> Path:
        if KEY.fullmatch(key):
            return self.folder / key
        raise EngineError(f"{key[:80]!r} cannot be a key", fix="Use 1 to 200 of a-z A-Z 0-9 . _ - , no dot first.")

    def _start_new(self, launch: Launch, folder: Path) -> None:
        gang, meeting = gang_folder(launch, scope=self.folder), meeting_folder(launch, scope=self.folder)
        plan = make_plan(launch, folder, self.ground, gang=gang, meeting=meeting)
        variables = plan.pop("env")
        try:
            self._prepare(launch, folder, plan)
        except OSError as fault:
            _leave(plan, launch.key)
            raise _refusal(folder, fault) from fault
        answer = self._fork_shim(launch, folder, plan, variables)
        if answer.startswith("no"):
            self._remove(folder)
            code = int(answer.split()[1])
            raise _refusal(folder, OSError(code, os.strerror(code)))

    def _fork_shim(self, launch: Launch, folder: Path, plan: Json, variables: dict[str, str]) -> str:
        """From a warm zygote if there is one for this launch; else from the plain one, and then there will be."""
        doors = self._doors.lend(launch)
        if not can_be_warm(launch, plan, variables, os.environ):
            return self._forker.fork_shim(folder, variables, doors)
        answer = self.warm_zygotes.fork_shim(launch.preload, folder, variables, doors)
        if not answer:
            answer = self._forker.fork_shim(folder, variables, doors)
            self.warm_zygotes.hint(launch.preload)
        return answer

    def _prepare(self, launch: Launch, folder: Path, plan: Json) -> None:
        """Make the launch's folder appear whole, in one step. One that is there already has not been started."""
        for shared in filter(None, (plan["gang"], plan.get("meeting"))):
            join_gang(Path(shared), launch.key)
        draft = self.folder / f".new-{launch.key}-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            draft.mkdir(mode=0o700)
            for name in (
                records.LOG,
                records.WORK,
                *([f"{records.WORK}/{records.TMP}"] if holds_closed(plan["bounds"]) else []),
            ):
                (draft / name).mkdir(mode=0o700)
            records.write(str(draft / records.LAUNCH), {**launch.to_json(), "env": {}})  # it may hold secrets
            records.write(str(draft / records.PLAN), plan)
            with suppress(FileExistsError):
                _rename_new(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _remove(self, folder: Path) -> None:
        plan = records.read(str(folder / records.PLAN))
        gone = self.folder / f".gone-{folder.name}-{os.urandom(4).hex()}"
        with suppress(FileNotFoundError):
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        if plan:
            _leave(plan, folder.name)

    def _adopt(self) -> None:
        """Watch what still runs, and clear away what a killed engine left half done."""
        drafts = [path for path in self.folder.glob(".new-*") if not start_of(int(path.name.split("-")[-2]))]
        for path in [*self.folder.glob(".gone-*"), *drafts]:
            shutil.rmtree(path, ignore_errors=True)
        for key in self.keys():
            folder = self.folder / key
            if not (folder / records.EXIT).exists():
                if records.write_once(str(folder / records.SHIM), {**identity(os.getpid()), "start": 0}):
                    self._remove(folder)  # it was never started, and now no late shim can
                else:
                    self._adopt_door(folder)
                    self._watch.add(key, records.read(str(folder / records.SHIM)))

    def _adopt_door(self, folder: Path) -> None:
        launch, worker = (records.read(str(folder / name)) for name in (records.LAUNCH, records.WORKER))
        if launch is not None and worker is not None and worker.get("doors"):
            self._doors.adopt(Launch.from_json(launch), worker)

    def _tell(self, key: str) -> None:
        self._doors.left(key)
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            try:
                call(key)
            except Exception as fault:  # noqa: BLE001 - one listener's fault must not deafen the others
                threading.excepthook(threading.ExceptHookArgs((type(fault), fault, fault.__traceback__, None)))


def _leave(plan: Mapping[str, Json], key: str) -> None:
    """Let go of the folders that a launch shares with others."""
    for shared in filter(None, (plan["gang"], plan.get("meeting"))):
        leave_gang(Path(shared), key)


def _rename_new(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError as fault:
        if folder.is_dir():
            raise FileExistsError(str(folder)) from fault
        raise


def _refusal(folder: Path, fault: OSError) -> EngineError | StorageFullError:
    if records.is_full(fault):
        return StorageFullError(f"No room to start a worker in {folder.parent}", fix="Free disk space there.")
    return EngineError(f"A worker cannot be started in {folder.parent}: {fault}", fix="Look at the folder's owner.")


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _exited(key: str, ended: records.Record, worker: records.Record) -> Sighting:
    found = Exit(
        reason=ExitReason(ended["reason"]),
        code=ended["code"],
        signal=ended["signal"],
        detail=ended["detail"],
        at=_time(ended["ended_at"]),
        peak_memory_bytes=ended["peak_memory_bytes"],
    )
    pid, started_at = worker.get("pid", 0), _time(ended["started_at"])
    return Sighting(key=key, status="exited", pid=pid, started_at=started_at, exit=found)
