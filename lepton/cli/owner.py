"""A server that belongs to one command: when that is gone, however it went, the server ends its jobs and itself.

The command holds one end of a pipe and the server the other, so that even kill -9 of the command is noticed, at once.
"""

import os
import shutil
from importlib import import_module
from pathlib import Path
from threading import Event

from lepton.core.errors import LeptonError
from lepton.sdk.client import Client, connect

OWNER = "LEPTON_OWNER"
"""Variable of a server that belongs to a command: the descriptor of its end of the pipe, and `fresh` if its data
directory goes with it."""
END_S = 20.0
GRACE_S = 2.0


class Owner:
    """The command's end of the pipe; it closes with the process.

    Args:
        is_fresh: whether the data directory is to be deleted in the end.
    """

    def __init__(self, *, is_fresh: bool) -> None:
        self.theirs, self.ours = os.pipe()
        self.told = f"{self.theirs}{' fresh' if is_fresh else ''}"
        """For the variable OWNER of the server, which must inherit `theirs`."""


class Owned:
    """The server's end.

    Args:
        told: what the variable OWNER holds.
    """

    def __init__(self, told: str) -> None:
        number, _, word = told.partition(" ")
        self.number = int(number)
        """Becomes readable when the command has gone."""
        self._is_fresh = word == "fresh"

    def stop(self, url: str, folder: Path) -> None:
        """End all jobs of the server at `url`, while it still answers."""
        try:
            stop_jobs(connect(url, token=(folder / "token").read_text().strip()))
        except (LeptonError, OSError):
            return  # the engine is asked afterwards

    def clear(self, folder: Path) -> None:
        """End what still runs when the server has ended, and delete what it was to leave nothing of."""
        end_workers(folder / "engine")
        if self._is_fresh:
            shutil.rmtree(folder, ignore_errors=True)


def stop_jobs(client: Client) -> None:
    """Ask over the API, so that the jobs of a data directory that stays are stopped in its books too."""
    endpoints = [endpoint for endpoint in client.serve.list(limit=1000) if endpoint.state != "deleted"]
    for endpoint in endpoints:
        endpoint.delete()
    jobs = [job for job in client.jobs.list(limit=1000) if not job.is_final]
    for job in jobs:
        if job.spec["stage"] != "serve":
            job.stop(grace_s=GRACE_S)
    for job in jobs:
        job.wait(timeout_s=END_S, check=False)
    for endpoint in endpoints:
        endpoint.wait("deleted", timeout_s=END_S)
    client.close()


def end_workers(folder: Path) -> None:
    """End what still runs in an engine's folder."""
    if not folder.is_dir():
        return
    engine = import_module("lepton.engine.base").open_engine("local", folder=folder)
    ended = Event()
    engine.on_change(lambda key: ended.set())
    for _ in range(int(END_S)):
        here: list[str] = list(engine.keys())
        running = [key for key in here if engine.look(key).status == "running"]
        if not running:
            break
        ended.clear()
        for key in running:
            engine.stop(key, grace_s=GRACE_S)
        ended.wait(1.0)
    engine.close()
    import_module("lepton.engine.local.gangs").clear_gangs(folder)
