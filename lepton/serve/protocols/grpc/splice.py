"""A client's connection joined to one of the front's own: bytes pass both ways, no faster than either end reads."""

import asyncio
from collections.abc import Callable
from time import monotonic

from lepton.serve.exchange import Limits


class Near(asyncio.Protocol):
    """The client's end; a `Client` of the desk.

    Args:
        transport: to the client; nothing is read from it until the far end is there.
        caller: the client's address.
        early: what it has sent already.
        drain: asks the server to end all its connections once what is open on them is answered.
        on_lost: called when the client is gone.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        caller: bytes,
        early: bytes,
        limits: Limits,
        *,
        drain: Callable[[], None],
        on_lost: Callable[["Near"], None],
    ) -> None:
        self.caller = caller
        self.open_count = 0
        """Requests that are being answered."""
        self.since = monotonic()
        """When the last of them began or ended."""
        self._transport = transport
        self._early = early
        self._limits = limits
        self._drain = drain
        self._on_lost = on_lost
        self._far: asyncio.Transport | None = None
        self._is_lost = False
        transport.pause_reading()

    def join(self, far: asyncio.Transport) -> None:
        """The far end is there: let the bytes pass."""
        if self._is_lost:
            far.close()
            return
        self._far = far
        far.write(self._early)
        self._early = b""
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """From the client."""
        if self._far is not None:
            self._far.write(data)
        else:
            self._early += data

    def connection_lost(self, fault: Exception | None) -> None:
        """The client is gone."""
        self._is_lost = True
        if self._far is not None:
            self._far.close()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._far is not None and not self._far.is_closing():
            self._far.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._far is not None and not self._far.is_closing():
            self._far.resume_reading()

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._transport.write(data)

    def hold(self, *, is_held: bool) -> None:
        """Read nothing more from the client, or go on."""
        if self._is_lost or self._transport.is_closing():
            return
        if is_held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """Let go of the client once it has got what was sent."""
        self._transport.close()

    # what the desk asks

    def flush(self) -> None:
        """Answers are written elsewhere."""

    def close_if_idle(self) -> None:
        """For a drain."""
        self._drain()

    def abort(self) -> None:
        """Drop the connection now."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """Let go of a client that has asked nothing for long; or that has not sent its request whole by then."""
        limits = self._limits
        if not self.open_count and now - self.since > max(limits.idle_s, limits.body_s) + limits.head_s:
            self.abort()


class Far(asyncio.Protocol):
    """The server's end."""

    def __init__(self, near: Near) -> None:
        self._near = near

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server has taken it."""
        self._near.join(transport)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """From the server."""
        self._near.send(data)

    def connection_lost(self, fault: Exception | None) -> None:
        """The server has closed it."""
        self._near.close()

    def pause_writing(self) -> None:
        """The server does not read."""
        self._near.hold(is_held=True)

    def resume_writing(self) -> None:
        """It reads again."""
        self._near.hold(is_held=False)
