"""Errors of handlers as answers: what a caller may know, and what only the log gets."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import orjson

from lepton.core.errors import InvalidError, LeptonError
from lepton.serve.calls import Call
from lepton.serve.program import Reply

T = TypeVar("T")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Of a terminal, in messages of Keras."""


class HandlerError(LeptonError):
    """A handler raised something that it did not mean for its caller."""

    code, status = "handler", 500


class ModelFileError(InvalidError):
    """The files of a model are not what a replica can serve."""

    code = "model_file"


def reply_for(fault: BaseException, request: int = 0) -> Reply:
    """The answer to a request whose handler raised. What its caller is not meant to see goes to the log.

    Args:
        request: number of the request, by which the log can be searched; 0: not known.
    """
    if isinstance(fault, LeptonError):
        if isinstance(fault, HandlerError):
            note(fault, request)
        return refusal(fault)
    note(fault, request)
    return refusal(HandlerError(wording(fault, request), fix="The endpoint's log has the traceback."))


def wording(fault: BaseException, request: int = 0) -> str:
    """What a caller learns of a fault: on the platform only that there was one, off it the exception too."""
    if not os.environ.get("LEPTON_URL"):
        return COLOURS.sub("", f"{type(fault).__name__}: {fault}")[:500]
    return f"internal error in request {request:x}" if request else "internal error"


def note(fault: BaseException, request: int = 0) -> None:
    """Write a fault with its traceback to the replica's log."""
    named = f"serve: request {request:x} failed\n" if request else ""
    sys.stderr.write(named + "".join(traceback.format_exception(fault)))
    sys.stderr.flush()


def answer_together(
    calls: Sequence[Call], read: Callable[[Call], T], compute: Callable[[Sequence[tuple[Call, T]]], Sequence[Reply]]
) -> list[Reply]:
    """An answer for each request, in order: what can be read is computed together, what cannot costs it nothing."""
    replies: dict[int, Reply] = {}
    good: list[tuple[Call, T]] = []
    for call in calls:
        try:
            good.append((call, read(call)))
        except Exception as fault:  # noqa: BLE001  whatever is wrong with this one
            replies[call.id] = reply_for(fault, call.id)
    if good:
        replies.update(zip((call.id for call, _ in good), compute(good), strict=True))
    return [replies[call.id] for call in calls]


def refusal(fault: LeptonError) -> Reply:
    """The answer that tells a fault."""
    headers = getattr(fault, "headers", None) or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if is_line(name) and is_line(value))
    return Reply(orjson.dumps(dict(fault.to_json())), fault.status, headers=lines.encode("latin-1", "replace"), rows=0)


def is_line(text: str) -> bool:
    """Whether it may stand in a header: no line break, no NUL."""
    return not any(char in text for char in "\r\n\0")
