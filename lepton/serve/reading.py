"""The way from a client: how much of what it sends is read, and when; whoever is too slow or silent is let go."""

import asyncio
import socket
from time import monotonic

from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.serve.exchange import Exchange, Lobby
from lepton.serve.message import Message
from lepton.serve.outlet import Outlet
from lepton.serve.room import SMALL_BYTES

PART_BYTES = 16 << 10
"""The parser is given no more at a time, so that what it does not tell of cannot grow unseen."""
TURN_CHUNKS = 4096
"""Of a body that are read at a time before other clients have a turn: each costs as much as kilobytes of one."""
STEP_BYTES = 64 << 10
"""By which the place of a body grows whose length is not told."""
PATIENCE_S = 2.0
"""Before a body can be called slow."""
ECHO_S = 0.01
"""After which a client nearby that has hung up has said so; others are looked at again as long as they are here."""


class Reading(Outlet):
    """What a connection reads."""

    def __init__(self, lobby: Lobby) -> None:
        super().__init__(lobby.limits)
        self.room = lobby.room
        self._lobby = lobby
        self._message = Message()
        self._refusal: Refusal | None = None
        """Of the current exchange, to be given once its body is swallowed."""
        self._has_ended = False
        """The client sends nothing more, and what has come is answered."""
        self._chunks = 0
        """Of all its bodies; and how often the parser was given something."""

    def _parse(self, data: bytes | memoryview) -> None:
        raise NotImplementedError

    def _refuse_and_close(self, refusal: Refusal) -> None:
        raise NotImplementedError

    def eof_received(self) -> bool:
        """The client sends nothing more. Perhaps it still reads: what has come whole is answered then.

        One that has hung up says just the same. The two differ in what they do with bytes that are written, so it is
        told to go on, which a client that has not asked for that passes over (RFC 9110, 15.2.1): who has hung up resets
        the connection.
        """
        if self._tunnel is not None:
            self._tunnel.desk.pass_on(self._tunnel, b"", is_last=True)
            return True
        if self._has_ended:
            return True
        transport, first = self._transport, self._open[0] if self._open else None
        if transport is None or first is None or self._phase != "idle" or self._ebb is not None:
            return False
        if first.is_old or first.has_begun or transport.get_extra_info("sslcontext") is not None:
            return False
        self._has_ended = self._is_deaf = True
        self._open[-1].keep_alive = False
        transport.write(answers.CONTINUE)
        asyncio.get_running_loop().call_later(ECHO_S, self._look_for_reset)
        return True

    def _look_for_reset(self) -> None:
        """Of a client that sends nothing more: whether it reads nothing either. Nobody tells, as nothing is read."""
        transport = self._transport
        line = transport.get_extra_info("socket") if transport is not None and self._has_ended else None
        if transport is not None and line is not None and line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            transport.abort()

    def _read_parts(self, data: bytes) -> None:
        """In parts, each of which may be judged; only what is surely of a body is none."""
        rest, end = memoryview(data), self._chunks + TURN_CHUNKS
        while rest and self._chunks < end and self._waiter is None and not self._later:
            size = max(PART_BYTES, self._message.rest_bytes if self._phase == "body" else 0)
            self._parse(rest[:size])
            rest = rest[size:]
        if rest and self._transport is not None:
            self._later += bytes(rest)
            self._transport.pause_reading()
            if self._waiter is None and not self._is_paused:
                asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """It has its next turn."""
        data, self._later = self._later, b""
        if self._transport is None or self._transport.is_closing():
            return
        self._read_parts(data)
        if not self._later and not self._is_paused and self._transport is not None:
            self._transport.resume_reading()

    # room for bodies

    def _find_room(self, exchange: Exchange) -> None:
        """Have a place for a body before it is read, or wait for one."""
        size = self._message.length or 0
        if size <= SMALL_BYTES:
            return
        if self.room.has(size) and not self.room.is_wanted:
            exchange.keep(size)
            return
        self._waiter = self.room.wait(size, self._have_room)
        if self._waiter is None:
            self._refuse_and_close(answers.NO_ROOM)
        else:
            self._since = monotonic()
            self._balance()

    def _have_room(self) -> None:
        """There is a place now."""
        assert self._waiter is not None and self._current is not None
        self._current.kept_bytes = self._waiter.size
        self._waiter = None
        self._since = monotonic()
        if self._wants_continue:
            self._continue_if_due()
        self._balance()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _grow(self, exchange: Exchange) -> None:
        """More has come of a body than it has a place for: its length was not told."""
        wanted = self._message.body_bytes + STEP_BYTES
        if self.room.has(wanted - exchange.kept_bytes):
            exchange.keep(wanted)
        else:
            self._refuse_and_close(answers.NO_ROOM)

    def _stop_waiting(self) -> None:
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            self.room.leave(waiter)

    # by the clock

    def check(self, now: float) -> None:
        """Let go of a client that is too slow or has long been silent."""
        limits = self._limits
        waited_s = now - self._since
        if self._waiter is not None:
            if waited_s > limits.room_s:
                self._refuse_and_close(answers.NO_ROOM)
        elif self._ebb is not None:
            if self._ebb.silent_s(now) > limits.idle_s:
                self.abort()
        elif self._is_deaf or self._is_paused:
            self._look_for_reset()
        elif self._phase != "idle":
            body_s = limits.body_s if self._refusal is None else limits.linger_s
            if waited_s > (limits.head_s if self._phase == "head" else body_s) or self._is_hogging(waited_s):
                self._refuse_and_close(self._refusal or answers.SLOW)
        elif self._open:
            self._since = now  # it is idle from its last answer on
        elif waited_s > (limits.leave_s if self._lobby.is_draining else limits.idle_s):
            self.hang_up_idle()

    def _is_hogging(self, waited_s: float) -> bool:
        """Whether it has a place that others wait for, and comes slowly."""
        has_place = self._current is not None and self._current.kept_bytes > 0
        is_slow = self._message.body_bytes < waited_s * self._limits.slow_bytes
        return has_place and self.room.is_wanted and waited_s > PATIENCE_S and is_slow

    def forget(self) -> None:
        """It is no client any more."""
        self._lobby.connections.discard(self)
