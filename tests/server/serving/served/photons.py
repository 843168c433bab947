"""Photon programs for tests."""

import asyncio
import threading
from io import BytesIO

from fastapi import FastAPI, UploadFile
from leptonai.photon import FileParam, HTTPException, Photon, PNGResponse, StaticFiles, StreamingResponse, Worker
from leptonai.photon.types import File, lepton_pickle, lepton_unpickle


class Child(Photon):
    """Mounted in another."""

    def init(self):
        self.word = "child"

    @Photon.handler()
    def greet(self) -> str:
        return f"hello from {self.word}"


class Everything(Photon):
    """All kinds of handlers."""

    requirement_dependency = ["numpy"]  # noqa: RUF012
    handler_max_concurrency = 2
    handler_timeout = 2

    def init(self):
        self.total = 0
        self.leaving = []
        self.both = threading.Barrier(2, timeout=5)

    @Photon.handler("add", example={"x": 2})
    def add(self, x: int, times: int = 1) -> int:
        """Add to the total."""
        self.total += x * times
        return self.total

    @Photon.handler("")
    def root(self, x: float) -> float:
        return x * 3

    @Photon.handler
    def anything(self, x, **rest):
        return [x, rest]

    @Photon.handler("by/{name}", method="GET")
    def by(self, name: str, loud: bool = False) -> dict[str, str]:
        return {"name": name.upper() if loud else name}

    @Photon.handler
    def nothing(self) -> PNGResponse:
        return None

    @Photon.handler
    def image(self, content: str) -> PNGResponse:
        return BytesIO(content.encode())

    @Photon.handler
    def stream(self, n: int) -> StreamingResponse:
        return StreamingResponse(f"{i}," for i in range(n))

    @Photon.handler
    def refuse(self):
        raise HTTPException(status_code=429, detail="Too many requests")

    @Photon.handler
    def fail(self):
        raise RuntimeError("it broke")

    @Photon.handler
    async def sleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @Photon.handler(cancel_on_disconnect=0.02)
    async def wait(self) -> str:
        self.leaving.append("began")
        try:
            await asyncio.sleep(30)
        finally:
            self.leaving.append("left")
        return "ok"

    @Photon.handler(method="GET")
    def left(self) -> list:
        return self.leaving

    @Photon.handler(max_batch_size=3, max_wait_time=0.5)
    def batch(self, x: int) -> int:
        return [value + 10 * len(x) for value in x]

    @Photon.handler
    def together(self) -> int:
        self.both.wait()
        return 2

    @Photon.handler
    def last_lines(self, inputs: list[FileParam]) -> list[str]:
        return [each.file.read().splitlines()[-1].decode() for each in inputs]

    @Photon.handler
    def read(self, file: File) -> str:
        return file.get_content().decode()

    @Photon.handler(use_raw_args=True)
    def names(self, files: list[UploadFile]) -> list[str]:
        return [file.filename for file in files]

    @Photon.handler
    def pickled(self, given: dict) -> dict:
        return lepton_pickle(lepton_unpickle(given)[::-1])

    @Photon.handler(include_in_schema=False)
    def hidden(self) -> str:
        return "hidden"

    @Photon.handler(mount=True)
    def sub(self):
        app = FastAPI()

        @app.get("/items/{id}")
        def item(id: int):
            if id > 9:
                raise HTTPException(404, "no such item")
            return {"id": id}

        return app

    @Photon.handler(mount=True)
    def child(self):
        return Child()

    @Photon.handler(mount=True)
    def code(self):
        return StaticFiles(directory=".")

    @Photon.handler("wsgi", mount=True)
    def old(self):
        def application(environ, start_response):
            start_response("200 OK", [("content-type", "text/plain")])
            return [environ["PATH_INFO"].encode()]

        return application


class Healthy(Photon):
    """Answers for its own health."""

    @Photon.handler(method="GET")
    def healthz(self) -> dict[str, str]:
        return {"status": "customized"}


class Tasks(Worker):
    """Doubles numbers, from a queue."""

    queue_empty_sleep_time = 0.02

    def on_task(self, task_id: str, x: int):
        return x * 2
