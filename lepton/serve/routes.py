"""Which paths a front answers, by which methods, and what each is for. Pure.

What the front knows by itself is fixed; the rest a worker tells in its hello, once it has its program loaded:

    {"operations": [{"id": 1, "path": "/predict", "methods": ["POST"], ...}], "pages": {"/docs": {...}}, ...}

`replaces` names paths of the front's own that the worker answers instead.

An operation's path is exact, has parameters (`/items/{id}`), or is a prefix (`/app/` with `"is_prefix": true`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from lepton.core.errors import ConfigError, clip
from lepton.core.resource import Json
from lepton.serve.answers import INFERENCE_FORM, NO_PATH, OPENAI_FORM, Refusal, wrong_method
from lepton.serve.cors import Cors
from lepton.serve.frames import PREDICT, FrameError, Media
from lepton.serve.wishes import CONDITION, KIND, KINDS

UNRESERVED = frozenset(b"%c" % byte for byte in range(256) if re.fullmatch(rb"[A-Za-z0-9._~-]", b"%c" % byte))
STRANGE = re.compile(rb"%([0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/{}-]")
"""Of a path: an escape, or a byte that needs one. Braces are those of parameters."""


class Page(IntEnum):
    """What the front answers by itself."""

    ABOUT = 1
    HEALTH = 2
    READY = 3
    METRICS = 4
    OPTIONS = 5
    QUEUE = 6
    TEXT = 7
    """Told by a worker once, and the same for everybody."""
    MOVED = 8
    LOST = 9
    """There is none: told only to whoever may use the endpoint."""


class Route(NamedTuple):
    """What to do with a request."""

    page: Page | None = None
    operation: int = 0
    """Given instead of `page` when a worker answers."""
    is_public: bool = False
    """Needs no token."""
    is_headed: bool = False
    """The worker wants the request line and the headers too."""
    is_repeatable: bool = True
    has_body: bool = True
    """Must have one."""
    media: frozenset[int] | None = None
    """What its body may be; None: anything."""
    timeout_s: float = 0.0
    """Instead of the endpoint's deadline, if not 0."""
    form: str = ""
    """That of the front's own errors; see `answers.Refusal.body`."""
    text: bytes = b""
    """Of a page TEXT; of OPTIONS, the methods; of MOVED, where to."""
    type: bytes = b""
    is_prefix: bool = False
    """A mounted application answers."""
    refusal: Refusal | None = None
    """Of LOST: what is told."""

    @property
    def is_page(self) -> bool:
        """Whether people look at it with a browser."""
        return self.type.startswith(HTML)

    @property
    def is_held(self) -> bool:
        """Whether it came before any worker did, and what it is for is not known yet."""
        return self.operation == HELD

    def wants_head(self, media: int) -> bool:
        """Whether the worker needs the line and headers: it asks for them, or they alone say what a body is or a
        client wishes; `media` as in `wishes`."""
        return self.is_headed or media >= CONDITION or media & KIND in (Media.FORM, Media.OTHER)


ABOUT = Route(page=Page.ABOUT)
HEALTH = Route(page=Page.HEALTH, is_public=True)
DOCS, HTML = b"/docs", b"text/html"
"""Where an operation answers with a page, and of which type that is."""
LOST = Route(page=Page.LOST, has_body=False)
READY = Route(page=Page.READY, is_public=True)
METRICS = Route(page=Page.METRICS)
QUEUE = Route(page=Page.QUEUE)
OPENAI, INFERENCE, HANDLERS = 2, 7, 16
"""Numbers of the first operations of the OpenAI API, the Open Inference Protocol, and a service's own handlers."""
HELD = 0xFFFF
"""The operation of a request that came before any worker did: what it is for is not known yet."""
UNKNOWN = Route(operation=HELD, has_body=False)
PROTOCOLS = {b"v1": OPENAI_FORM, b"v2": INFERENCE_FORM}
"""First part of a path -> what is spoken there, also while the model is still being loaded."""
OWN: Mapping[bytes, Route] = {
    b"/": ABOUT,
    b"/healthz": HEALTH,
    b"/livez": HEALTH,
    b"/readyz": READY,
    b"/v2/health/live": HEALTH,
    b"/v2/health/ready": READY._replace(form=INFERENCE_FORM),
    b"/metrics": METRICS,
    b"/queue-length": QUEUE,
    b"/lepton/metrics": METRICS,
}
"""Read with GET."""
KEPT = (b"/readyz", b"/lepton/metrics")
"""Of these, what a worker cannot take over."""

