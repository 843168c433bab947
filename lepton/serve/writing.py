"""What handlers return and yield, as bytes: JSON, pieces of a stream, server-sent events. Pure.

NaN and infinities, for which JSON has no word, become null, as in JavaScript; whole numbers keep all their digits.
"""

import re
from dataclasses import fields, is_dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic_core import to_json

BREAK = re.compile("\r\n|\r|\n")
"""What ends a line of server-sent events."""
DUMP = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def dumps(value: Any) -> bytes:
    """A value as JSON.

    Raises:
        TypeError: JSON has no word for it.
    """
    try:
        return orjson.dumps(value, plain, DUMP)
    except TypeError as fault:
        if "64-bit" not in str(fault):
            raise
    try:
        return to_json(value, by_alias=False, inf_nan_mode="null", bytes_mode="base64", fallback=plain)
    except ValueError as fault:  # pydantic's own errors are such
        raise TypeError(str(fault)) from None


def plain(value: Any) -> Any:
    """What JSON has no word for, in its words.

    Raises:
        TypeError: it has none.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, Decimal | PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    for name in ("tolist", "to_json", "isoformat"):
        if hasattr(value, name):
            return getattr(value, name)()
    raise TypeError(f"it holds a {type(value).__name__}")


def chunk(value: Any) -> bytes:
    """One piece of a plain stream: bytes and text as they are, anything else as a line of JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    return dumps(value) + b"\n"


def sse(value: Any) -> bytes:
    """One value as a server-sent event: text line by line, anything else as JSON; bytes are events as they are."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        if "\n" not in value and "\r" not in value:
            return b"data: %b\n\n" % value.encode()
        return b"".join(b"data: %b\n" % line.encode() for line in BREAK.split(value)) + b"\n"
    return b"data: %b\n\n" % dumps(value)


def event(value: Any) -> bytes:
    """One piece of a stream whose maker says that it is of server-sent events: text and bytes are such already."""
    return chunk(value) if isinstance(value, str | bytes | bytearray | memoryview) else sse(value)
