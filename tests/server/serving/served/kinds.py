"""Handlers whose parameters are of every kind that forms, URLs and binary bodies can hold, for tests."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from lepton.serve import Body, FileResponse, Response, Service, Upload, handler


class Colour(Enum):
    """Texts and a number."""

    RED = "red"
    SEVEN = 7


@dataclass
class Place:
    """Where."""

    x: int
    on: datetime.date | None = None


class Order(BaseModel):
    """What is taken whole."""

    count: int
    at: Place | None = None
    picture: Upload | None = None
    tags: list[str] = []


class Kinds(Service):
    """Tells what it was given."""

    @handler
    def files(self, files: list[Upload], note: str | None = None) -> list[str]:
        return [f"{one.filename} {one.media_type} {one.content.decode()}" for one in files] + [str(note)]

    @handler(method=("GET", "POST"))
    def many(  # noqa: PLR0913  one of each kind
        self,
        file: Upload | None = None,
        data: bytes | None = None,
        number: int | None = None,
        colour: Colour = Colour.RED,
        word: Literal[1, "x"] = "x",
        at: datetime.datetime | None = None,
        place: Place | None = None,
        rows: list[int] = [],  # noqa: B006
    ) -> dict[str, Any]:
        told = [file.content.decode() if file else None, data.decode() if data else None, number, colour.name, word]
        return {"told": told, "at": at, "place": place, "rows": rows}

    @handler("/place", method="GET")
    def place(self, place: Place) -> Place:
        return place

    @handler
    def order(self, order: Order) -> dict[str, Any]:
        return {**order.model_dump(exclude={"picture"}), "picture": order.picture.filename if order.picture else None}

    @handler
    def picture(self, picture: Upload) -> list[Any]:
        return [picture.media_type, len(picture.content)]

    @handler
    def alone(self, picture: Body[Upload]) -> str:
        return picture.media_type

    @handler
    def single(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        x *= np.float32(2)
        return x

    @handler
    def small(self, x: NDArray[np.uint8] | None = None, zeros: NDArray[np.float64] = np.zeros(2)) -> str:  # noqa: B008
        return "none" if x is None else f"{x.dtype} {x.tolist()}"

    @handler
    def untyped(self, x: np.ndarray[Any, Any]) -> str:
        return f"{x.dtype} {x.shape}"

    @handler
    def whole(self, x: Body[NDArray[np.int64]]) -> list[int]:
        return [int(x.sum())]

    @handler(batch=4)
    def texts(self, x: list[int]) -> Any:
        return {1: "ab"[: len(x)], 2: dict.fromkeys(range(len(x))), 3: set(range(len(x)))}.get(x[0], x)

    @handler
    def lines(self) -> Any:
        yield from ("a\rb", "a\r\nb", "a\n\rb", "a\r", "a")

    @handler("/file", method="GET")
    def file(self, name: str) -> FileResponse:
        return FileResponse(name)

    @handler("/tagged", method="GET")
    def tagged(self, name: str) -> FileResponse:
        return FileResponse(name, headers={"ETag": 'W/"one,two"'})

    @handler("/inline", method="GET")
    def inline(self, name: str) -> FileResponse:
        return FileResponse(name, filename='Grüße "2".txt', is_inline=True)

    @handler("/nothing", method=("PUT", "DELETE"))
    def nothing(self) -> None:
        return None

    @handler
    def raw(self, data: bytes) -> bytes:
        return data

    @handler
    def anything(self) -> Response:
        return Response("x")

    @handler
    def rest(self, **fields: Any) -> Any:
        return {name: len(value) if isinstance(value, Sequence) else None for name, value in fields.items()}