MEDIA = {
    **KINDS,
    b"": Media.JSON,
    b"text/plain": Media.TEXT,
    b"multipart/form-data": Media.FORM,
    b"application/x-www-form-urlencoded": Media.FORM,
}
MOST_LINES, MOST_TEXT = 8, 80
"""Of the paths that are told to who asks for another: how many, and how long each."""
MODEL_MEDIA = ("JSON", "OCTETS", "NPY", "MSGPACK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing a program can be asked, as its hello tells it."""

    id: int
    path: str
    methods: tuple[str, ...] = ("POST",)
    is_prefix: bool = False
    is_headed: bool = False
    is_public: bool = False
    is_repeatable: bool = False
    has_body: bool = True
    media: tuple[str, ...] | None = None
    timeout_s: float = 0.0
    form: str = ""
    """That of the errors which the front answers there, and on paths beside it that are not known."""

    def succeeds(self, other: "Operation") -> bool:
        """Whether what was sent to the other, of an earlier program, can be given to this one."""
        mine = (self.path, self.is_prefix, self.is_headed, self.is_public, self.has_body)
        theirs = (other.path, other.is_prefix, other.is_headed, other.is_public, other.has_body)
        return mine == theirs and set(self.methods) >= set(other.methods)

    def route(self) -> Route:
        """As a front keeps it."""
        return Route(
            operation=self.id,
            is_public=self.is_public,
            is_headed=self.is_headed,
            is_repeatable=self.is_repeatable,
            has_body=self.has_body,
            media=None if self.media is None else frozenset(int(Media[name]) for name in self.media),
            timeout_s=self.timeout_s,
            form=self.form,
            is_prefix=self.is_prefix,
        )


PREDICTION = Operation(id=PREDICT, path="/predict", is_repeatable=True, media=MODEL_MEDIA)
"""What a model that is served without code can be asked."""


class Table:
    """All routes of one model version.

    Args:
        about: a worker's hello; empty before the first.
        missing: the answer for a path that is not known.

    Raises:
        FrameError: the hello describes no operations that can be.
    """

    def __init__(self, about: Mapping[str, Json], missing: Refusal = NO_PATH) -> None:
        self.is_known = bool(about)
        self.cors = _cors(about)
        self._missing = missing
        self.operations: dict[int, Operation] = {}
        """What the program can be asked, by its number."""
        self._exact: dict[bytes, dict[bytes, Route]] = {}
        self._patterns: list[tuple[re.Pattern[bytes], dict[bytes, Route]]] = []
        self._prefixes: list[tuple[bytes, dict[bytes, Route]]] = []
        self._forms: dict[bytes, str] = {}
        """First part of a path -> form of the errors there."""
        self._fallback = Route(page=Page.MOVED, is_public=True, text=moved) if (moved := _moved(about)) else None
        replaced = {str(path).encode() for path in about.get("replaces") or ()}.difference(KEPT)
        for path, route in OWN.items():
            if path not in replaced:
                self._exact[path] = {b"GET": route}
        try:
            operations = list(map(_operation, about.get("operations") or ()))
            for operation in operations:
                self._add(operation)
                self.operations[operation.id] = operation
            self.longest_s = max((operation.timeout_s for operation in operations), default=0.0)
            """The longest time that an operation has instead of the deadline."""
            if operations and missing is NO_PATH:
                self._missing = NO_PATH._replace(fix=_hint(about.get("handlers") or map(_line, operations)))
            is_open = bool(operations) and all(operation.is_public for operation in operations)
            for path, page in (about.get("pages") or {}).items():
                self._exact[path.encode()] = {b"GET": _text(page, is_public=is_open)}
        except (TypeError, KeyError, AttributeError, ValueError) as fault:
            raise FrameError(f"A hello tells of operations that cannot be: {fault}") from fault
        self._prefixes.sort(key=lambda found: -len(found[0]))
        self._quick: dict[tuple[bytes, bytes], Route] = {
            (method, path): route for path, methods in self._exact.items() for method, route in methods.items()
        }

    def find(self, method: bytes, url: bytes) -> Route | Refusal:
        """The route of a request line, or why there is none."""
        route = self._quick.get((method, url))
        return route if route is not None else self._search(method, url)

    def heir(self, route: Route, before: "Table") -> Route | None:
        """What answers now instead of a route that was found in the table of an earlier program; None: nothing."""
        was = before.operations.get(route.operation)
        if was is None:
            return None
        return next((one.route() for one in self.operations.values() if one.succeeds(was)), None)

    def _search(self, method: bytes, url: bytes) -> Route | Refusal:
        if not url.startswith(b"/"):
            url = path_of(url)
        path = url.partition(b"?")[0]
        if path == b"*" and method == b"OPTIONS":
            return Route(page=Page.OPTIONS, is_public=True, text=b"GET, HEAD, OPTIONS, POST")
        methods = self._methods(path)
        if methods is None:
            if not self.is_known and method not in (b"TRACE", b"CONNECT"):
                return UNKNOWN._replace(form=PROTOCOLS.get(path[1:].partition(b"/")[0], ""))
            if self._fallback is not None and method in (b"GET", b"HEAD"):
                return self._fallback
            form = next((form for prefix, form in self._forms.items() if path.startswith(prefix)), "")
            return self._missing._replace(form=form)
        found = methods.get(method) or methods.get(b"*")
        if found is None and method == b"HEAD":
            found = methods.get(b"GET")
        if found is None and method == b"OPTIONS":
            return Route(page=Page.OPTIONS, is_public=True, text=_allowed(methods))
        form = next(iter(methods.values())).form
        return found or wrong_method(_allowed(methods))._replace(form=form)

    def _methods(self, path: bytes) -> dict[bytes, Route] | None:
        methods = self._exact.get(path)
        if methods is not None:
            return methods
        found = [methods for pattern, methods in self._patterns if pattern.fullmatch(path)]
        if found:
            every: dict[bytes, Route] = {}  # several handlers may share a path, each with methods of its own
            for methods in reversed(found):  # the first goes first
                every |= methods
            return every
        for prefix, methods in self._prefixes:
            if path.startswith(prefix) or path == prefix[:-1]:
                return methods
        return None

    def _add(self, operation: Operation) -> None:
        path = normal(operation.path.encode())
        if operation.is_prefix:
            methods: dict[bytes, Route] = {}
            self._prefixes.append((path if path.endswith(b"/") else path + b"/", methods))
        elif b"{" in path:
            methods = {}
            self._patterns.append((path_pattern(path), methods))
        else:
            methods = self._exact.setdefault(path, {})
        if path in OWN and path != b"/":
            raise ValueError(f"{operation.path} is the front's own")
        if operation.form:
            self._forms[b"/%b/" % path.split(b"/")[1]] = operation.form
        for method in operation.methods:
            methods[method.encode()] = operation.route()._replace(type=HTML if path == DOCS else b"")


def normal(path: bytes) -> bytes:
    """The one way of writing a path (RFC 3986, 6.2.2): what needs no escape has none, all else has `%XX`.

    An escaped slash stays one, and no segment is resolved: what a path passes through is what it says.
    """
    return STRANGE.sub(_escaped, path)


def _escaped(found: re.Match[bytes]) -> bytes:
    byte = bytes([int(found[1], 16)]) if found[1] else found[0]
    return byte if byte in UNRESERVED else b"%%%02X" % byte[0]


def path_pattern(path: bytes) -> re.Pattern[bytes]:
    """What `/items/{id}` matches of `normal` paths; `{rest:path}` also takes slashes."""
    path = normal(path)
    parts = re.split(rb"(\{[A-Za-z_][A-Za-z0-9_]*(?::path)?\})", path)
    made = [
        (b"(?P<%b>.+)" if part.endswith(b":path}") else b"(?P<%b>[^/]+)") % part.strip(b"{}").partition(b":")[0]
        if part.startswith(b"{")
        else re.escape(part)
        for part in parts
    ]
    return re.compile(b"".join(made))


def _operation(plain: Mapping[str, Any]) -> Operation:
    media = plain.get("media")
    wished = {**plain, "methods": tuple(plain.get("methods", ("POST",)))}
    found = Operation(**{**wished, "media": None if media is None else tuple(media)})
    if not 0 < found.id < HELD or not found.path.startswith("/"):
        raise ValueError(f"operation {found.id} at {found.path!r}")
    return found


def _line(operation: Operation) -> str:
    return f"{'/'.join(operation.methods)} {operation.path}"


def _hint(lines: Iterable[str]) -> str:
    """What does answer, for who has asked for what does not; of many the first."""
    told = [clip(line, MOST_TEXT) for line in lines]
    more = f" and {len(told) - MOST_LINES} more" if len(told) > MOST_LINES else ""
    return f"These do: {', '.join(told[:MOST_LINES])}{more}; GET / describes the endpoint."


def _text(page: Mapping[str, str], *, is_public: bool) -> Route:
    return Route(page=Page.TEXT, text=page["text"].encode(), type=page["type"].encode(), is_public=is_public)


def _moved(about: Mapping[str, Json]) -> bytes:
    """Where who asks for an unknown page is sent; empty: nowhere."""
    return str(about.get("fallback") or "").encode()


def _cors(about: Mapping[str, Json]) -> Cors | None:
    told = about.get("cors")
    try:
        return Cors.read(told) if told is not None else None
    except (ConfigError, TypeError) as fault:
        raise FrameError(f"A hello tells of origins that cannot be: {fault}") from fault


def _allowed(methods: Iterable[bytes]) -> bytes:
    known = set(methods)
    return b", ".join(sorted(known | {b"OPTIONS"} | ({b"HEAD"} if b"GET" in known else set())))


def path_of(url: bytes) -> bytes:
    """The path of a URL that has a scheme and a host; anything else unchanged."""
    _, scheme_end, rest = url.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if scheme_end else url


def find_media(content_type: bytes) -> Media:
    """What a Content-Type says the body is."""
    media = MEDIA.get(content_type)
    if media is None:
        media = MEDIA.get(content_type.partition(b";")[0].strip().lower(), Media.OTHER)
    return media
