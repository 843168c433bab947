"""Our own receiving door, as `lepton vault door` starts it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lepton.vault.drivers.credentials import Credentials
from tests.backends.process import Storage, accepts, running, scratch
from tests.ports import free_port

WRITER = "platform"


@contextmanager
def door() -> Iterator[Storage]:
    """A fresh one for one writer; `folder` is its folder."""
    with scratch("door") as folder, serving(folder / "disk", free_port()) as storage:
        yield storage


@contextmanager
def serving(folder: Path, port: int, *options: str, scheme: str = "door") -> Iterator[Storage]:
    """A door of this folder. Its log lies beside it."""
    with started(folder, port, *options):
        token = (folder / ".door" / f"{WRITER}.token").read_text().strip()
        yield Storage(
            url=f"{scheme}://127.0.0.1:{port}/some/prefix",
            credentials=Credentials(token=token),
            port=port,
            folder=folder,
        )


@contextmanager
def started(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Its process, answering."""
    words = ["vault", "door", "--dir", str(folder), "--port", str(port), "--free", "1M", *options]
    command = [sys.executable, "-P", "-m", "lepton.cli.main", *words]
    with running(command, folder.parent, lambda: accepts(port)) as process:
        yield process


def for_writer(storage: Storage, name: str) -> Storage:
    """The same door, for another writer."""
    token = (storage.folder / ".door" / f"{name}.token").read_text().strip()
    return replace(storage, credentials=replace(storage.credentials, token=token))
