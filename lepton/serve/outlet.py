"""The way back to a client: answers go out in the order in which they were asked for, as fast as it reads."""

import asyncio
from collections import deque
from time import monotonic

from lepton.serve import answers
from lepton.serve.exchange import HIGH_BYTES, Exchange, Limits
from lepton.serve.parting import Ebb, Parting
from lepton.serve.room import SMALL_BYTES, Waiter

AHEAD_BYTES = 256 << 10
"""That the client of an upgraded connection may be ahead of its worker."""


class Outlet(asyncio.Protocol):
    """What a connection writes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._open: deque[Exchange] = deque()
        self._current: Exchange | None = None
        """The exchange whose body is arriving."""
        self._phase = "idle"
        """Of what is being read: `head` or `body`, or that there is nothing."""
        self._since = monotonic()
        self._is_deaf = False
        """Nothing more is read."""
        self._is_cut = False
        """A request was refused before all of it had come."""
        self._is_paused = False
        self._later = b""
        """What has come and is read in the next turn of the loop, or once there is room for it."""
        self._ebb: Ebb | None = None
        """While the client does not read its answers fast enough."""
        self._wants_continue = False
        self._waiter: Waiter | None = None
        """While there is no room for the body that is to come."""
        self._tunnel: Exchange | None = None
        """The exchange that has taken over the connection."""

    def pause_writing(self) -> None:
        """The client does not read its answers: read nothing more from it."""
        if self._transport is not None:
            self._ebb = Ebb(self._transport, monotonic())
        self._balance()

    def resume_writing(self) -> None:
        """It reads again."""
        self._ebb = None
        self.flush()
        self._balance()

    def write_now(self, exchange: Exchange, answer: bytes) -> bool:
        """Write a whole answer at once if nothing is before it; False: it must wait its turn."""
        is_held = self._ebb is not None or self._is_paused or self._wants_continue
        if self._transport is None or is_held or len(self._open) != 1 or self._open[0] is not exchange:
            return False
        self._open.clear()
        self._transport.write(answer)
        return True

    def write_part(self, exchange: Exchange, part: bytes) -> bool:
        """Write a part of an answer at once if nothing is before it; False: it must wait its turn."""
        if self._transport is None or self._ebb is not None or self._open[0] is not exchange or exchange.out:
            return False
        self._transport.write(part)
        return True

    def flush(self) -> None:
        """Write what is due of the answers, in the order of the requests, as long as the client reads."""
        ready: list[bytes] = []
        closes = False
        while self._open and not closes and self._ebb is None:
            exchange = self._open[0]
            ready += exchange.out
            if not exchange.is_complete:
                exchange.out.clear()
                exchange.out_bytes = 0
                break
            self._open.popleft()
            closes = not exchange.keep_alive
        if self._open:
            self._weigh_streams()
        if self._transport is None:
            return
        if ready:
            self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if closes:
            self._hang_up()
            return
        if self._wants_continue:
            self._continue_if_due()
        if self._is_paused:
            self._balance()

    def _weigh_streams(self) -> None:
        """Let the workers of streams pause whose client does not read, and go on once it does."""
        for exchange in self._open:
            if exchange.has_begun and exchange.is_paused != (exchange.out_bytes > HIGH_BYTES):
                exchange.is_paused = not exchange.is_paused
                exchange.desk.flow(exchange, is_paused=exchange.is_paused)

    def leave(self) -> None:
        """For a drain: let the client know with the next answer that it is the last.

        An answer whose head is written cannot say so any more: after it, as without any, the client is left a moment.
        """
        self._since = monotonic()
        if not self._open or self._phase == "head":
            return
        last = self._open[-1]
        if not (last.has_begun or last.is_complete):
            last.keep_alive = False
            self._is_deaf = self._is_deaf or self._phase == "idle"  # it is read: what follows is not

    def hang_up_idle(self) -> None:
        """Nothing was asked for long: hang up. Nobody needs to wait until the client has, too."""
        self._hang_up()
        self.forget()

    def forget(self) -> None:
        """It is no client any more."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Read what has come already."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _continue_if_due(self) -> None:
        """Tell a client that waits for it to send its body, once all answers before it are written."""
        is_due = self._waiter is None and bool(self._open) and self._open[0] is self._current
        if self._transport is not None and is_due:
            self._wants_continue = False
            self._transport.write(answers.CONTINUE)

    def _hang_up(self) -> None:
        """Say that nothing more comes, and close once the client has read all."""
        self._is_deaf = True
        if self._transport is not None:
            Parting(self._transport, self._limits, is_cut=self._is_cut)

    def _balance(self) -> None:
        """Read only while the client reads its answers, has not too many open, and there is room.

        One that had too many has half of them answered first: what it has sent is not looked at after each.
        """
        most = self._limits.max_pipelined
        must_pause = self._ebb is not None or len(self._open) > (most // 2 if self._is_paused else most - 1)
        must_pause = must_pause or self._waiter is not None or (self._tunnel is not None and is_ahead(self._tunnel))
        if must_pause == self._is_paused or self._transport is None or self._transport.is_closing():
            return
        self._is_paused = must_pause
        if must_pause:
            self._transport.pause_reading()
        else:
            self._since = monotonic()
            if self._later:
                asyncio.get_running_loop().call_soon(self._go_on)
            else:
                self._transport.resume_reading()


def is_ahead(tunnel: Exchange) -> bool:
    """Whether the client of an upgraded connection has sent enough that nobody has read yet."""
    most = SMALL_BYTES if tunnel.connection.room.is_full else AHEAD_BYTES
    return tunnel.ahead_bytes > most and not tunnel.is_done
