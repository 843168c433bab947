"""The certificate and key that a front speaks TLS with. A renewed pair is taken from its files without a restart."""

import os
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lepton.core.errors import ConfigError
from lepton.serve.spec import EndpointSpec

LOOK_S = 2.0
MISMATCHES = ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL calls a key of the same kind, and one of another kind."""
OTHERS = "the key is another certificate's"
Times = tuple[datetime, datetime]
"""From when until when a certificate is valid."""
Stamp = tuple[tuple[int, int, int], ...]


class Identity:
    """A pair in two files, as it was when it was last in order.

    Args:
        cert: path of the certificate chain in PEM.
        key: path of its key.
        clock: the time that certificates are valid by.

    Raises:
        ConfigError: it cannot be used.
    """

    def __init__(self, cert: str, key: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._files = cert, key
        self._clock = clock
        self._stamp = stamp(self._files)
        self._look_at = 0.0
        self._newest = self.context = make_context(*self._files)
        self._times = self._see()
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
            newest, times = make_context(*self._files), self._see()
        except ConfigError as fault:
            sys.stderr.write(f"serve: the certificate of before is kept: {fault}\n")
            return
        if not self._is_valid(times) and self._is_valid(self._times):
            sys.stderr.write("serve: the certificate of before is kept\n")
            return
        self._newest, self._times = newest, times
        sys.stderr.write(f"serve: the certificate {self._files[0]} has changed and is in use\n")

    def _is_valid(self, times: Times) -> bool:
        return times[0] <= self._clock() <= times[1]

    def _see(self) -> Times:
        """When the certificate is valid. Is that not now, it is told: clients will not take it."""
        first, last = times = times_of(self._files[0])
        if not self._is_valid(times):
            words = f"is valid from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, which is not now"
            sys.stderr.write(f"serve: the certificate {self._files[0]} {words}\n")
        return times

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
        why = OTHERS if getattr(fault, "reason", "") in MISMATCHES else fault
        raise ConfigError(
            f"The certificate {cert} or its key cannot be used: {why}",
            fix="Give a chain and its key in PEM, without a password, readable where the front runs.",
        ) from fault
    return context


def times_of(cert: str) -> Times:
    """Of the first certificate of a chain.

    Raises:
        ConfigError: it cannot be read.
    """
    from cryptography import x509  # noqa: PLC0415  takes a while, and most fronts speak no TLS

    try:
        found = x509.load_pem_x509_certificate(Path(cert).read_bytes())
    except (OSError, ValueError) as fault:
        raise ConfigError(f"The certificate {cert} cannot be read: {fault}", fix="Give a chain in PEM.") from fault
    return found.not_valid_before_utc, found.not_valid_after_utc


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
