"""Errors of handlers as answers: what a caller may know, and what only the log gets."""

import sys
import traceback

import orjson

from lepton.core.errors import LeptonError
from lepton.serve.program import Reply


class HandlerError(LeptonError):
    """A handler raised something that it did not mean for its caller."""

    code, status = "handler", 500


def reply_for(fault: BaseException) -> Reply:
    """The answer to a request whose handler raised. What the caller did not cause goes to the log, with a traceback."""
    if isinstance(fault, LeptonError):
        return refusal(fault)
    sys.stderr.write("".join(traceback.format_exception(fault)))
    sys.stderr.flush()
    return refusal(HandlerError(f"{type(fault).__name__}: {fault}"[:500], fix="The endpoint's log has the traceback."))


def refusal(fault: LeptonError) -> Reply:
    """The answer that tells a fault."""
    headers = getattr(fault, "headers", None) or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if is_line(name) and is_line(value))
    return Reply(orjson.dumps(dict(fault.to_json())), fault.status, headers=lines.encode("latin-1", "replace"), rows=0)


def is_line(text: str) -> bool:
    """Whether it may stand in a header: no line break, no NUL."""
    return not any(char in text for char in "\r\n\0")
