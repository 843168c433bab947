"""The socket at which clients reach a front, and its address."""

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress

from lepton.core.errors import ConfigError
from lepton.serve.spec import EndpointSpec

HANDSHAKE_S = 10.0
"""For the whole of it. Until then a client is nobody who could be counted or refused."""


async def listen(
    make: Callable[[], asyncio.Protocol], spec: EndpointSpec, tls: ssl.SSLContext | None
) -> tuple[asyncio.Server, str]:
    """The socket for clients, and the address to tell them.

    Args:
        tls: how it speaks TLS; None: it does not.
    Raises:
        ConfigError: the address cannot be had.
    """
    loop = asyncio.get_running_loop()
    wait_s = HANDSHAKE_S if tls is not None else None

    async def open_at(port: int) -> asyncio.Server:
        return await loop.create_server(make, spec.host, port, backlog=1024, ssl=tls, ssl_handshake_timeout=wait_s)

    clients = None
    if not spec.port and (last := last_port()):
        with suppress(OSError):  # somebody else has it now
            clients = await open_at(last)
    try:
        clients = clients or await open_at(spec.port)
    except OSError as fault:
        raise ConfigError(
            f"The endpoint cannot listen at {spec.host}:{spec.port}: {fault}",
            fix="Give another port, or 0 for any free one.",
        ) from fault
    return clients, ("https://" if tls else "") + reachable(*clients.sockets[0].getsockname()[:2])


def last_port() -> int:
    """The port that an earlier start of this front told its clients, from LEPTON_ADDRESS; 0 if there is none."""
    port = os.environ.get("LEPTON_ADDRESS", "").rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def reachable(host: str, port: int) -> str:
    """The address to tell others, for a socket that is bound to `host`."""
    if host in ("0.0.0.0", "::"):
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
