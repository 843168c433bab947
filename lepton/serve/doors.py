"""The socket at which clients reach a front: its address, and its TLS."""

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress

from lepton.core.errors import ConfigError
from lepton.serve.spec import EndpointSpec


async def listen(make: Callable[[], asyncio.Protocol], spec: EndpointSpec) -> tuple[asyncio.Server, str]:
    """The socket for clients, and the address to tell them.

    Raises:
        ConfigError: the address cannot be had, or TLS not be spoken.
    """
    loop = asyncio.get_running_loop()
    tls = make_tls(spec)

    async def open_at(port: int) -> asyncio.Server:
        return await loop.create_server(make, spec.host, port, backlog=1024, ssl=tls)

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


def make_tls(spec: EndpointSpec) -> ssl.SSLContext | None:
    """How the front speaks TLS; None: it does not.

    Raises:
        ConfigError: the certificate or key cannot be used.
    """
    if not spec.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1", "h2"])  # the first that a client knows, too: gRPC's know h2 only
    try:
        context.load_cert_chain(spec.tls_cert, spec.tls_key)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigError(
            f"The certificate {spec.tls_cert} or its key cannot be used: {fault}",
            fix="Give a chain and its key in PEM, readable where the front runs.",
        ) from fault
    return context


def last_port() -> int:
    """The port that an earlier start of this front told its clients, from LEPTON_ADDRESS; 0 if there is none."""
    port = os.environ.get("LEPTON_ADDRESS", "").rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def reachable(host: str, port: int) -> str:
    """The address to tell others, for a socket that is bound to `host`."""
    if host in ("0.0.0.0", "::"):
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
