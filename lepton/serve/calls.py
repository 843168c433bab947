"""A request as a program sees it, and what a body that comes in one of the usual forms holds."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import orjson

from lepton.core.errors import InvalidError
from lepton.serve.frames import Media
from lepton.serve.service import Request

HOST = re.compile(r"\[?(?P<host>[^\[\]:]+|[0-9A-Fa-f:.]+(?=\]))\]?(?::(?P<port>[0-9]{1,5}))?")
"""A name or an address, that of IPv6 in brackets, and perhaps a port."""
DIGITS = bytes(100 if chr(code).isdecimal() else 32 for code in range(128)).ljust(256)
"""A digit becomes a `d`, whatever else a space."""
MANY_DIGITS = b"d" * 19
"""That of -2**63 - 1, of the whole numbers beyond 64 bits the shortest."""


@dataclass(slots=True)
class Call:
    """One request as a program sees it."""

    id: int
    body: bytes
    media: int
    head: "Head | None" = None
    seconds_left: float = 0.0
    operation: int = 0
    """What is asked, for a function that answers several operations."""
    wants: int = 0
    """What the answer shall be, a `Media`; 0: not said."""
    rows: Any = None
    """What is asked of a handler by tensors: a `protocols.inference.services.Rows`."""
    number: int = 0
    """Of the requests that came over its link, which it is: see `marks`."""


@dataclass(slots=True)
class Head:
    """A request's line and headers."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    client: tuple[str, int]
    version: str = "1.1"
    prefix: str = ""
    """What was left out in front of the path: that of the endpoint, at a front that many share."""
    scheme: str = "http"
    """Or `https`: what the client speaks with the front."""

    @classmethod
    def read(cls, text: bytes) -> Self:
        """From what the front wrote of it."""
        place, line, *rest = text.decode("latin-1").split("\r\n")
        method, target, version = line.split(" ", 2)
        path, _, query = target.partition("?")
        host, port, scheme, prefix = place.split(" ", 3)
        pairs = [(name.lower(), value) for name, _, value in (each.partition(": ") for each in rest if each)]
        return cls(method, path, query, pairs, (host, int(port)), version.removeprefix("HTTP/"), prefix, scheme)

    @property
    def is_upgrade(self) -> bool:
        """Whether the client asks to speak another protocol on this connection."""
        return any(name == "upgrade" for name, _ in self.headers)

    @property
    def server(self) -> tuple[str, int]:
        """Host and port that the client asked for."""
        asked = next((value for name, value in self.headers if name == "host"), "")
        found = HOST.fullmatch(asked)
        usual = 443 if self.scheme == "https" else 80
        return (found["host"], int(found["port"] or usual)) if found else (asked or "localhost", usual)

    def merged(self) -> dict[str, str]:
        """Header -> value; of one that came twice both, joined by commas."""
        found: dict[str, str] = {}
        for name, value in self.headers:
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found


def read_json(body: bytes) -> Any:
    """Any JSON.

    Raises:
        InvalidError: it is none.
    """
    try:
        return orjson.loads(body)
    except ValueError as fault:
        raise InvalidError(f"The body is no JSON: {fault}", fix="Send JSON in UTF-8.") from None


def read_exactly(body: bytes) -> Any:
    """Any JSON; whole numbers beyond 64 bits keep all their digits.

    Raises:
        InvalidError: it is none.
    """
    value = read_json(body)
    if MANY_DIGITS in body.translate(DIGITS):
        with suppress(RecursionError):  # deeper than the standard library goes
            return json.loads(body)
    return value


def read_other(call: Call) -> Any:
    """The value of a body that is neither JSON nor a form."""
    if call.media == Media.MSGPACK:
        return unpack(call.body)
    if call.media == Media.NPY:
        from lepton.serve import npy  # noqa: PLC0415  numpy, only where such a body comes

        return npy.read(call.body)
    if call.media == Media.TEXT:
        try:
            return call.body.decode()
        except UnicodeDecodeError as fault:
            raise InvalidError(f"The body is no UTF-8: {fault}", fix="Send UTF-8.") from None
    return call.body


def unpack(body: bytes) -> Any:
    """Any msgpack.

    Raises:
        InvalidError: it is none.
    """
    import msgpack  # noqa: PLC0415  only where such a body comes

    try:
        return msgpack.unpackb(body, strict_map_key=False)
    except Exception as fault:  # noqa: BLE001  msgpack raises several unrelated types
        why, fix = _what_of_msgpack(body, fault)
        raise InvalidError(f"The body is no msgpack: {why}", fix=fix) from None


def _what_of_msgpack(body: bytes, fault: Exception) -> tuple[str, str]:
    """What is wrong with such a body, of which msgpack itself says little; and what to do."""
    from msgpack import exceptions  # noqa: PLC0415  as above

    fix = "Send what msgpack.packb writes."
    match fault:
        case exceptions.ExtraData() if _is_json(body):
            return "it looks like JSON", "Send it as application/json, or what msgpack.packb writes."
        case exceptions.ExtraData():
            rest = len(fault.extra)
            return f"its value ends at byte {len(body) - rest}, and {rest} more follow{'s' * (rest == 1)}", fix
        case exceptions.FormatError():
            return "it holds the byte c1, which stands for nothing", fix
        case exceptions.StackError():
            return "it is nested too deeply", "Send less levels in one another."
        case UnicodeDecodeError():
            return "a text in it is no UTF-8", "Pack bytes as bytes (use_bin_type=True)."
        case TypeError():
            return "a key in it is a list or an object", "Use texts as keys."
    if not body:
        return "it is empty", fix
    if "incomplete input" in str(fault) or "exceeds max_" in str(fault):  # by the bytes that are there
        return f"it ends too early, after {len(body)} byte{'s' * (len(body) > 1)}", "Send all of it."
    return f"a time in it cannot be: {fault}", fix


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except ValueError:
        return False
    return True


def request_of(call: Call, path: Mapping[str, str]) -> Request:
    """The request as a handler sees it."""
    head = call.head or Head("POST", "/", "", [], ("", 0))
    return Request(
        method=head.method,
        path=head.path,
        query=head.query,
        headers=head.merged(),
        body=call.body,
        client=head.client,
        path_params=path,
        seconds_left=call.seconds_left,
    )
