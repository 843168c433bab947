"""A service that pages of another origin may ask."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from lepton.serve import Cors, Service, handler

app = FastAPI()


class Paged(Service):
    cors = Cors(origins=["https://a.example"], methods=["GET", "POST"], exposed=["X-Request-Id"])

    def mounts(self) -> Mapping[str, Any]:
        return {"/app": app}

    @handler
    def echo(self, x: int) -> int:
        return x

    @handler
    def parts(self) -> Iterator[str]:
        yield "one"
