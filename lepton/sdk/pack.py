"""Pickle a call so that it can run elsewhere: with the user's own modules, and the source text its tracebacks show."""

import linecache
import sys
import sysconfig
from collections import ChainMap
from collections.abc import Callable, Mapping
from io import BytesIO
from operator import methodcaller
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar

import cloudpickle

from lepton.core.errors import InvalidError

DEEPEST = 4000
"""Calls within calls while pickling: functions that name functions that name others go deep."""
LONGEST_SOURCE = 1 << 20
"""Characters of a file that goes along; longer ones are no program that somebody wrote."""


def pack(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """Pickle a call: `{call, sources}`, where `call` is itself a pickle of `{function, args, kwargs}`.

    The user's own modules go along by value, as the worker may not have them; so does the text of the files that the
    functions came from, notebook cells too, as the worker may not have those either.

    Raises:
        InvalidError: something in it cannot be pickled.
    """
    known = cloudpickle.list_registry_pickle_by_value()
    own = [module for module in list(sys.modules.values()) if is_users(module) and module.__name__ not in known]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        call = dump({"function": function, "args": args, "kwargs": dict(kwargs)})
    except Exception as fault:  # pickling runs any code
        name = getattr(function, "__name__", "the function")
        raise InvalidError(
            f"{name!r} or an argument cannot be sent: {fault}",
            fix="Open files, connections and locks inside the function.",
        ) from fault
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)
    return bytes(cloudpickle.dumps({"call": call, "sources": sources(call)}))


def dump(thing: Any) -> bytes:
    """The pickle of a thing."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, DEEPEST))
    try:
        with BytesIO() as file:
            Pickler(file).dump(thing)
            return file.getvalue()
    finally:
        sys.setrecursionlimit(limit)


class Anonymous:
    """Code as cloudpickle sends it: without the name of its file."""

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def __reduce__(self) -> Any:
        return cloudpickle.Pickler.dispatch_table[CodeType](self._code)


def named(code: CodeType) -> Any:
    """How to pickle code so that a traceback names its file."""
    return methodcaller("replace", co_filename=code.co_filename), (Anonymous(code),)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's, for code that remembers its file."""

    dispatch_table: ClassVar[Any] = ChainMap({CodeType: named}, cloudpickle.Pickler.dispatch_table)


def sources(call: bytes) -> dict[str, str]:
    """File name -> text, of every file whose name is in the pickle: code remembers where it came from."""
    names = {*linecache.cache, *(getattr(module, "__file__", None) for module in list(sys.modules.values()))}
    named = sorted(name for name in names if isinstance(name, str) and name.encode(errors="replace") in call)
    texts = {name: "".join(linecache.getlines(name)) for name in named if not is_installed(name)}
    return {name: text for name, text in texts.items() if 0 < len(text) <= LONGEST_SOURCE}


def is_users(module: ModuleType) -> bool:
    """Whether a module is the user's own: neither built in nor installed."""
    file, name = getattr(module, "__file__", None), getattr(module, "__name__", "__main__")
    if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] == "lepton":
        return False
    return not is_installed(file)


def is_installed(file: str) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    return any(Path(file).is_relative_to(path) for path in sysconfig.get_paths().values())
