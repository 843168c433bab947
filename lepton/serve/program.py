"""What a replica runs: a program tells what it can be asked, and answers. The second kind of model is a second program.

An operation answers in one of these ways, and the replica picks what costs least for it:

- `batch`: plain function, all requests that have arrived are computed by one call, also those of several operations
  whose function is the same;
- `call`: plain function, one request a call, in the replica's own thread or in one of several;
- `answer`: coroutine, many at a time;
- `tunnel`: coroutine that speaks for the whole connection (WebSocket, any ASGI application);
- `pick`: by another `Work`, which the request itself names.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from lepton.core.resource import Json
from lepton.serve.calls import Call
from lepton.serve.frames import Media
from lepton.serve.routes import Operation


class Written(NamedTuple):
    """A stream of values, and what makes bytes of each."""

    values: AsyncIterator[Any]
    write: Callable[[Any], bytes]


@dataclass(slots=True)
class Reply:
    """An answer, whole or as a stream of pieces."""

    body: bytes = b""
    status: int = 200
    media: int = Media.JSON
    headers: bytes = b""
    """Further lines, each ended by CR LF; if `media` is OTHER with the Content-Type among them."""
    rows: int = 1
    stream: Iterator[bytes] | AsyncIterator[bytes] | Written | None = None
    """Instead of a body; nothing is sent before its first piece is there."""


class Line(Protocol):
    """Both directions of a connection that an operation has taken over."""

    async def receive(self) -> bytes:
        """The next bytes from the client; empty once it has closed its side, or is gone."""
        ...

    async def send(self, data: bytes) -> None:
        """Send bytes; waits while the client does not read."""
        ...

    async def begin(self, status: int, headers: bytes) -> None:
        """Give the head of the answer: 101 to upgrade, anything else to answer as usual."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How one operation is answered. One of the functions is given; `tunnel` may come beside `answer`."""

    operation: Operation
    batch: Callable[[Sequence[Call]], Sequence[Reply]] | None = None
    max_batch: int = 0
    """For `batch`: most requests in one call; 0: as many as arrive."""
    call: Callable[[Call], Reply] | None = None
    answer: Callable[[Call], Awaitable[Reply]] | None = None
    tunnel: Callable[[Call, Line], Awaitable[None]] | None = None
    """For requests that ask to upgrade the connection."""
    pick: "Callable[[Call], Work | Reply] | None" = None
    """How a request is answered that only its body tells; or the answer."""


class Program(Protocol):
    """Something that can be served."""

    room: int
    """Requests that it works on at a time; 0: one batch after the other."""
    threads: int
    """For `call`: 0: in the loop's own thread."""

    def works(self) -> Sequence[Work]:
        """What it can be asked; called once, when it is loaded."""
        ...

    def about(self) -> Mapping[str, Json]:
        """What a client should know of it: shown at `/`; with `pages` and `fallback`, see `routes`."""
        ...

    async def start(self) -> None:
        """Get ready, in the loop that will run it."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...

    def is_healthy(self) -> bool:
        """Whether it still works."""
        ...

    def tick(self) -> None:
        """Called twice a second, for what it does beside answering."""
        ...
