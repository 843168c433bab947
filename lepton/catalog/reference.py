"""How people point at a version: `mnist` (the latest), `mnist@3`, or an id. Pure."""

from dataclasses import dataclass

from lepton.core.errors import InvalidError
from lepton.core.ids import check_name, is_id


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference: an id, or a name with a number (0: the latest)."""

    id: str = ""
    name: str = ""
    number: int = 0


def parse(text: str) -> Reference:
    """Read a reference.

    Raises:
        InvalidError: it is neither an id nor `name` nor `name@number`.
    """
    if is_id(text):
        return Reference(id=text)
    name, at, number = text.partition("@")
    if at and not (number.isascii() and number.isdigit() and 0 < int(number) < 2**31):
        raise InvalidError(f"{text[:80]!r} does not name a version", fix="Write name, name@3, or an id.")
    return Reference(name=check_name(name), number=int(number) if at else 0)
