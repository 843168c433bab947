"""One process of an endpoint off the platform: `process.py ROLE FOLDER`, with the settings in FOLDER/settings.json."""

import json
import shutil
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import uvloop

from lepton.core.errors import NotFoundError
from lepton.engine.leaving import leave_whole


class FolderContext:
    """Keeps what a job says as lines of FOLDER/said.jsonl, and what it publishes under FOLDER/published."""

    def __init__(self, folder: Path, rank: int, params: Mapping[str, Any]) -> None:
        self.job, self.rank, self.size = "local", rank, 2
        self.params = params
        self.root = folder
        self.folder = folder / f"scratch-{rank}"
        self.folder.mkdir(exist_ok=True)

    def input(self, name: str) -> Path:
        if name not in ("model", "code"):
            raise NotFoundError(name)
        return self.root / name

    def input_meta(self, name: str) -> Mapping[str, Any]:
        return {"id": self.params["spec"]["model"], "kind": "model", "name": "tiny", "number": 3}

    def _say(self, item: Mapping[str, Any]) -> None:
        with (self.root / "said.jsonl").open("a") as file:
            file.write(json.dumps(item) + "\n")

    def metrics(self, step: int, **values: float) -> None:
        self._say({"type": "metrics", "step": step, "values": values})

    def report(self, item: Mapping[str, Any]) -> None:
        self._say(item)

    def progress(self, fraction: float, text: str = "") -> None:
        self._say({"type": "progress", "fraction": fraction, "text": text})

    def publish(
        self,
        *,
        kind: str,
        name: str,
        folder: Path,
        meta: Mapping[str, Any],
        parents: Mapping[str, str] | None = None,
    ) -> str:
        shutil.copytree(folder, self.root / "published" / folder.name)
        self._say({"type": "published", "kind": kind, "name": name, "folder": folder.name, "meta": dict(meta)})
        return "ver_00000000000000000000000009"

    def save_checkpoint(self, step: int, folder: Path) -> None:
        raise NotImplementedError

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        return None

    def should_stop(self) -> bool:
        return False


def main(role: str, folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text())
    ctx = FolderContext(folder, 0 if role == "front" else int(role), settings["params"])
    if role == "front":  # each process imports only its own part, as on the platform
        told = settings["limits"]  # instead of what the spec says
        limits = import_module("lepton.serve.exchange").Limits(**told) if told else None
        uvloop.run(import_module("lepton.serve.front").Front(ctx, limits).run())
    else:
        import_module("lepton.serve.run").main(ctx)


if __name__ == "__main__":
    ended = leave_whole()  # as a worker of the platform ends
    main(sys.argv[1], Path(sys.argv[2]))
    ended.append(0)
