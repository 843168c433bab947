"""Which paths a front answers, by which methods, and what each is for. Pure.

A route to the model names the slot whose workers answer it: the number that frames carry and queues are kept by.
"""

from enum import IntEnum
from typing import NamedTuple

from lepton.serve.answers import NO_PATH, Refusal, wrong_method
from lepton.serve.frames import Media, Operation


class Page(IntEnum):
    """What the front answers by itself."""

    ABOUT = 1
    HEALTH = 2
    READY = 3
    METRICS = 4
    OPTIONS = 5


class Route(NamedTuple):
    """What to do with a request."""

    page: Page | None = None
    operation: Operation | None = None
    """Given instead of `page` when a worker answers."""
    slot: int = 0
    is_public: bool = False
    """Needs no token."""
    allowed: bytes = b""


ABOUT = Route(page=Page.ABOUT)
HEALTH = Route(page=Page.HEALTH, is_public=True)
READY = Route(page=Page.READY, is_public=True)
METRICS = Route(page=Page.METRICS)
PREDICT = Route(operation=Operation.PREDICT)

READ = b"GET, HEAD, OPTIONS"
TABLE = {
    b"/": {b"GET": ABOUT, b"HEAD": ABOUT},
    b"/healthz": {b"GET": HEALTH, b"HEAD": HEALTH},
    b"/readyz": {b"GET": READY, b"HEAD": READY},
    b"/metrics": {b"GET": METRICS, b"HEAD": METRICS},
    b"/predict": {b"POST": PREDICT},
}
ALLOWED = {path: READ if b"GET" in methods else b"POST, OPTIONS" for path, methods in TABLE.items()}
QUICK = {(method, path): route for path, methods in TABLE.items() for method, route in methods.items()}

MEDIA = {
    b"": Media.JSON,
    b"application/json": Media.JSON,
    b"application/octet-stream": Media.OCTETS,
    b"application/x-npy": Media.NPY,
}


def find_route(method: bytes, url: bytes) -> Route | Refusal:
    """The route of a request line, or why there is none."""
    route = QUICK.get((method, url))
    if route is not None:
        return route
    if not url.startswith(b"/"):
        url = path_of(url)
    path = url.partition(b"?")[0]
    if method == b"OPTIONS" and (path in TABLE or path == b"*"):
        return Route(page=Page.OPTIONS, is_public=True, allowed=ALLOWED.get(path, READ + b", POST"))
    methods = TABLE.get(path)
    if methods is None:
        return NO_PATH
    return methods.get(method) or wrong_method(ALLOWED[path])


def path_of(url: bytes) -> bytes:
    """The path of a URL that has a scheme and a host; anything else unchanged."""
    _, scheme_end, rest = url.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if scheme_end else url


def find_media(content_type: bytes) -> Media | None:
    """What a Content-Type says the body is; None if that cannot be read here."""
    media = MEDIA.get(content_type)
    return media if media is not None else MEDIA.get(content_type.partition(b";")[0].strip().lower())
