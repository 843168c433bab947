"""A body that is no msgpack is told what about it is wrong."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton.core.errors import InvalidError
from lepton.serve.calls import unpack


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is empty"),
        (b"\xc1", "it holds the byte c1, which stands for nothing"),
        (b"\x81", "it ends too early, after 1 byte"),
        (b"\x92\x01", "it ends too early, after 2 bytes"),
        (b"\xdd\xff\xff\xff\xff", "it ends too early, after 5 bytes"),
        (b"\xc6\xff\xff\xff\xff", "it ends too early, after 5 bytes"),
        (b"\xa5ab", "it ends too early, after 3 bytes"),
        (b"abc", "its value ends at byte 1, and 2 more follow"),
        (msgpack.packb([1, 2]) + b"\0", "its value ends at byte 3, and 1 more follows"),
        (b'{"x": 1}', "it looks like JSON"),
        (b" [1]\n", "it looks like JSON"),
        (b"\xa2\xff\xfe", "a text in it is no UTF-8"),
        (b"\x81\x90\x01", "a key in it is a list or an object"),
        (b"\x91" * 5000 + b"\x01", "it is nested too deeply"),
        (b"\xc7\x03\xff\x01\x01\x01", "a time in it cannot be: invalid timestamp data (length 3)"),
    ],
)
def test_what_is_wrong_is_said_plainly(body: bytes, why: str) -> None:
    with pytest.raises(InvalidError) as caught:
        unpack(body)
    assert caught.value.message == f"The body is no msgpack: {why}"
    assert ("application/json" in caught.value.fix) == ("JSON" in why)


@given(body=st.binary(max_size=40))
def test_whatever_comes_is_read_or_refused_with_a_reason(body: bytes) -> None:
    try:
        unpack(body)
    except InvalidError as fault:
        assert len(fault.message) > len("The body is no msgpack: ")
        assert "max_" not in fault.message
