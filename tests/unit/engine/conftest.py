"""A local engine under test, with the promise that no process outlives the test."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lepton.core.launch import Exit, Launch
from lepton.engine.local import LocalEngine
from lepton.engine.local.bounds import ROOT_FOLDER
from lepton.engine.shim import records
from lepton.engine.shim.processes import is_alive, marked

DEADLINE_S = 30.0


class Local:
    """A local engine that can be opened again, and ways to wait for what it does."""

    def __init__(self, folder: Path, warm_s: float = 0.0) -> None:
        self.folder = folder
        self.warm_s = warm_s
        self.isolation = "own"
        self.changed = threading.Condition()
        self.gates: dict[str, tuple[Path, int]] = {}
        self.engine = self.open()

    def open(self) -> LocalEngine:
        engine = LocalEngine(folder=self.folder, warm_s=self.warm_s, isolation=self.isolation)
        engine.on_change(self.hear)
        return engine

    def reopen(self) -> None:
        self.engine.close()
        self.engine = self.open()

    def hear(self, key: str) -> None:
        del key
        with self.changed:
            self.changed.notify_all()

    def run(self, key: str, *command: str, **more: Any) -> None:
        self.engine.start(Launch(key=key, job="j", command=command, **more))

    def gate(self, name: str) -> str:
        """A shell command that waits until `release`."""
        path = self.folder.parent / f"{name}.gate"
        os.mkfifo(path)
        self.gates[name] = path, os.open(path, os.O_RDWR)
        return f"read line < {path}"

    def release(self, name: str) -> None:
        os.write(self.gates[name][1], b"go\n")

    def ended(self, key: str) -> Exit:
        with self.changed:
            assert self.changed.wait_for(lambda: self.engine.look(key).exit, DEADLINE_S), self.engine.look(key)
        found = self.engine.look(key).exit
        assert found is not None
        return found

    def logged(self, key: str) -> str:
        return b"".join(self.engine.logs(key)).decode()

    def until_logged(self, key: str, text: str) -> str:
        self.until(lambda: text in self.logged(key))
        return self.logged(key)

    def until(self, is_true: Callable[[], object]) -> None:
        give_up_at, tick = time.monotonic() + DEADLINE_S, threading.Event()
        while not is_true():
            assert time.monotonic() < give_up_at
            tick.wait(0.005)

    def record(self, key: str, name: str) -> dict[str, Any]:
        found = records.read(str(self.folder / key / name))
        assert found is not None
        return found

    def end_all(self) -> None:
        """Stop and forget everything, and see that nothing is left."""
        for key in list(self.engine.keys()):
            known = [self.record(key, name) for name in (records.SHIM, records.WORKER)]
            self.engine.stop(key, grace_s=0)
            self.ended(key)
            self.until(lambda known=known: not any(map(is_alive, known)))
            assert not marked(b"LEPTON_FOLDER=" + os.fsencode(self.folder / key / records.WORK))
            self.engine.forget(key)
        self.engine.close()
        for _, fd in self.gates.values():
            os.close(fd)
        assert set(os.listdir(self.folder)) <= {ROOT_FOLDER}
        assert not zombies()


def zombies() -> list[str]:
    """Dead children of this process that nobody has collected."""
    rows = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            rows.append((pid, Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()))
        except OSError:
            continue
    return [pid for pid, fields in rows if fields[0] == "Z" and int(fields[1]) == os.getpid()]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    bench = Local(tmp_path / "engine")
    yield bench
    bench.end_all()


@pytest.fixture
def local_with() -> type[Local]:
    """To open an engine with other settings; the test ends it."""
    return Local
