"""The context without a platform: a plain folder in place of the catalog, so that any job's code runs anywhere.

<folder>/<kind>/<name>/<n>/     files of version n, and beside it <n>.json: id, digest, meta, parents
<folder>/checkpoints/<step>/    files of a checkpoint
<folder>/metrics.jsonl          one line a call of `metrics`; progress.jsonl and others likewise
<folder>/scratch/<rank>/        `context.folder`
"""

import json
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event, Lock

from lepton.core.artifact import KINDS, manifest_digest
from lepton.core.clock import Clock, SystemClock, to_micros
from lepton.core.errors import InvalidError, NotFoundError
from lepton.core.ids import check_name
from lepton.core.resource import Json
from lepton.engine.files import list_files, read_json, whole_folder, write_whole


class FolderContext:
    """`core.context.Context` in a folder. Several ranks, also of other processes, may share one folder."""

    job = "local"

    def __init__(
        self,
        folder: Path,
        *,
        inputs: Mapping[str, Path] | None = None,
        params: Mapping[str, Json] | None = None,
        rank: int = 0,
        size: int = 1,
        clock: Clock | None = None,
    ) -> None:
        self.root = folder
        """Where everything is left."""
        self.folder = folder / "scratch" / str(rank)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rank, self.size = rank, size
        self.params: Mapping[str, Json] = dict(params or {})
        self.stop_asked = Event()
        """Set it to make `should_stop` true."""
        self._inputs = dict(inputs or {})
        self._clock = clock or SystemClock()
        self._lock = Lock()

    def input(self, name: str) -> Path:
        """The folder that was given for an input.

        Raises:
            NotFoundError: there is no such input.
        """
        if name not in self._inputs:
            raise NotFoundError(f"The job has no input {name!r}", fix=f"It has: {', '.join(self._inputs) or 'none'}.")
        return self._inputs[name]

    def input_meta(self, name: str) -> Mapping[str, Json]:
        """What `publish` kept of the version; for a plain folder only its path and `name`."""
        folder = self.input(name)
        record = read_json(folder.with_name(f"{folder.name}.json"))
        if record is None:
            return {"id": str(folder), "kind": "", "name": name, "number": 0}
        return {**record["meta"], **{key: record[key] for key in ("id", "kind", "name", "number")}}

    def metrics(self, step: int, **values: float) -> None:
        """Add a line to `metrics.jsonl`."""
        self.report({"type": "metrics", "step": step, "values": values})

    def progress(self, fraction: float, text: str = "") -> None:
        """Add a line to `progress.jsonl`."""
        self.report({"type": "progress", "fraction": fraction, "text": text})

    def report(self, item: Mapping[str, Json]) -> None:
        """Add an item of docs/wire.md to `<type>.jsonl`; the time is added if it has none."""
        line = json.dumps({"at": to_micros(self._clock.now()), "rank": self.rank, **item})
        with self._lock, (self.root / f"{check_name(item['type'])}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def publish(
        self, *, kind: str, name: str, folder: Path, meta: Mapping[str, Json], parents: Mapping[str, str] | None = None
    ) -> str:
        """Copy the files to `<kind>/<name>/<n>` and return `<kind>/<name>/<n>`; equal content is kept once."""
        if kind not in KINDS:
            raise InvalidError(f"{kind!r} is not a kind of artifact", fix=f"Use one of {', '.join(KINDS)}.")
        shelf = self.root / kind / check_name(name)
        files = list_files(folder)
        record: dict[str, Json] = {"kind": kind, "name": name, "digest": manifest_digest(files), "meta": dict(meta)}
        record["parents"] = dict(parents) if parents is not None else self._input_ids()
        record["files"] = [asdict(file) for file in files]
        with self._lock:
            return self._version_of(shelf, record["digest"]) or self._add(shelf, folder, record)

    def save_checkpoint(self, step: int, folder: Path) -> None:
        """Copy the files to `checkpoints/<step>`, in place of an earlier one of that step."""
        target = self.root / "checkpoints" / str(step)
        with suppress(FileNotFoundError):
            shutil.rmtree(target)
        with whole_folder(target) as draft:
            shutil.copytree(folder, draft, dirs_exist_ok=True)

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """The (step, folder) of the highest step; None at first."""
        found = {int(path.name): path for path in (self.root / "checkpoints").glob("*") if path.name.isdecimal()}
        return max(found.items(), default=None)

    def should_stop(self) -> bool:
        """Whether `stop_asked` was set."""
        return self.stop_asked.is_set()

    def listen(self) -> None:
        """From now on SIGTERM sets `stop_asked`; a program that handles the signal itself goes on doing so."""
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: self.stop_asked.set())

    def close(self) -> None:
        """Nothing is open between two calls."""

    def _input_ids(self) -> dict[str, str]:
        return {name: self.input_meta(name)["id"] for name in self._inputs}

    def _version_of(self, shelf: Path, digest: str) -> str | None:
        """The id of the version with that content, if there is one."""
        records = (read_json(path) for path in sorted(shelf.glob("*.json")))
        return next((str(record["id"]) for record in records if record and record["digest"] == digest), None)

    def _add(self, shelf: Path, folder: Path, record: dict[str, Json]) -> str:
        number = 1 + max((int(path.name) for path in shelf.glob("*") if path.name.isdecimal()), default=0)
        try:
            with whole_folder(shelf / str(number)) as draft:
                shutil.copytree(folder, draft, dirs_exist_ok=True)
        except FileExistsError:  # another rank took the number
            return self._add(shelf, folder, record)
        version = f"{record['kind']}/{record['name']}/{number}"
        write_whole(shelf / f"{number}.json", json.dumps({**record, "id": version, "number": number}))
        return version
