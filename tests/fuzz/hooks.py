"""Hooks for Schemathesis: streams that would go on for ever are asked to end soon; that is a parameter of theirs."""

from typing import Any

import schemathesis

STREAMS = ("/watch", "/logs")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Ask a stream to end after a moment, unless the case is about `timeout_s` itself being wrong."""
    if not case.operation.path.endswith(STREAMS) or case.query is None:
        return
    if _is_endless(case.query.get("timeout_s")):
        case.query["timeout_s"] = 0.05


def _is_endless(value: Any) -> bool:
    try:
        return value is None or float(value) == 0 or 1 < float(value) <= 86_400
    except (TypeError, ValueError):
        return False
