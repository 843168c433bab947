"""From what a frame holds to what a program is asked, and from its answer back. Pure."""

from collections.abc import Iterable, Iterator
from operator import itemgetter

from lepton.serve.calls import Call, Head
from lepton.serve.frames import FAILED, HEADED, LAST, Entry, Item, split_head, with_head
from lepton.serve.program import Reply
from lepton.serve.wishes import CONDITION, KIND, WISH

MOST_AT_ONCE = 64 << 20
"""Bytes of answers in one frame."""
BODY = itemgetter(1)


def call_of(entry: Entry) -> Call:
    """A request from its entry."""
    media, wants = entry.media & KIND, (entry.media & ~CONDITION) >> WISH
    if entry.flags & HEADED:
        head, body = split_head(entry.body)
        return Call(entry.id, body, media, Head.read(head), entry.deadline_ms / 1000, entry.operation, wants)
    return Call(entry.id, entry.body, media, None, entry.deadline_ms / 1000, entry.operation, wants)


def answer_of(id: int, reply: Reply) -> Item:
    """A whole answer."""
    if reply.headers:
        body = with_head(reply.headers, reply.body)
        return id, body, 0, reply.rows, 0, reply.status, reply.media, LAST | HEADED
    return id, reply.body, 0, reply.rows, 0, reply.status, reply.media, LAST


def is_large(items: Iterable[Item]) -> bool:
    """Whether these answers are too much for one frame."""
    return sum(map(len, map(BODY, items))) > MOST_AT_ONCE


def portions(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The answers for one frame after the other; one that is too large for any goes in parts, as a stream does."""
    held: list[Item] = []
    size = 0
    for item in (part for each in items for part in _parts(each)):
        if held and size + len(item[1]) > MOST_AT_ONCE:
            yield held
            held, size = [], 0
        held.append(item)
        size += len(item[1])
    if held:
        yield held


def _parts(item: Item) -> Iterator[Item]:
    """It, or parts of it: the first has its status, rows and head, the last says that it is the last."""
    first = Entry(*item)
    ends = range(MOST_AT_ONCE, len(first.body), MOST_AT_ONCE)
    if not ends:
        yield item
        return
    flags = first.flags & (LAST | FAILED)
    yield first._replace(body=first.body[:MOST_AT_ONCE], flags=first.flags & ~flags)
    for at in ends:
        is_last = at + MOST_AT_ONCE >= len(first.body)
        body = first.body[at : at + MOST_AT_ONCE]
        yield Entry(first.id, body, media=first.media, flags=flags if is_last else 0)
