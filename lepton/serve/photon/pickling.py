"""A photon as a pickle that a process without its source file can load."""

import dis
import inspect
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType
from typing import Any

import cloudpickle

from lepton.serve.photon import alias

FIXED = ("__file__", "__path__")


def dump(photon: Any) -> bytes:
    """The pickle; warns of what will not be true where it is loaded."""
    alias.install()
    for name in alias.TABLE:
        import_module(name)  # a class of ours goes by name into the pickle only if that name is there
    for function in _functions(type(photon)):
        names = {each.argval for each in dis.get_instructions(function) if each.opname.startswith("LOAD_GLOBAL")}
        for name in names.intersection(FIXED):
            warnings.warn(
                f"{function.__qualname__} uses the global variable {name!r}; its value is fixed now,"
                " where the photon is made, and may be wrong where it runs",
                stacklevel=3,
            )
    return cloudpickle.dumps(photon, protocol=4)  # type: ignore[no-any-return]


def _functions(kind: type) -> Iterator[FunctionType]:
    for base in kind.__mro__:
        if base.__module__.startswith("leptonai.photon"):
            continue
        for value in vars(base).values():
            function = inspect.unwrap(value) if callable(value) else None
            if isinstance(function, FunctionType):
                yield function


def source_of(kind: type) -> str | None:
    """The file that a class was read from."""
    try:
        return inspect.getfile(kind)
    except (TypeError, OSError):
        return None
