"""`lepton up`, `down` and `status`: the server of this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from select import poll as make_poll
from typing import Any

import click

from lepton.cli.kinds import PORT
from lepton.cli.output import Session, common, with_json
from lepton.cli.owner import OWNER, Owner
from lepton.core.errors import ConfigError, UnavailableError, UnreachableError
from lepton.core.launch import Isolation
from lepton.engine.shim.processes import is_alive
from lepton.sdk.find import default_data, noted

START_S = 30.0
STOP_S = 20.0
COUNTED = 1000
"""How many jobs of a state `status` counts: the longest list there is."""
NOTED = "LEPTON_NOTED"
"""Variable: 0 keeps a server from being noted as the one this user started last."""
data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=None, help="Data directory; also LEPTON_DATA."
)


@click.command()
@data_option
@click.option("--host", default=None, help="Address to listen on; also LEPTON_HOST. Default 127.0.0.1.")
@click.option("--port", type=PORT, default=None, help="Port; 0 picks a free one; also LEPTON_PORT. Default 8470.")
@click.option(
    "--database", default=None, help="postgresql://...; also LEPTON_DATABASE. Default: SQLite in the data directory."
)
@click.option(
    "--storage",
    default=None,
    help="Where the vault's content lies: a folder, s3://, ...; also LEPTON_STORAGE. Default: where it was last.",
)
@click.option("--engine", default=None, help="Where jobs run: local, or fleet (pretended); also LEPTON_ENGINE.")
@click.option(
    "--isolation",
    type=click.Choice([each.value for each in Isolation]),
    default=None,
    help="How every worker is held at least; also LEPTON_ISOLATION. Default own.",
)
@click.option("-d", "--detach", is_flag=True, help="Leave it running in the background.")
@with_json
def up(data: Path | None, detach: bool, is_json: bool, **flags: str | int | None) -> None:
    """Start the platform on this machine; it stays in the foreground unless -d is given.

    Its address is in DIR/url, the first token in DIR/token, its log with -d in DIR/server.log.
    """
    folder = (data or default_data()).absolute()
    if detach:
        start_detached(folder, {f"--{name}": value for name, value in flags.items()})
        url = (folder / "url").read_text().strip()
        token = folder / "token"  # of servers on one database the first alone makes it
        said = f"Lepton answers at {url}, data in {folder}" + (f", first token in {token}" if token.exists() else "")
        Session(is_json).say(said, {"url": url, "data": str(folder)})
        return
    config = import_module("lepton.server.config").ServerConfig.load(folder, environment=os.environ, flags=flags)
    os.environ["LEPTON_KERNEL"] = config.kernel  # read where the kernel is imported, which the next line does
    import_module("lepton.cli.up").serve(config, is_json=is_json)


def start_detached(folder: Path, flags: dict[str, Any], *, is_noted: bool = True, owner: Owner | None = None) -> int:
    """Start a server in a session of its own and wait until it answers; return its process id.

    Args:
        is_noted: whether clients that are told nothing shall find it.
        owner: the command it belongs to and ends with; None: it stays until it is stopped.
    Raises:
        ConfigError: the data directory cannot be made.
        UnavailableError: it did not start; the message holds the end of its log.
    """
    make_folder(folder)
    given = [text for name, value in flags.items() if value is not None for text in (name, str(value))]
    command = [sys.executable, "-P", "-m", "lepton.cli.main", "up", "--data", str(folder), *given]
    reading, writing = os.pipe()
    with (folder / "server.log").open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[writing, *([owner.theirs] if owner else [])],
            env={
                **os.environ,
                "LEPTON_READY_FD": str(writing),
                NOTED: str(int(is_noted)),
                OWNER: owner.told if owner else "",
            },
        )
    os.close(writing)
    is_ready = False
    try:
        is_ready = _wait_ready(reading, START_S)
    finally:
        os.close(reading)
        if not is_ready:  # also when somebody pressed Ctrl-C
            process.kill()
            process.wait()
    if not is_ready:
        raise not_started((folder / "server.log").read_bytes()[start:].decode(errors="replace"), folder)
    return process.pid


def not_started(said: str, folder: Path) -> UnavailableError:
    """The error of a server that did not start: what it said last itself, else the end of its log."""
    found = re.search(r"^error: (.*)\n  try: (.*)$", said, re.MULTILINE)
    if found:
        return UnavailableError(f"The server did not start: {found[1]}", fix=found[2])
    return UnavailableError(f"The server did not start: {said.strip()[-1500:]}", fix=f"See {folder / 'server.log'}.")


def read_server(folder: Path) -> dict[str, Any] | None:
    """The process that serves a data directory; None if it has ended, however that was (its file may be left)."""
    try:
        server = json.loads((folder / "server.json").read_text())
        return server if is_alive(server) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _wait_ready(reading: int, seconds: float) -> bool:
    """Whether the server wrote its ready byte before it closed the pipe or the time was over."""
    waiting = make_poll()
    waiting.register(reading)
    return bool(waiting.poll(seconds * 1000)) and os.read(reading, 1) == b"1"


def make_folder(folder: Path) -> None:
    """Make a data directory with room for the server's log.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "server.log").open("ab").close()
    except OSError as fault:
        raise ConfigError(
            f"The data directory {folder} cannot be written: {fault.strerror}", fix="Choose another with --data DIR."
        ) from fault


