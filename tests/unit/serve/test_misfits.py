"""What of a request does not fit is told as its sender would say it: where, what was expected, what came, in JSON."""

import datetime
import enum
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from lepton.core.errors import InvalidError
from lepton.serve.calls import Call, Head
from lepton.serve.frames import Media
from lepton.serve.service import MARK, handler
from lepton.serve.signature import Signature


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []

    @field_validator("tricks")
    @classmethod
    def _few(cls, value: list[str]) -> list[str]:
        if len(value) > 2:
            raise ValueError("a dog knows no more than two")
        return value


class Colour(enum.Enum):
    RED = "red"
    BLUE = "it's blue"


@dataclass
class Point:
    x: float
    y: float | None = None


def plain(n: int, flag: bool = False, name: str | None = None, many: list[int] | None = None) -> Any:
    return n, flag, name, many


def either(v: int | str | list[int] | Point | None) -> Any:
    return v


class Pets(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    any_pet: Cat | Dog | None = None
    colour: Colour = Colour.RED
    mode: Literal["a", "b", True] = "a"
    rank: Literal[1, -2] | None = None
    ratio: int | float = 0
    byte: dict[int, int] = {}
    size: Annotated[int, Field(gt=0, le=9)] = 1
    tag: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    few: Annotated[list[int], Field(max_length=1)] = []
    day: datetime.date | None = None
    index: dict[str, list[float]] | None = None


def pets(all: Pets) -> Any:
    return all


def point(at: Point) -> Any:
    return at


def signature(function: Any) -> Signature:
    return Signature("f", function, getattr(handler("/f")(function), MARK))


def told(function: Any, body: Any, media: int = Media.JSON) -> str:
    data = msgpack.packb(body) if media == Media.MSGPACK else json.dumps(body).encode()
    with pytest.raises(InvalidError) as caught:
        signature(function).arguments(Call(1, data, media))
    return caught.value.message


@pytest.mark.parametrize(
    ("function", "body", "message"),
    [
        (plain, {"n": "1"}, 'n: should be a whole number, not "1"'),
        (plain, {"n": True}, "n: should be a whole number, not true"),
        (plain, {"n": None}, "n: should be a whole number, not null"),
        (plain, {"n": 1.5}, "n: should be a whole number, not 1.5"),
        (plain, {"n": {"a": [None, False]}}, 'n: should be a whole number, not {"a": [null, false]}'),
        (plain, {"n": "\u00e9" * 3}, 'n: should be a whole number, not "\u00e9\u00e9\u00e9"'),
        (plain, {}, "n: is missing"),
        (plain, {"n": 1, "m": 2}, "m: is unknown"),
        (plain, {"n": 1, "flag": "yes"}, 'flag: should be true or false, not "yes"'),
        (plain, {"n": 1, "name": 2}, "name: should be text or null, not 2"),
        (plain, {"n": 1, "many": [1, "2"]}, 'many.1: should be a whole number, not "2"'),
        (plain, {"n": 1, "many": 3}, "many: should be a list or null, not 3"),
        (plain, {"flag": 0, "many": [None]}, "n: is missing; flag: should be true or false, not 0 (and 1 more)"),
        (plain, [1], "body: should be an object, not [1]"),
        (plain, None, "body: should be an object, not null"),
        (either, {"v": True}, "v: should be a whole number, text, a list, an object or null, not true"),
        (
            either,
            {"v": [1, "2"]},
            'v.1: should be a whole number, not "2"; '
            'or v: should be a whole number, text, an object or null, not [1, "2"]',
        ),
        (
            either,
            {"v": {"y": 1}},
            'v.x: is missing; or v: should be a whole number, text, a list or null, not {"y": 1}',
        ),
        (pets, {"pet": {"kind": "cow"}}, 'pet.kind: should be "cat" or "dog", not "cow"'),
        (pets, {"pet": {"lives": 9}}, "pet.kind: is missing"),
        (pets, {"pet": {"kind": "cat", "lives": "9"}}, 'pet.lives: should be a whole number, not "9"'),
        (pets, {"any_pet": {"kind": "cat"}}, 'any_pet.lives: is missing; or any_pet.kind: should be "dog", not "cat"'),
        (
            pets,
            {"pet": {"kind": "dog", "tricks": ["a", "b", "c"]}},
            'pet.tricks: a dog knows no more than two (it is ["a", "b", "c"])',
        ),
        (pets, {"colour": "green"}, 'colour: should be "red" or "it\'s blue", not "green"'),
        (pets, {"ratio": "x"}, 'ratio: should be a number, not "x"'),
        (pets, {"byte": {"x": 1}}, 'byte.x (the key): should be a whole number, not "x"'),
        (pets, {"mode": None}, 'mode: should be "a", "b" or true, not null'),
        (pets, {"rank": "1"}, 'rank: should be 1, -2 or null, not "1"'),
        (pets, {"size": 0}, "size: should be more than 0, not 0"),
        (pets, {"size": 10}, "size: should be 9 or less, not 10"),
        (pets, {"tag": "a"}, 'tag: should be text of at least 2 characters, not "a"'),
        (pets, {"tag": "abcd"}, 'tag: should be text of at most 3 characters, not "abcd"'),
        (pets, {"few": [1, 2]}, "few: should be a list of at most 1 item, not [1, 2]"),
        (pets, {"day": "soon"}, 'day: should be a date as 2026-01-31 or null, not "soon"'),
        (pets, {"index": {"a.b": [0, "x"]}}, 'index.a.b.1: should be a number, not "x"'),
        (point, {"y": "1"}, 'x: is missing; y: should be a number or null, not "1"'),
        (point, [1], "body: should be an object, not [1]"),
    ],
)
def test_a_misfit_is_told_as_json(function: Any, body: Any, message: str) -> None:
    assert told(function, body) == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"n": b"abc"}, "n: should be a whole number, not 3 bytes"),
        ({"n": float("nan")}, "n: should be a whole number, not NaN"),
        ({"n": {b"a": 1}}, "n: should be a whole number, not an object"),
        ({"n": 1, "name": 2}, "name: should be text or null, not 2"),
        ([1], "body: should be an object, not [1]"),
    ],
)
def test_what_is_no_json_is_told_by_its_kind(body: Any, message: str) -> None:
    assert told(plain, body, Media.MSGPACK) == message


