"""What no store could hold, found anywhere in a body before anything is done with it."""

import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32


def check_storable(value: Any, where: str, depth: int) -> None:
    """Refuse NUL, lone surrogates, infinities and deep nesting anywhere in a body.

    Raises:
        ValueError: there is such a thing; its arguments are what is wrong and what to do.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{where} is nested more than {MAX_DEPTH} deep", "Nest it less.")
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_storable(key, f"a name in {where or 'the body'}", depth + 1)
            check_storable(item, f"{where}.{key}"[:200].lstrip("."), depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_storable(item, f"an item of {where}", depth + 1)
    elif isinstance(value, str):
        if "\x00" in value or not _is_encodable(value):
            raise ValueError(f"{where} has a NUL or a lone surrogate", "Send plain text; bytes go through the vault.")
    elif isinstance(value, int | float):
        _check_number(value, where)


def _is_encodable(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _check_number(value: float, where: str) -> None:
    is_held = -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)
    if not is_held:
        raise ValueError(f"{where} is not a finite number of 64 bits", "Send a finite, smaller number.")