@click.command()
@data_option
@with_json
def down(data: Path | None, is_json: bool) -> None:
    """Stop the server; returns when it has ended. Jobs go on running, and the next `up` finds them again."""
    folder = _folder(data)
    if not stop_server(folder):
        raise UnreachableError(f"No server runs on {folder}", fix="Nothing to stop; `lepton status` looks round.")
    Session(is_json).say(f"The server on {folder} has ended; its jobs go on.", {"stopped": True, "data": str(folder)})


def _folder(data: Path | None) -> Path:
    if data is not None or os.environ.get("LEPTON_DATA"):
        return (data or default_data()).absolute()
    return next(iter(noted()), default_data())


def stop_server(folder: Path) -> bool:
    """Ask the server of a data directory to end and wait for it; whether there was one.

    Raises:
        UnavailableError: it does not end.
    """
    server = read_server(folder)
    if server is None:
        return False
    pid = server["pid"]
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(server):
            return False
        signal.pidfd_send_signal(watched, signal.SIGTERM)
        waiting = make_poll()
        waiting.register(watched)
        if not waiting.poll(STOP_S * 1000):
            raise UnavailableError(f"The server, process {pid}, does not end", fix=f"kill -9 {pid}; nothing is lost.")
    finally:
        os.close(watched)
    return True


@click.command()
@common
def status(session: Session) -> None:
    """Say whether the server answers, and what runs on it."""
    client = session.client
    who, nodes = client.security.whoami(), client.pool.nodes()
    counts = {state: len(client.jobs.list(state=state, limit=COUNTED)) for state in ("queued", "running")}
    endpoints = [endpoint for endpoint in client.serve.list() if endpoint.state not in ("deleted",)]
    raw = {
        "url": client.url,
        "version": who["version"],
        "user": who["name"],
        "nodes": [node["name"] for node in nodes if node["state"] == "up"],
        "jobs": counts,
        "counted_up_to": COUNTED,
        "endpoints": {endpoint.name: endpoint.state for endpoint in endpoints},
    }
    lines = [
        f"Lepton {who['version']} answers at {client.url}; you are {who['name']}",
        f"nodes up: {len(raw['nodes'])}; jobs queued: {_at_least(counts['queued'])}, "
        f"running: {_at_least(counts['running'])}",
        *(f"endpoint {endpoint.name}: {endpoint.state} {endpoint.url}" for endpoint in endpoints),
    ]
    session.say("\n".join(lines), raw)


def _at_least(count: int) -> str:
    """The count, or that there may be more."""
    return f"{count}+" if count >= COUNTED else str(count)
