"""Counters and histograms of an ASGI application, as Prometheus reads them."""

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import Any

BUCKETS = (
    *(0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.55, 0.78),
    *(1.0, 1.1, 1.5, 2.3, 3.2, 4.5, 6.4, 9.0, 13.0, 19.9),
)
"""Seconds. Some of the vendor's 289: all of them would be 24 kB for each handler, at each look."""
MOST_ROUTES = 200
OTHER = "other"
"""Counts for all further ones."""
App = Callable[..., Awaitable[None]]
NAMES = {
    "requests": ("http_requests_total", "counter", "Total number of requests by method, status and handler."),
    "duration": ("http_request_duration_seconds", "histogram", "Latency in seconds."),
    "asked": ("http_request_size_bytes", "summary", "Content length of incoming requests by handler."),
    "answered": ("http_response_size_bytes", "summary", "Content length of outgoing responses by handler."),
}


class Seen:
    """What was asked of one route by one method."""

    __slots__ = ("answered", "asked", "counts", "seconds", "statuses")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.statuses: Counter[int] = Counter()
        """By their hundreds."""
        self.seconds = 0.0
        self.asked = self.answered = 0
        """Bytes of bodies."""


class Meter:
    """Middleware; `render` tells what it has seen."""

    def __init__(self) -> None:
        self.running = 0
        """Requests that are in the application now."""
        self._seen: dict[tuple[str, str], Seen] = {}
        """By path of the route, and method."""

    def around(self, app: App) -> App:
        """The application, watched."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, size, began = 500, 0, monotonic()

            async def tell(event: Any) -> None:
                nonlocal status, size
                if event["type"] == "http.response.start":
                    status = event["status"]
                size += len(event.get("body", b""))
                await send(event)

            self.running += 1
            try:
                await app(scope, receive, tell)
            finally:
                self.running -= 1
                length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
                asked = int(length) if length.isdigit() else 0
                self.saw((label_of(scope), scope["method"]), status, asked, size, monotonic() - began)

        return watched

    def saw(self, route: tuple[str, str], status: int, asked: int, answered: int, seconds: float) -> None:
        """Count one request.

        Args:
            route: path of its route, and method.
            asked, answered: bytes of both bodies.
        """
        seen = self._seen.get(route)
        if seen is None:
            route = route if len(self._seen) < MOST_ROUTES else (OTHER, OTHER)
            seen = self._seen.setdefault(route, Seen())
        seen.statuses[status // 100] += 1
        seen.counts[bisect_left(BUCKETS, seconds)] += 1
        seen.seconds += seconds
        seen.asked += asked
        seen.answered += answered

    def render(self) -> str:
        """All of it, and whatever the program itself has counted with prometheus_client."""
        text = "".join(f"{line}\n" for line in self._lines())
        client = sys.modules.get("prometheus_client")
        return text + (client.generate_latest().decode() if client is not None else "")

    def _lines(self) -> Iterator[str]:
        seen = [(escape(handler), method, one) for (handler, method), one in self._seen.items()]
        yield from head("requests")
        for handler, method, one in seen:
            for hundred, count in one.statuses.items():
                labels = f'handler="{handler}",method="{method}",status="{hundred}xx"'
                yield f"http_requests_total{{{labels}}} {float(count)}"
        yield from head("duration")
        for handler, method, one in seen:
            yield from self._histogram(handler, method, one.counts, one.seconds)
        for what in ("asked", "answered"):
            yield from head(what)
            counts: Counter[str] = Counter()
            sizes: Counter[str] = Counter()
            for handler, _, one in seen:
                counts[handler] += sum(one.counts)
                sizes[handler] += getattr(one, what)
            for handler, count in counts.items():
                yield f'{NAMES[what][0]}_count{{handler="{handler}"}} {float(count)}'
                yield f'{NAMES[what][0]}_sum{{handler="{handler}"}} {float(sizes[handler])}'

    def _histogram(self, handler: str, method: str, counts: list[int], seconds: float) -> Iterator[str]:
        name, total = NAMES["duration"][0], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            total += count
            yield f'{name}_bucket{{handler="{handler}",le="{bound}",method="{method}"}} {float(total)}'
        yield f'{name}_count{{handler="{handler}",method="{method}"}} {float(total)}'
        yield f'{name}_sum{{handler="{handler}",method="{method}"}} {seconds}'


def head(what: str) -> Iterator[str]:
    """The two lines before a family."""
    name, kind, text = NAMES[what]
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def label_of(scope: Any) -> str:
    """The path of the route that has answered, with its parameters unfilled; `none` if there was no such route."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return scope.get("root_path") or "none" if "endpoint" in scope else "none"
    filled = path
    for name, value in scope.get("path_params", {}).items():
        filled = filled.replace(f"{{{name}}}", str(value)).replace(f"{{{name}:path}}", str(value))
    asked = str(scope["path"])  # a route of what was included knows its path without the prefix
    return asked.removesuffix(filled) + path if asked.endswith(filled) else str(path)


def escape(text: str) -> str:
    """A value of a label."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
