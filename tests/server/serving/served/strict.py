"""A service for what fits only nearly."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from lepton.serve import Service, handler


class Spot(BaseModel):
    """A class with fields."""

    x: int


class Corner(TypedDict):
    """A dict with fields."""

    x: int
    name: NotRequired[str]


class Level(IntEnum):
    """A choice among numbers."""

    LOW = 1
    HIGH = 2


class Strict(Service):
    """Takes nothing for something else."""

    @handler
    def beside(self, p: Spot, n: int = 0) -> int:
        return p.x + n

    @handler
    def corner(self, corner: Corner) -> int:
        return corner["x"]

    @handler
    def corners(self, corners: list[Corner], n: int = 0) -> list[int]:
        return [corner["x"] + n for corner in corners]

    @handler
    def choose(self, a: Literal["a", 1], level: Level = Level.LOW, also: list[Literal[0, 2]] = []) -> list[Any]:  # noqa: B006
        return [a, level, *also]

    @handler
    def numbers(self, x: NDArray[np.float64]) -> float:
        return float(x.sum())

    @handler
    def many(self, spots: list[Spot]) -> int:
        return sum(spot.x for spot in spots)

    @handler(batch=16)
    def double(self, x: Sequence[float]) -> list[float]:
        return [2 * one for one in x]

    @handler("/both", method=("GET", "POST"))
    def both(self, n: int) -> int:
        return n + 1

    @handler("/any", method=("GET", "POST"))
    def any(self, **fields: Any) -> dict[str, Any]:
        return fields
