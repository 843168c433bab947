"""Answers of an endpoint as gRPC tells them: a status, its detail, and what goes into the trailer."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import grpc

CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    411: grpc.StatusCode.INVALID_ARGUMENT,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP status -> gRPC's; further ones from 400 on FAILED_PRECONDITION, from 500 on INTERNAL."""
MAX_DETAIL = 2000
"""Characters: a trailer has 8 kB for all."""


class Answer(NamedTuple):
    """What an exchange was answered with."""

    status: int
    body: bytes
    headers: bytes

    @property
    def is_good(self) -> bool:
        """Whether the body is the method's message."""
        return self.status < 300


def code_of(answer: Answer) -> grpc.StatusCode:
    """The status of gRPC."""
    usual = grpc.StatusCode.INTERNAL if answer.status >= 500 else grpc.StatusCode.FAILED_PRECONDITION
    return CODES.get(answer.status, usual)


def told(answer: Answer) -> tuple[str, str]:
    """What an error says: what happened and what to do, and its stable code."""
    try:
        plain = json.loads(answer.body)
        text = f"{plain['message']}. {plain['fix']}" if plain.get("fix") else str(plain["message"])
        code = str(plain.get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        text, code = f"Status {answer.status}", ""
    return text[:MAX_DETAIL], code


def trailer(answer: Answer, request_id: bytes) -> tuple[tuple[str, str], ...]:
    """What follows an answer: the request's name; of an error its code, and when to come again."""
    named = (("x-request-id", request_id.decode("latin-1")),)
    if answer.is_good:
        return named
    lines = [line.partition(": ") for line in answer.headers.decode("latin-1").split("\r\n")]
    again = [("retry-after", value) for name, _, value in lines if name == "retry-after"]
    code = told(answer)[1]
    return (*named, *([("lepton-code", code)] if code.isascii() and code.isprintable() and code else ()), *again)


def stream_part(answer: Answer) -> bytes:
    """The `ModelStreamInferResponse` round an answer: its message is field 2, an error's text field 1."""
    if answer.is_good:
        return b"\x12" + varint(len(answer.body)) + answer.body
    text = told(answer)[0].encode()
    return b"\x0a" + varint(len(text)) + text


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
