"""The context on the platform: what docs/wire.md says, spoken with the standard library only.

Reports go through a spool in the worker's folder, so that a server that restarts costs a running job nothing.
`publish` and `save_checkpoint` return when the server has everything.
"""

import atexit
import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from urllib.parse import quote, urlencode

from lepton.core.artifact import File, check_digest, check_path
from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.errors import ConfigError, IntegrityError, NotFoundError
from lepton.core.resource import Json
from lepton.engine.files import hash_file, list_files, read_json, whole_folder
from lepton.engine.spool import Spool
from lepton.engine.wire import Wire

API = "/api/v1"
REQUIRED = ("LEPTON_URL", "LEPTON_TOKEN", "LEPTON_JOB", "LEPTON_FOLDER")


class PlatformContext:
    """`core.context.Context` against a server.

    Args:
        environ: the worker's variables, see docs/wire.md.
        params: the launch's parameters.
        inputs: name -> version id.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        params: Mapping[str, Json],
        inputs: Mapping[str, str],
        clock: Clock | None = None,
    ) -> None:
        missing = [name for name in REQUIRED if not environ.get(name)]
        if missing:
            raise ConfigError(f"Not a worker's environment: no {', '.join(missing)}", fix="Run it as a Lepton job.")
        self.job = environ["LEPTON_JOB"]
        self.rank = int(environ.get("LEPTON_RANK", "0"))
        self.size = int(environ.get("LEPTON_SIZE", "1"))
        self.generation = int(environ.get("LEPTON_GENERATION", "0"))
        self.params: Mapping[str, Json] = dict(params)
        self.folder = Path(environ["LEPTON_FOLDER"])
        self.stop_asked = threading.Event()
        """Set by SIGTERM; `should_stop` tells it."""
        self._inputs = dict(inputs)
        self._clock = clock or SystemClock()
        self._wire, self._report_wire = _wire(environ), _wire(environ)
        self._base = None if environ.get("LEPTON_SUCCESSOR") else 0
        self._spool = Spool(self.folder, self._deliver)
        self._versions: dict[str, Json] = {}

    def input(self, name: str) -> Path:
        """The read-only folder of an input's files; fetched and verified at the first call.

        Raises:
            NotFoundError: the job was given no such input.
            IntegrityError: what was fetched does not match its hash.
        """
        return self._fetch(self._input_version(name), self.folder / "inputs")

    def input_meta(self, name: str) -> Mapping[str, Json]:
        """The `meta` of an input version, with its `id`, `kind`, `name` and `number` beside."""
        version = self._input_version(name)
        return {**version["meta"], **{key: version[key] for key in ("id", "kind", "name", "number")}}

    def metrics(self, step: int, **values: float) -> None:
        """Report numbers of one step; delivered soon, in order, also after the server was away."""
        plain = {name: _finite(float(value)) for name, value in values.items()}
        self.report({"type": "metrics", "step": step, "values": plain})

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the job is, 0 .. 1, and what it does."""
        self.report({"type": "progress", "fraction": float(fraction), "text": text})

    def report(self, item: Mapping[str, Json]) -> None:
        """Report any item of docs/wire.md; the time is added if it has none."""
        self._spool.add({"at": to_micros(self._clock.now()), **item})

    def publish(
        self, *, kind: str, name: str, folder: Path, meta: Mapping[str, Json], parents: Mapping[str, str] | None = None
    ) -> str:
        """Leave the files of `folder` in the catalog as a new version; return its id. Durable when it returns."""
        files = list_files(folder)
        for file in files:
            self._wire.put(f"{API}/vault/objects/{file.digest}", folder / file.path)
        body = {
            "kind": kind,
            "name": name,
            "files": [asdict(file) for file in files],
            "meta": dict(meta),
            "parents": dict(self._inputs if parents is None else parents),
            "job": self.job,
        }
        return str(self._wire.post(f"{API}/catalog/versions", body)["id"])

    def save_checkpoint(self, step: int, folder: Path) -> None:
        """Keep the files of `folder` as the job's state after `step`. Committed when it returns.

        A job has one line of checkpoints, whichever rank saves. What this rank has reported is delivered before: a job
        that goes on from here reports nothing of it again.
        """
        self._spool.flush()
        self.publish(kind="checkpoint", name=self.job, folder=folder, meta={"step": step}, parents={})

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """The last committed (step, folder), from this or an earlier start of the job; None at first."""
        query = urlencode({"kind": "checkpoint", "name": self.job, "job": self.job, "limit": 1})
        found = self._wire.get(f"{API}/catalog/versions?{query}")["items"]
        if not found:
            return None
        return int(found[0]["meta"]["step"]), self._fetch(found[0], self.folder / "checkpoints")

    def should_stop(self) -> bool:
        """Whether the job was asked to stop. The first call makes SIGTERM set this instead of ending the process."""
        self.listen()
        return self.stop_asked.is_set()

    def listen(self) -> None:
        """From now on SIGTERM sets `should_stop`; a program that handles the signal itself goes on doing so."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: self.stop_asked.set())

    def flush(self) -> None:
        """Return when every report has been delivered, however long the server is away.

        Raises:
            StorageFullError: the server has no room for them now.
        """
        self._spool.flush()

    def close(self) -> None:
        """Flush, and let go of the thread and the connections."""
        self._spool.close()
        self._wire.close()
        self._report_wire.close()

    def _deliver(self, first: int, items: list[Json]) -> int:
        if self._base is None:  # the worker before us in this place has told some already: ours are counted on
            self._base = self._report(0, [])
        return self._report(self._base + first, items) - self._base

    def _report(self, first: int, items: list[Json]) -> int:
        body = {"generation": self.generation, "rank": self.rank, "first": first, "items": items}
        return int(self._report_wire.post(f"{API}/jobs/{quote(self.job)}/reports", body)["next"])

    def _input_version(self, name: str) -> Json:
        if name not in self._inputs:
            raise NotFoundError(f"The job has no input {name!r}", fix=f"It has: {', '.join(self._inputs) or 'none'}.")
        if name not in self._versions:
            self._versions[name] = self._wire.get(f"{API}/catalog/versions/{quote(self._inputs[name])}")
        return self._versions[name]

    def _fetch(self, version: Json, shelf: Path) -> Path:
        """The folder with all files of a version, which appears only when it is whole and verified."""
        target = shelf / str(version["id"])
        if not target.is_dir():
            with suppress(FileExistsError), whole_folder(target) as draft:
                for fields in version["files"]:
                    self._fetch_file(File(**fields), draft)
        return target

    def _fetch_file(self, file: File, draft: Path) -> None:
        path = draft / check_path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._wire.download(f"{API}/vault/objects/{check_digest(file.digest)}", path)
        if (found := hash_file(path)) != file.digest:
            raise IntegrityError(f"{file.path} should have SHA-256 {file.digest}, has {found}", fix="Publish it again.")
        path.chmod(0o444)


def current(environ: Mapping[str, str] | None = None) -> PlatformContext:
    """The context of this worker, from its environment. Reports are delivered before the program ends."""
    environ = os.environ if environ is None else environ
    launch = read_json(Path(environ.get("LEPTON_LAUNCH", ""))) or {}
    context = PlatformContext(environ, params=launch.get("params", {}), inputs=launch.get("inputs", {}))
    atexit.register(context.close)
    return context


def _finite(value: float) -> float | None:
    """The number; None for NaN and infinities, which JSON cannot hold."""
    return value if isfinite(value) else None


def _wire(environ: Mapping[str, str]) -> Wire:
    url_file = environ.get("LEPTON_URL_FILE")
    return Wire(environ["LEPTON_URL"], environ["LEPTON_TOKEN"], url_file=Path(url_file) if url_file else None)
