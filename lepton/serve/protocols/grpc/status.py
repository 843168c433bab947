"""Answers of an endpoint as gRPC tells them: a status, its detail, and what else goes into the trailer. Pure."""

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from lepton.serve.protocols.http2.hpack import write_field


class Status(IntEnum):
    """The statuses of gRPC that are used here."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


STATUSES: Mapping[int, Status] = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    405: Status.UNIMPLEMENTED,
    408: Status.DEADLINE_EXCEEDED,
    411: Status.INVALID_ARGUMENT,
    413: Status.RESOURCE_EXHAUSTED,
    415: Status.INVALID_ARGUMENT,
    422: Status.INVALID_ARGUMENT,
    429: Status.RESOURCE_EXHAUSTED,
    499: Status.CANCELLED,
    501: Status.UNIMPLEMENTED,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
}
"""HTTP status -> gRPC's; further ones from 400 on FAILED_PRECONDITION, from 500 on INTERNAL."""
MAX_DETAIL = 2000
"""Characters: clients take 8 kB for a whole trailer."""
GOOD = write_field(b"grpc-status", b"0")


class Answer(NamedTuple):
    """What an exchange was answered with."""

    status: int
    body: bytes
    headers: bytes = b""

    @property
    def is_good(self) -> bool:
        """Whether the body is the method's message."""
        return self.status < 300


def status_of(answer: Answer) -> Status:
    """The status of gRPC."""
    usual = Status.INTERNAL if answer.status >= 500 else Status.FAILED_PRECONDITION
    return STATUSES.get(answer.status, usual)


def told(answer: Answer) -> tuple[str, str]:
    """What an error says: what happened and what to do, and its stable code."""
    try:
        plain = json.loads(answer.body)
        text = f"{plain['message']}. {plain['fix']}" if plain.get("fix") else str(plain["message"])
        code = str(plain.get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        text, code = f"Status {answer.status}", ""
    return text[:MAX_DETAIL], code


def trailer(answer: Answer, request_id: bytes) -> bytes:
    """The header block after an answer: its status and the request's name; of an error what it says, and its code."""
    named = write_field(b"x-request-id", request_id)
    if answer.is_good:
        return GOOD + named
    text, code = told(answer)
    found = [write_field(b"grpc-status", b"%d" % status_of(answer)), write_field(b"grpc-message", escaped(text)), named]
    if code and code.isascii() and code.isprintable():
        found.append(write_field(b"lepton-code", code.encode()))
    for line in answer.headers.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"retry-after":
            found.append(write_field(name, value))
    return b"".join(found)


def escaped(text: str) -> bytes:
    """Text as `grpc-message` has it."""
    return b"".join(b"%c" % byte if 32 <= byte < 127 and byte != 37 else b"%%%02X" % byte for byte in text.encode())


def stream_part(answer: Answer) -> bytes:
    """The `ModelStreamInferResponse` round an answer: its message is field 2, an error's text field 1."""
    body = answer.body if answer.is_good else told(answer)[0].encode()
    return (b"\x12" if answer.is_good else b"\x0a") + varint(len(body)) + body


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
