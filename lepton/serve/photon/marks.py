"""The decorator `Photon.handler`, and which functions of a class it has marked."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, overload

from lepton.serve.photon.config import PHOTON_FORBIDDEN_PARAMETER_NAMES

KEY = "__photon_handler_params__"
"""Attribute of a marked function: path, method, the function itself, options. Pickles of the vendor's have it too."""
F = TypeVar("F", bound=Callable[..., Any])


class Mark(NamedTuple):
    """One route of a photon."""

    path: str
    """Without slashes at its ends."""
    method: str
    function: Callable[..., Any]
    options: Mapping[str, Any]


@overload
def handler(path: F) -> F: ...
@overload
def handler(path: str | None = None, method: str = "POST", **options: Any) -> Callable[[F], F]: ...


def handler(path: Any = None, method: str = "POST", **options: Any) -> Any:
    """Let a method of a photon answer requests.

    Args:
        path: default: the method's name.
        method: POST or GET.
        options: example, examples, mount, use_router_if_possible, max_batch_size with max_wait_time, use_raw_args,
            cancel_on_disconnect, include_in_schema.

    Raises:
        ValueError: options that cannot be, or not together.
    """
    _check(options)
    if callable(path) and not options:
        return handler()(path)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        place = function.__name__ if path is None else path

        @functools.wraps(function)
        def marked(self: Any, *args: Any, **kwargs: Any) -> Any:
            self._call_init_once()
            return function(self, *args, **kwargs)

        setattr(marked, KEY, (place.strip("/"), method, function, options))
        return marked

    return mark


def _check(options: Mapping[str, Any]) -> None:
    unknown = PHOTON_FORBIDDEN_PARAMETER_NAMES & options.keys()
    if unknown:
        raise ValueError(f"A handler cannot have the option {sorted(unknown)[0]!r}")
    size, wait = options.get("max_batch_size"), options.get("max_wait_time")
    if (size is None) != (wait is None):
        raise ValueError(f"Give both max_batch_size and max_wait_time, or neither; got {size} and {wait}")
    if options.get("mount") and size is not None:
        raise ValueError("What is mounted cannot be batched")


def marks_of(kind: type) -> Iterator[Mark]:
    """The routes of a class, those of its bases first.

    A method that a subclass defines anew keeps the route of the one it replaces, unless it has a mark of its own.
    """
    found: dict[tuple[str, str], Mark] = {}
    for base in reversed(kind.__mro__):
        for name, value in vars(base).items():
            params = getattr(value, KEY, None) if callable(value) else None
            if params is not None:
                mark = Mark(*params)
                found[mark.path, mark.method.upper()] = mark._replace(function=_latest(kind, base, name, mark))
    yield from found.values()


def _latest(kind: type, base: type, name: str, mark: Mark) -> Callable[..., Any]:
    for child in kind.__mro__:
        if child is base:
            break
        value = vars(child).get(name)
        if callable(value) and getattr(value, KEY, None) is None:
            return value  # type: ignore[no-any-return]
    return mark.function