def test_what_came_is_shortened() -> None:
    assert told(plain, {"n": "a" * 10_000}) == f'n: should be a whole number, not "{"a" * 79}...'
    assert told(plain, {"n": list(range(10**6))}).endswith(", 19, 20, 21, 2...")
    assert len(told(plain, {"n": 1, "k" * 10_000: 1})) < 150
    assert len(told(either, {"v": {"x" * 10_000: 1}})) < 250


def test_what_comes_in_a_url_is_told_alike() -> None:
    def item(id: int, limit: int | None = None) -> Any:
        return id, limit

    for path, query, message in (
        ("/items/x", "", 'id: should be a whole number, not "x"'),
        ("/items/1", "limit=x", 'limit: should be a whole number or null, not "x"'),
    ):
        head = Head("GET", path, query, [], ("", 0))
        made = Signature("f", item, getattr(handler("/items/{id}", method="GET")(item), MARK))
        with pytest.raises(InvalidError) as caught:
            made.arguments(Call(1, b"", Media.JSON, head))
        assert caught.value.message == message


def test_what_an_array_cannot_hold_is_told_once() -> None:
    def total(values: NDArray[np.float32], rank: Literal[1, 2] = 1, seal: bytes = b"") -> Any:
        return values, rank, seal

    assert told(total, {"values": ["a"]}) == 'values: should be an array of float32, not of text values (it is ["a"])'
    assert told(total, {"values": [1], "rank": True}) == "rank: should be 1 or 2, not true"
    assert told(total, {"values": [1], "seal": "?"}) == 'seal: should be base64, not "?"'


KEYS = st.sampled_from(("v", "n", "x", "many", "pet", "any_pet", "kind", "index", "byte", "int", "Cat", "[key]", "at"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(("cat", "dog")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(body=VALUES, function=st.sampled_from((plain, either, pets, point)), is_packed=st.booleans())
def test_whatever_comes_is_taken_or_told(body: Any, function: Any, is_packed: bool) -> None:
    media = Media.MSGPACK if is_packed else Media.JSON
    try:
        data = msgpack.packb(body) if is_packed else json.dumps(body).encode()
    except OverflowError:
        return
    try:
        signature(function).arguments(Call(1, data, media))
    except InvalidError as fault:
        assert fault.message
        assert not any(word in fault.message for word in ("Input should", "None", "True", "False", "list["))
