"""A front that many endpoints share, and one process that holds a replica's link for each of them.

    python benchmarks/crowd.py front FOLDER | replicas FOLDER COUNT | server PORT COUNT

A thousand replicas as processes would not fit the machine; what is measured is what the front does for each endpoint.
`server` says of each token whose it is, as the platform's server would.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import uvloop

FRONT = "ep_00000000000000000000000000"
VERSION = "ver_00000000000000000000000001"
SERVED = Path(__file__).with_name("served")


def about(number: int) -> dict[str, Any]:
    """What the server knows of an endpoint."""
    spec = {"code": VERSION, "entry": "echo.py", "front": FRONT, "deadline_ms": 30_000}
    return {"endpoint": f"ep_{number:026d}", "name": f"e{number}", "job": f"job_{number}", "spec": spec, "front": FRONT}


class Known(asyncio.Protocol):
    """One question to the server, and its answer: whoever bears the token `job-N` is endpoint N's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asked soon."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The question; anybody may use every endpoint."""
        token = data.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
        body = json.dumps(about(int(token.partition("-")[2])) if b"/serve/site" in data else {}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)  # type: ignore[attr-defined]
        self._transport.close()


async def serve(port: int) -> None:
    """Answer for ever."""
    server = await asyncio.get_running_loop().create_server(Known, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


async def gateway(folder: Path, ctx: Any) -> None:
    """The front itself."""
    await import_module("lepton.serve.gateway").Gateway(ctx).run()


async def replicas(count: int) -> None:
    """One link for each endpoint, all with one program, at the front's socket."""
    replica, link = import_module("lepton.serve.replica"), import_module("lepton.serve.replica_link")
    program = import_module("lepton.serve.hosted").open_program(SERVED, "echo.py")
    path = import_module("lepton.serve.gang").socket_path(is_shared=True)
    await program.start()
    works = {work.operation.id: work for work in program.works()}
    links = []
    for number in range(count):
        hello = json.dumps(replica.hello(program, works.values(), f"job-{number}")).encode()
        greet = partial(tuple, (hello, None))
        links.append(await connect(lambda greet=greet: link.Link(works, greet, None, lambda _: None), path))
    await links[0].closed


async def connect(make: Callable[[], Any], path: Path) -> Any:
    """A link; the front's socket takes only so many at a time."""
    while True:
        try:
            _, link = await asyncio.get_running_loop().create_unix_connection(make, str(path))
        except BlockingIOError:
            await asyncio.sleep(0.02)
            continue
        return link


def context(folder: Path) -> Any:
    """What the front is told; what it tells goes into the folder."""
    process = import_module("tests.server.serving.process")
    port = (folder / "port").read_text()
    spec = {"is_front": True, "port": int(port)}
    return process.FolderContext(folder, 0, {"endpoint": FRONT, "name": "edge", "spec": spec})


def main(role: str, *words: str) -> None:
    """Be one of the three."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if role == "server":
        asyncio.run(serve(int(words[0])))
    elif role == "front":
        uvloop.run(gateway(Path(words[0]), context(Path(words[0]))))
    else:
        uvloop.run(replicas(int(words[1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
