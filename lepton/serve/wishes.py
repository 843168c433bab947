"""What the headers of a request wish of its answer, beside the kind of its body in one byte of a frame. Pure.

bits 0 to 3  the kind of the body, a `frames.Media`
bits 4 to 6  the kind that the answer shall have, 0: not said
bit 7        it asks for a part of a file, or only for what has changed: the worker must read its head
"""

from collections.abc import Iterable

from lepton.serve.frames import Media

KIND, WISH, CONDITION = 0x0F, 4, 0x80
CONDITIONS = frozenset((b"range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"))
KINDS = {
    b"application/json": Media.JSON,
    b"application/octet-stream": Media.OCTETS,
    b"application/x-npy": Media.NPY,
    b"application/msgpack": Media.MSGPACK,
    b"application/x-msgpack": Media.MSGPACK,
    b"application/vnd.msgpack": Media.MSGPACK,
}
"""What an answer can be asked to be."""


def told(media: int, lines: Iterable[tuple[bytes, bytes]]) -> int:
    """That byte, of a body of that kind and all headers of its request."""
    found, accepted = media, b""
    for name, value in lines:
        name = name.lower()
        if name == b"accept":
            accepted += b"," + value
        elif name in CONDITIONS:
            found |= CONDITION
    wish = accept(accepted) if accepted else 0
    is_usual = wish == Media.JSON and media not in (Media.NPY, Media.MSGPACK)  # it is JSON anyway
    return found if is_usual else found | wish << WISH


def accept(value: bytes) -> int:
    """The kind among ours that a client likes best, the first of several it likes as much; 0: none of them."""
    best, kind = 0.0, 0
    for one in value.split(b","):
        name, *parameters = [part.strip() for part in one.lower().split(b";")]
        liked = next((weight(each[2:]) for each in parameters if each.startswith(b"q=")), 1.0)
        if liked > best and name in KINDS:
            best, kind = liked, int(KINDS[name])
    return kind


def weight(text: bytes) -> float:
    """A quality value of HTTP; 0 if it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0
