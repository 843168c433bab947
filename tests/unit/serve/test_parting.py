"""When a connection is closed whose last answer is written: once its client has read it, or reads no more."""

import asyncio
from typing import Any

from lepton.serve.exchange import Limits
from lepton.serve.parting import Ebb, Parting


class Transport:
    """A client that takes, between two looks, what is told; the last number holds from then on."""

    def __init__(self, *left: int, is_tls: bool = False) -> None:
        self.left = list(left)
        self.is_tls = is_tls
        self.did: list[str] = []
        self.ended = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.left[0]

    def can_write_eof(self) -> bool:
        return not self.is_tls

    def write_eof(self) -> None:
        self.did.append("eof")

    def is_closing(self) -> bool:
        """Asked once before each look."""
        if len(self.left) > 1:
            del self.left[0]
        return self.ended.is_set()

    def close(self) -> None:
        self.did.append("closed")
        self.ended.set()

    def abort(self) -> None:
        self.did.append("aborted")
        self.ended.set()


def part(transport: Any, *, idle_s: float, linger_s: float = 0.0, is_cut: bool = False) -> list[str]:
    """What was done until it ended, or where `linger_s` is long, at once."""

    async def course() -> None:
        Parting(transport, Limits(linger_s=linger_s, idle_s=idle_s), is_cut=is_cut)
        if not linger_s:
            async with asyncio.timeout(30):
                await transport.ended.wait()

    asyncio.run(course())
    return list(transport.did)


def test_a_client_that_reads_slowly_is_waited_for() -> None:
    assert part(Transport(9, 8, 8, 7, 3, 1, 0), idle_s=30) == ["eof", "closed"]


def test_a_client_that_reads_no_more_is_dropped() -> None:
    assert part(Transport(9, 8, 8), idle_s=0) == ["eof", "aborted"]


def test_over_tls_the_end_is_told_at_once_unless_the_client_may_still_be_sending() -> None:
    assert part(Transport(0, is_tls=True), idle_s=30, linger_s=30) == ["closed"]
    assert part(Transport(0, is_tls=True), idle_s=30, linger_s=30, is_cut=True) == []
    assert part(Transport(5, 3, 0, is_tls=True), idle_s=30) == ["closed"]


def test_silence_is_counted_from_when_less_was_left_for_the_last_time() -> None:
    transport: Any = Transport(5)
    ebb = Ebb(transport, 100.0)
    assert ebb.silent_s(150.0) == 50
    transport.left = [4]
    assert ebb.silent_s(160.0) == 0
    assert ebb.silent_s(170.0) == 10
