"""`lepton up`: build the platform, listen, and run until told to stop."""

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import uvicorn

from lepton.api.app import make_app
from lepton.cli.listening import address, listen_at, settings_of
from lepton.cli.owner import OWNER, Owned
from lepton.engine.shim.processes import identity
from lepton.sdk.find import notes
from lepton.server.build import Platform, build
from lepton.server.config import ServerConfig
from lepton.server.folder import write_private

DETACHED = "LEPTON_READY_FD"
"""Names the pipe that whoever started a detached server waits on; its output is a log, where no token belongs."""
OPEN_FILES = 65_536


def serve(config: ServerConfig, *, is_json: bool = False) -> None:
    """Run a server in the foreground; returns after SIGTERM or SIGINT. Jobs go on running.

    Args:
        is_json: say where it answers as JSON.

    Raises:
        ConfigError, DatabaseError, UnavailableError, StorageFullError: it cannot start; the message says why.
    """
    allow_many_files()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("lepton").setLevel(logging.INFO)  # libraries tell of every request
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(_serve(config, is_json))


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed (the extra `serve` has it): a third less CPU a request."""
    try:
        found: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return found


def allow_many_files() -> None:
    """A thousand watchers need more than the thousand open files that shells grant at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(config: ServerConfig, is_json: bool) -> None:
    platform = build(config)
    try:
        door = listen(config)
    except BaseException:
        await platform.close()
        raise
    url = address(config.host, door.getsockname()[1])
    platform.identity.url = url
    config.address_file.parent.mkdir(mode=0o700, exist_ok=True)
    for file in (config.address_file, config.data / "url"):
        write_private(file, url + "\n")
    write_private(config.data / "server.json", json.dumps(identity(os.getpid())) + "\n")
    if os.environ.get("LEPTON_NOTED") != "0":
        note_server(config.data)
    server = open_door(platform)
    owned = server.owned = Owned(told) if (told := os.environ.pop(OWNER, "")) else None
    _greet(platform, url, is_json)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises what it caught once more when it is done
    try:
        await server.serve(sockets=[door])
    finally:
        for file in (config.data / "url", config.data / "server.json", config.address_file):
            file.unlink(missing_ok=True)
    if owned is not None and server.is_orphan:
        owned.clear(config.data)


class Door(uvicorn.Server):
    """Tells whoever started it, through the pipe LEPTON_READY_FD, once it answers; ends streams before it ends."""

    def __init__(self, config: uvicorn.Config, platform: Platform) -> None:
        super().__init__(config)
        self._platform = platform
        self.owned: Owned | None = None
        """The command it belongs to, if it does."""
        self.is_orphan = False
        """Whether that has gone."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer."""
        await super().startup(sockets)
        ready = os.environ.pop(DETACHED, "")
        if self.started and ready:
            with contextlib.suppress(BrokenPipeError):  # who started it was killed meanwhile
                os.write(int(ready), b"1")
            os.close(int(ready))
        if self.started and self.owned is not None:
            asyncio.get_running_loop().add_reader(self.owned.number, self._end)

    def _end(self) -> None:
        """Its command has gone: stop all jobs, then end."""
        assert self.owned is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.owned.number)
        self.is_orphan = True
        identity, folder = self._platform.identity, self._platform.config.data
        stopped = loop.run_in_executor(None, self.owned.stop, identity.url, folder)
        stopped.add_done_callback(self._leave)

    def _leave(self, _: object) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to answer."""
        self._platform.hush()
        await super().shutdown(sockets)


def note_server(folder: Path) -> None:
    """Remember a server of this user, for clients that are told nothing; the newest comes first."""
    name = sha256(str(folder).encode()).hexdigest()[:16]
    with contextlib.suppress(OSError):
        notes().mkdir(mode=0o700, parents=True, exist_ok=True)
        (notes() / name).write_text(f"{folder}\n")


def open_door(platform: Platform) -> Door:
    """The HTTP server of a platform; it serves on a socket that is given to it."""
    settings = settings_of(make_app(platform))
    return Door(settings, platform)


def listen(config: ServerConfig) -> socket.socket:
    """The listening socket; raises as `listen_at`."""
    return listen_at(config.host, config.port)


def _greet(platform: Platform, url: str, is_json: bool) -> None:
    data, token = platform.config.data, platform.first_token
    if is_json:
        said = json.dumps({"url": url, "data": str(data), "first_token": token})
    elif token is None or DETACHED in os.environ:
        said = f"Lepton answers at {url}"
    else:
        said = f"Lepton answers at {url}\nFirst token, kept in {data / 'token'}: {token}"
    print(said, flush=True)  # noqa: T201  the terminal is where this belongs
