"""The front's end of a worker's connection: frames in and out over a Unix socket."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from lepton.core.resource import Json
from lepton.serve.frames import Frame, FrameError, Item, Kind, ReleaseError
from lepton.serve.mailbox import Claim, Mailbox
from lepton.serve.marks import PLACES, Shared, Words, open_words
from lepton.serve.shared import Wire


class Hub(Protocol):
    """Where workers are known."""

    def join(self, link: "WorkerLink", about: Mapping[str, Json]) -> None:
        """A worker has its model loaded."""
        ...

    def settle(self, link: "WorkerLink", answers: Frame) -> None:
        """A worker has answered something."""
        ...

    def count(self, grown: Mapping[str, Json]) -> None:
        """A worker's own counters have grown."""
        ...

    def retire(self, link: "WorkerLink") -> None:
        """A worker wants to end."""
        ...

    def take_back(self, link: "WorkerLink", items: Sequence[Item]) -> None:
        """A worker has not begun what it may not begin any more."""
        ...

    def heard(self, items: Sequence[Item]) -> None:
        """A worker tells how much its connections have read."""
        ...

    def leave(self, link: "WorkerLink") -> None:
        """A worker is gone."""
        ...


class WorkerLink(asyncio.Protocol):
    """One worker's connection. `number` names it for ever.

    Args:
        claim: finds the mailbox that a worker has named.
    """

    def __init__(self, hub: Hub, number: int, claim: Claim = lambda _: None) -> None:
        self.number = number
        self.slot = 0
        self.is_joined = False
        self.is_ill = False
        """It ends of itself."""
        self.marks: Words | None = None
        """What the worker has begun."""
        self.void: Words | None = None
        """To take requests back; None: the worker does not look."""
        self._offered: Words | None = None
        self._hub = hub
        self._claim = claim
        self._transport: asyncio.Transport | None = None
        self._wire = Wire(self._write)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A worker has connected; it says hello once its model is loaded."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, fault: Exception | None) -> None:
        """The worker has died or closed its end."""
        self._transport = None
        self._wire.close()
        if self.is_joined:
            self.is_joined = False
            self._hub.leave(self)

    def data_received(self, data: bytes) -> None:
        """Some bytes of frames."""
        try:
            for frame in self._wire.feed(data):
                self._read(frame)
        except ReleaseError as fault:
            sys.stderr.write(f"serve: worker link {self.number} refused: {fault}\n")
            self.send(Frame(Kind.VOID, []))  # of which it reads the version
            self.finish()
        except FrameError as fault:
            sys.stderr.write(f"serve: worker link {self.number} dropped: {fault}\n")
            self.close()

    def send(self, frame: Frame) -> None:
        """Send a batch; a link that is closing loses it, and `leave` follows."""
        if self._transport is not None:
            self._wire.send(frame)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Drop the worker now."""
        if self._transport is not None:
            self._transport.abort()

    def move(self, hub: Hub) -> None:
        """From now on the worker is known there."""
        self._hub = hub

    def finish(self) -> None:
        """Let the worker go; what is on its way to it still arrives."""
        if self._transport is not None:
            self._transport.close()

    def _read(self, frame: Frame) -> None:
        if frame.kind == Kind.ANSWERS and self.is_joined:
            self._hub.settle(self, frame)
        elif frame.kind == Kind.LEAVE and self.is_joined:
            self.is_ill = frame.slot > 0
            self._hub.retire(self)
        elif frame.kind == Kind.BACK and self.is_joined:
            self._hub.take_back(self, frame.items)
        elif frame.kind == Kind.FLOW and self.is_joined:
            self._hub.heard(frame.items)
        elif frame.kind == Kind.VOID and self.is_joined:
            self.void = self._offered
        elif frame.kind == Kind.METERS and self.is_joined and len(frame.items) == 1:
            self._hub.count(read_hello(frame.entries[0].body))
        elif frame.kind == Kind.HELLO and not self.is_joined and len(frame.items) == 1:
            self.slot = frame.slot
            self.is_joined = True
            about = read_hello(frame.entries[0].body)
            self._wire.mailbox = mailbox = self._claim(str(about.get("mailbox")))
            if mailbox is not None and about.get("marks"):
                self.marks = open_words(mailbox, PLACES)
                self._offer_void(mailbox)
            self._hub.join(self, about)
        else:
            raise FrameError(f"A {frame.kind.name} frame came out of turn")

    def _offer_void(self, mailbox: Mailbox) -> None:
        with suppress(OSError):  # else it goes without
            void = Shared(1)
            try:
                void.hand_over(mailbox)
                self._offered = void.words
            finally:
                void.close()
        if self._offered is not None:
            self.send(Frame(Kind.VOID, []))


def read_hello(body: bytes) -> Mapping[str, Json]:
    """What a worker says of its model.

    Raises:
        FrameError: it is no JSON object.
    """
    try:
        about = json.loads(body)
    except ValueError as fault:
        raise FrameError(f"A hello is no JSON: {fault}") from fault
    if not isinstance(about, dict):
        raise FrameError("A hello is no JSON object")
    return about
