"""`lepton up`: build the platform, listen, and run until told to stop."""

import asyncio
import json
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from lepton.api.app import make_app
from lepton.core.errors import ConfigError, InvalidError, UnavailableError
from lepton.server.build import Platform, build
from lepton.server.config import ServerConfig
from lepton.server.folder import write_private

BACKLOG = 2048
DRAIN_S = 3
OPEN_FILES = 65_536


def serve(config: ServerConfig, *, is_quiet: bool = False) -> None:
    """Run a server in the foreground; returns after SIGTERM or SIGINT. Jobs go on running.

    Raises:
        ConfigError, DatabaseError, UnavailableError, StorageFullError: it cannot start; the message says why.
    """
    allow_many_files()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(_serve(config, is_quiet))


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


async def _serve(config: ServerConfig, is_quiet: bool) -> None:
    platform = build(config)
    try:
        door = listen(config)
    except BaseException:
        await platform.close()
        raise
    url = address(config.host, door.getsockname()[1])
    platform.identity.url = url
    write_private(config.data / "url", url + "\n")
    write_private(config.data / "pid", f"{os.getpid()}\n")
    server = open_door(platform)
    if not is_quiet:
        _greet(platform, url, config.data)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises what it caught once more when it is done
    try:
        await server.serve(sockets=[door])
    finally:
        (config.data / "url").unlink(missing_ok=True)
        (config.data / "pid").unlink(missing_ok=True)


class DoorProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """What is not HTTP gets an error of the same form as everything else."""

    def send_400_response(self, msg: str) -> None:
        """Answer, and hang up."""
        body = json.dumps(InvalidError(msg, fix="Send HTTP/1.1.").to_json()).encode()
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class Door(uvicorn.Server):
    """Tells whoever started it, through the pipe LEPTON_READY_FD, once it answers; ends streams before it ends."""

    def __init__(self, config: uvicorn.Config, platform: Platform) -> None:
        super().__init__(config)
        self._platform = platform

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer."""
        await super().startup(sockets)
        ready = os.environ.pop("LEPTON_READY_FD", "")
        if self.started and ready:
            os.write(int(ready), b"1")
            os.close(int(ready))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to answer."""
        self._platform.hush()
        await super().shutdown(sockets)


def open_door(platform: Platform) -> Door:
    """The HTTP server of a platform; it serves on a socket that is given to it."""
    settings = uvicorn.Config(
        make_app(platform),
        http=DoorProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        ws="none",
    )
    return Door(settings, platform)


def listen(config: ServerConfig) -> socket.socket:
    """The listening socket.

    Raises:
        UnavailableError: the port is taken or forbidden.
    """
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((config.host, config.port))
        door.listen(BACKLOG)
    except socket.gaierror as fault:
        raise ConfigError(f"There is no host {config.host!r}", fix="Use an address of this machine.") from fault
    except OSError as fault:
        raise UnavailableError(
            f"Cannot listen on {config.host}:{config.port}: {fault.strerror}",
            fix="Choose another with --port N; 0 picks a free one.",
        ) from fault
    return door


def address(host: str, port: int) -> str:
    """The URL of a door."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greet(platform: Platform, url: str, data: Path) -> None:
    print(f"Lepton answers at {url}", flush=True)  # noqa: T201  the terminal is where this belongs
    if platform.first_token is not None:
        print(f"First token, kept in {data / 'token'}: {platform.first_token}", flush=True)  # noqa: T201
