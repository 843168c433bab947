"""Services whose handlers are asked with tensors, for tests."""

import asyncio
import threading
from typing import Any, TypedDict

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lepton.serve import Service, handler


class Stats(TypedDict):
    """Of some numbers."""

    mean: float
    sorted: list[float]
    label: str


class Tensors(Service):
    """Handlers of every kind that tensors can ask, and two that they cannot."""

    @handler
    def scale(self, x: NDArray[np.float32], by: float = 2.0) -> NDArray[np.float32]:
        x *= np.float32(by)
        return x

    @handler
    def tiny(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        return x

    @handler
    def shape(self, x: np.ndarray[Any, Any]) -> dict[str, Any]:
        return {"shape": list(x.shape), "dtype": str(x.dtype)}

    @handler
    def greet(self, name: str, times: int = 1, loud: bool = False) -> str:
        if not name:
            raise KeyError("nobody")
        return " ".join([f"Hello {name}"] * times).upper() if loud else " ".join([f"Hello {name}"] * times)

    @handler
    def stats(self, values: list[float]) -> Stats:
        return {"mean": sum(values) / len(values), "sorted": sorted(values), "label": "some"}

    @handler
    def turned(self, data: bytes) -> bytes:
        return data[::-1]

    @handler
    def mixed(self, grid: list[list[int]]) -> list[Any]:
        return [{"rows": len(grid)}, [1], None]

    @handler(batch=4)
    def embed(self, text: list[str], extra: list[float] = 0.0) -> list[Any]:  # type: ignore[assignment]
        if "bad" in text:
            raise ValueError("a bad text")
        return [
            {"length": len(one), "vector": [len(one), more], "together": len(text)}
            for one, more in zip(text, extra, strict=True)
        ]

    @handler
    def untyped(self, body: dict[str, Any]) -> dict[str, Any]:
        return body


class Only(Service):
    """One batch handler."""

    @handler(batch=16)
    def double(self, x: list[float]) -> list[list[float]]:
        return [[value * 2, len(x)] for value in x]


class Mixed(Service):
    """Plain functions in threads, and coroutines."""

    concurrency = 4

    async def init(self) -> None:
        self.begun = self.cancelled = 0

    @handler
    async def wait(self, seconds: float) -> float:
        self.begun += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return seconds

    @handler
    def thread(self, x: int) -> str:
        return threading.current_thread().name

    @handler("/state", method="GET")
    async def state(self) -> list[int]:
        return [self.begun, self.cancelled]


class Plain(Service):
    """Nothing that tensors could ask."""

    @handler
    def echo(self, body: dict[str, Any]) -> dict[str, Any]:
        return body


class Halves(Service):
    """Asked with tensors of BF16, and answering with them."""

    @handler
    def wide(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x

    @handler
    def same(self, x: NDArray[ml_dtypes.bfloat16]) -> NDArray[ml_dtypes.bfloat16]:
        assert x.dtype == ml_dtypes.bfloat16
        return x
