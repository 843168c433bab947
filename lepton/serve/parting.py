"""How a connection ends: not before its client has read what was written, nor later than it goes on reading."""

import asyncio
from time import monotonic

from lepton.serve.exchange import Limits


class Ebb:
    """For how long a client has taken nothing of what was written for it."""

    def __init__(self, transport: asyncio.WriteTransport, now: float) -> None:
        self._transport = transport
        self._since = now
        self._left = transport.get_write_buffer_size()

    def silent_s(self, now: float) -> float:
        """Seconds; 0 if there is less left than at the last look."""
        left = self._transport.get_write_buffer_size()
        if left < self._left:
            self._since = now
        self._left = left
        return now - self._since

    @property
    def is_out(self) -> bool:
        """Whether nothing is left."""
        return not self._transport.get_write_buffer_size()


class Parting:
    """Ends one connection.

    Args:
        is_cut: the client may still be sending. To close at once would then destroy the answer on its way.
    """

    def __init__(self, transport: asyncio.Transport, limits: Limits, *, is_cut: bool) -> None:
        self._transport = transport
        self._limits = limits
        self._ebb = Ebb(transport, monotonic())
        can_tell = transport.can_write_eof()
        if can_tell:
            transport.write_eof()
        if can_tell or is_cut or not self._ebb.is_out:
            self._later()
        else:
            transport.close()  # over TLS this tells the client that it has read all

    def _later(self) -> None:
        asyncio.get_running_loop().call_later(self._limits.linger_s, self._look)

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        if self._ebb.silent_s(monotonic()) > self._limits.idle_s:
            self._transport.abort()
        elif self._ebb.is_out:
            self._transport.close()
        else:
            self._later()
