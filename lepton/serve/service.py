"""What a user writes to be served: a class with handlers. Standard library only, so importing it costs nothing.

    from lepton.serve import Service, handler

    class Greeter(Service):
        def init(self) -> None:                    # once in each replica, before its first request
            self.words = {"en": "Hello", "de": "Hallo"}

        @handler                                   # POST /greet {"name": "Ada"} answers "Hello Ada"
        def greet(self, name: str, lang: str = "en") -> str:
            return f"{self.words[lang]} {name}"

        @handler(batch=32)                         # what waits is computed together: lists in, a list out
        def embed(self, text: list[str]) -> list[list[float]]:
            ...

        @handler                                   # a generator streams
        async def count(self, to: int = 3) -> AsyncIterator[dict]:
            for number in range(to):
                yield {"number": number}

A handler's parameters are the fields of the JSON object that it is sent, checked against their annotations. One alone
that is annotated with an object type (dict, TypedDict, dataclass, pydantic model) or with `Body` takes the whole body;
one annotated `Request` gets the request itself. GET handlers and names in `{}` of the path read from the URL.
"""

import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, Unpack, overload
from urllib.parse import unquote

from lepton.core.errors import InvalidError, LeptonError
from lepton.serve.cors import Cors

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MARK = "_lepton_handler"
CODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
"""How a file is packed -> its type."""


class _Whole:
    """Marks a parameter that takes the whole body."""


Body = Annotated[T, _Whole]
"""`body: Body[list[int]]` takes the whole body."""


class HTTPError(LeptonError):
    """Raise it in a handler to answer with that status.

    Args:
        status: 400 to 599.
        message: what happened.
        fix: what the caller can do.
        code: stable name of the error.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        fix: str = "",
        code: str = "error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or f"Status {status}", fix=fix)
        if not 400 <= status <= 599:
            raise ValueError(f"{status} is no status of an error; it is 400 to 599")
        self.status, self.code = status, code  # type: ignore[misc]
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The request as it came, for a handler that wants more than its fields."""

    method: str
    path: str
    """Without the query, not decoded."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case; of a header that came twice, both values, joined by commas."""
    body: bytes
    client: tuple[str, int]
    """Address and port."""
    path_params: Mapping[str, str] = field(default_factory=dict)
    seconds_left: float = 0.0
    """Until its deadline, when it reached the handler."""

    @property
    def user(self) -> str:
        """The user of the platform who asks, as the front has found; empty off the platform, where nobody is asked who
        he is, and for `is_public` handlers."""
        return unquote(self.headers.get("x-lepton-user", ""))


