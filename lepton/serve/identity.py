"""The certificate and key that a front speaks TLS with. A renewed pair is taken from its files without a restart."""

import os
import ssl
import sys
from contextlib import suppress

from lepton.core.errors import ConfigError
from lepton.serve.spec import EndpointSpec

LOOK_S = 2.0
Stamp = tuple[tuple[int, int, int], ...]


class Identity:
    """A pair in two files, as it was when it was last in order.

    Args:
        cert: path of the certificate chain in PEM.
        key: path of its key.

    Raises:
        ConfigError: it cannot be used.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = cert, key
        self._stamp = stamp(self._files)
        self._look_at = 0.0
        self._newest = self.context = make_context(*self._files)
        """The first has the present pair. The second is what the socket knows: it hands over to the first."""
        self.context.sni_callback = self._hand_over

    def look(self, now: float) -> None:
        """Take a changed pair for connections that are made from now on; one that cannot be used is told, and not
        taken."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        found = stamp(self._files)
        if found == self._stamp:
            return
        self._stamp = found
        try:
            self._newest = make_context(*self._files)
        except ConfigError as fault:
            sys.stderr.write(f"serve: the certificate of before is kept: {fault}\n")
        else:
            sys.stderr.write(f"serve: the certificate {self._files[0]} has changed and is in use\n")

    def _hand_over(self, line: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        line.context = self._newest


def open_identity(spec: EndpointSpec) -> Identity | None:
    """How the front speaks TLS; None: it does not.

    Raises:
        ConfigError: the certificate or key cannot be used.
    """
    return Identity(spec.tls_cert, spec.tls_key) if spec.tls_cert else None


def make_context(cert: str, key: str) -> ssl.SSLContext:
    """What clients find.

    Raises:
        ConfigError: the certificate or key cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1", "h2"])  # the first that a client knows, too: gRPC's know h2 only
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as fault:
        raise ConfigError(
            f"The certificate {cert} or its key cannot be used: {fault}",
            fix="Give a chain and its key in PEM, without a password, readable where the front runs.",
        ) from fault
    return context


def _no_password() -> str:
    """Else OpenSSL would ask for one at the terminal, and wait."""
    raise ValueError("the key has a password")


def stamp(files: tuple[str, str]) -> Stamp:
    """What the files look like now: it changes when they do."""
    found = []
    for file in files:
        with suppress(OSError):
            state = os.stat(file)
            found.append((state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(found)
