"""From what a frame holds to what a program is asked, and from its answer back. Pure."""

from lepton.serve.calls import Call, Head
from lepton.serve.frames import HEADED, LAST, Entry, Item, split_head, with_head
from lepton.serve.program import Reply
from lepton.serve.wishes import CONDITION, KIND, WISH


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
