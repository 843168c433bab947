"""Fields that may be anything are read from JSON once: with what comes, and what is refused, as in any other body."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.serve.calls import Call
from lepton.serve.frames import Media
from lepton.serve.service import MARK, handler
from lepton.serve.signature import Signature

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def loose(x: Any, y: Any = 7) -> Any:
    """Takes anything."""
    return x, y


def rest(x: Any, **more: Any) -> Any:
    """Takes anything, under any name."""
    return x, more


def read(function: Any, body: bytes) -> dict[str, Any]:
    wish = getattr(handler("/f")(function), MARK)
    return Signature("f", function, wish).arguments(Call(1, body, Media.JSON))


@given(x=VALUES, y=VALUES)
def test_what_comes_is_what_was_sent(x: Any, y: Any) -> None:
    assert read(loose, json.dumps({"x": x}).encode()) == {"x": x, "y": 7}
    assert read(loose, json.dumps({"x": x, "y": y}).encode()) == {"x": x, "y": y}
    assert read(rest, json.dumps({"x": x, "z": y}).encode()) == {"x": x, "z": y}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "x: is missing"),
        (b'{"y": 1}', "x: is missing"),
        (b'{"x": 1, "z": 2}', "z: is unknown"),
        (b"[1]", "object"),
        (b'{"x": NaN}', "no JSON"),
        (b'{"x": 1', "no JSON"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_field_named(body: bytes, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        read(loose, body)
