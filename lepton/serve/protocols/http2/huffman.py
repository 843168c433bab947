"""The Huffman code of HPACK (RFC 7541, appendix B). It is canonical, so the lengths of its codes say all. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBABCBA"
    "ABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRR"
    "UUTTVSVWVVWWWWWXWWWWWVZ"
)
"""Of the code of each byte, then of the end of a string: A is 5 bits."""
LONGEST = 30
END = 256


class Group(NamedTuple):
    """All codes of one length."""

    bits: int
    limit: int
    """A window of LONGEST bits that is below it begins with one of these codes, or a shorter one."""
    first: int
    symbols: list[int]


def groups() -> Iterator[Group]:
    """The codes by length, the shortest first."""
    code = 0
    for bits in range(1, LONGEST + 1):
        symbols = [symbol for symbol, letter in enumerate(LENGTHS) if ord(letter) - ord("A") + 5 == bits]
        if symbols:
            yield Group(bits, (code + len(symbols)) << (LONGEST - bits), code, symbols)
        code = (code + len(symbols)) << 1


GROUPS = list(groups())


def decode(data: bytes) -> bytes:
    """The string that `data` encodes.

    Raises:
        ValueError: it encodes none.
    """
    window, have, at = 0, 0, 0
    """Bits that are to be read next, how many, and where those after them are."""
    found = bytearray()
    while at < len(data) or have:
        while have < LONGEST and at < len(data):
            window = window << 8 | data[at]
            have += 8
            at += 1
        lack = LONGEST - have
        view = window >> -lack if lack < 0 else window << lack | (1 << lack) - 1  # as if ones followed, its padding
        bits, _, first, symbols = next(group for group in GROUPS if view < group.limit)
        if bits > have:
            if have > 7 or window != (1 << have) - 1:
                raise ValueError("a string ends within a code")
            break
        symbol = symbols[(view >> LONGEST - bits) - first]
        if symbol == END:
            raise ValueError("a string has an end within it")
        found.append(symbol)
        have -= bits
        window &= (1 << have) - 1
    return bytes(found)