@dataclass(slots=True)
class Response:
    """An answer that is not JSON, or not 200.

    Args:
        content: bytes and text go out as they are, anything else as JSON; an iterator streams.
        media_type: its Content-Type; empty: by the content.
    """

    content: Any = b""
    status: int = 200
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class FileResponse(Response):
    """A file's content, whole or the part that the client asks for; its type is guessed by its name.

    Args:
        filename: what the client shall call it; empty: as it is called here.
        is_inline: it is to be shown, not saved.
        headers: further ones.

    Raises:
        HTTPError: there is no such file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        media_type: str = "",
        status: int = 200,
        filename: str = "",
        is_inline: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise HTTPError(404, f"There is no file {self.path.name!r}", code="not_found")
        self.filename = filename or self.path.name
        self.is_inline = is_inline
        guessed, coding = mimetypes.guess_type(self.filename)
        kind = media_type or CODED.get(coding or "", guessed) or "application/octet-stream"
        super().__init__(b"", status, kind, headers or {})


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came in a form, or as base64 in JSON. Annotate a parameter with it."""

    content: bytes
    filename: str = ""
    media_type: str = "application/octet-stream"

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, make: Any) -> Any:
        return import_module("lepton.serve.annotations").upload_schema(make)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How a handler wants to be reached."""

    path: str
    methods: tuple[str, ...]
    batch: int
    is_repeatable: bool
    timeout_s: float = 0.0
    is_public: bool = False
    sse: bool = True
    is_hidden: bool = False


class Options(TypedDict, total=False):
    """Further wishes of a handler.

    timeout_s: instead of the endpoint's deadline.
    is_public: needs no token.
    is_repeatable: whether a request may be tried again on another replica although one that died may have begun it;
        by default only GET, and batches.
    sse: what a generator yields goes out as server-sent events; False: as plain chunks.
    is_hidden: leave it out of the documentation.
    """

    timeout_s: float
    is_public: bool
    is_repeatable: bool
    sse: bool
    is_hidden: bool


@overload
def handler(path: F) -> F: ...
@overload
def handler(
    path: str = "", *, method: str | Sequence[str] = "POST", batch: int = 0, **options: Unpack[Options]
) -> Callable[[F], F]: ...


def handler(path: Any = "", *, method: str | Sequence[str] = "POST", batch: int = 0, **options: Unpack[Options]) -> Any:
    """Make a method answer requests.

    Args:
        path: where; empty: `/` and the method's name. `{name}` is a parameter, `{name:path}` one that may hold slashes.
        method: one of GET, POST, PUT, PATCH, DELETE, or several.
        batch: most requests that one call computes; the method then takes a list for each parameter and returns a
            list of as many answers. 0: one request a call.
        options: see `Options`.

    Raises:
        InvalidError: no such method of HTTP, or a number that cannot be.
    """
    if callable(path):
        return handler()(path)
    methods = (method,) if isinstance(method, str) else tuple(method)
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise InvalidError(f"{unknown or 'Nothing'} is no method of HTTP", fix=f"Use {', '.join(METHODS)}.")
    if batch < 0 or options.get("timeout_s", 0.0) < 0:
        raise InvalidError("batch and timeout_s cannot be negative", fix="Leave them out, or give more than 0.")

    def mark(function: F) -> F:
        place = path if path.startswith("/") else f"/{path or function.__name__}"
        is_repeatable = options.get("is_repeatable", methods == ("GET",) or batch > 0)
        plain: dict[str, Any] = {**options, "is_repeatable": is_repeatable}
        setattr(function, MARK, Wish(path=place, methods=methods, batch=batch, **plain))
        return function

    return mark


class Service:
    """Subclass it; see the module's head. Class attributes are what the platform must know before it starts one: it
    reads them from the file, so they are plain values, or made of such (`memory = 300 << 20`)."""

    replicas: int = 1
    cpus: float = 0.5
    """Of each replica."""
    gpus: float = 0.0
    memory: str | int = ""
    """Most that a replica may use, e.g. `2 GiB` or its bytes; empty: no limit."""
    concurrency: int = 0
    """Requests that one replica works on at a time. 0: as fits its handlers - one after the other if all are plain
    functions, 256 if some are async. From 2 on, plain functions run in that many threads."""
    requirements: Sequence[str] = ()
    """What it imports beyond Lepton, as pip's requirements: `("scikit-learn>=1.5",)`. Nothing is installed: a replica
    that lacks one of them does not start, and says what to install."""
    cors: Cors | None = None
    """Which pages of other origins a browser lets read its answers; None: none, or as what it mounts says."""
    preload: Sequence[str] = ()
    """Modules that every replica imports anyway: they are loaded once and shared, so a new replica starts at once."""
    files: Sequence[str] = ()
    """Further files or folders that travel with the code, relative to it."""

    def init(self) -> Any:
        """Get ready: load the model. Once in each replica; may be async; what it raises makes the endpoint fail."""

    def close(self) -> Any:
        """Let go of what `init` opened; called when the replica is asked to end."""

    def is_healthy(self) -> bool:
        """False: this replica is broken and shall be replaced. Asked every few seconds."""
        return True

    def mounts(self) -> Mapping[str, Any]:
        """Path -> an ASGI or WSGI application, a Gradio app, or a folder of static files. Called after `init`."""
        return {}

    def models(self) -> Mapping[str, Any]:
        """Name -> a model that the OpenAI API shall offer: an object, perhaps the service itself, that has `chat`,
        `complete` or `embed` as `lepton.serve.llm.runtime.Model` describes them. Called after `init`."""
        return {}

    def background(self, work: Callable[..., Any], *args: Any) -> None:
        """Run `work(*args)` after the answer has been given: a coroutine function in the loop, others in a thread."""
        raise RuntimeError("There is no replica to run it: call it from a handler")
