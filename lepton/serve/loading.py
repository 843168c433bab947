"""Open what an entry names. A user's file is imported with its folder first on the path."""

import importlib.util
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar, cast

from lepton.core.errors import ConfigError
from lepton.serve.entries import PROGRAMS, VARIABLES, Kind, read_what, split_entry
from lepton.serve.program import Program
from lepton.serve.service import Service

Opener = Callable[[Path, str], Program]
T = TypeVar("T")
MODULE = "lepton_service"
"""What the user's file is called as a module, unless its own name is free."""


def open_entry(folder: Path, entry: str) -> Program:
    """The program that an entry names; `folder` holds the code.

    Raises:
        ConfigError: there is none, or what its kind needs is not installed.
        Exception: whatever the user's code raises when it is imported.
    """
    kind, what = split_entry(entry)
    return _opener(kind, PROGRAMS[kind])(folder, what)


def _opener(name: str, kind: Kind) -> Opener:
    module, _, function = kind.opener.partition(":")
    if VARIABLES in kind.preload:
        import_module(VARIABLES)
    try:
        return cast(Opener, getattr(import_module(module), function))
    except ModuleNotFoundError as fault:
        if fault.name is None or fault.name.startswith("lepton"):
            raise
        raise ConfigError(
            f"To serve {name} the package {fault.name} is needed, and is not installed",
            fix=f"pip install 'lepton-platform[{kind.extra}]' where the endpoint runs.",
        ) from fault


def find_named(folder: Path, what: str) -> tuple[Path, dict[str, str]]:
    """The file or folder that an entry names in the code in `folder`, and the entry's options.

    Raises:
        ConfigError: there is none, or it lies outside.
    """
    name, options = read_what(what)
    return find_inside(folder, name), options


def find_inside(folder: Path, name: str) -> Path:
    """The file or folder of that name in `folder`.

    Raises:
        ConfigError: there is none, or it lies outside.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.exists():
        raise ConfigError(f"There is no file {name!r} among those that are served", fix="Check the name.")
    return path


def load_service(folder: Path, entry: str) -> Service:
    """An instance of the class that `entry` names, or of the only one in its file.

    Raises:
        ConfigError: the file or class is missing, or there are several to choose from.
        Exception: whatever the file raises when it is imported, or the class when it is made.
    """
    file, _, name = entry.partition(":")
    path = folder / file
    if not path.is_file():
        raise ConfigError(f"There is no file {path}", fix="Check the name.")
    return load_class(path, name, Service, "lepton.serve.Service")()


def load_class(path: Path, name: str, base: type[T], known_as: str) -> type[T]:
    """The subclass of `base` called `name` in a file, or the only one that it defines.

    Raises:
        ConfigError: it is missing, or there are several to choose from.
        Exception: whatever the file raises when it is imported.
    """
    module = load_module(path)
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, type) or not issubclass(found, base):
            raise ConfigError(
                f"{path.name} has no subclass {name} of {known_as}", fix=f"Name a subclass of {known_as}."
            )
        return found
    own = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__
    ]
    if len(own) != 1:
        names = ", ".join(kind.__name__ for kind in own)
        raise ConfigError(
            f"{path.name} has {len(own)} subclasses of {known_as}" + (f": {names}" if own else ""),
            fix=f"Name one: {path.name}:{own[0].__name__}" if own else f"Subclass {known_as} in it.",
        )
    return own[0]


def load_module(path: Path) -> ModuleType:
    """A user's file as a module, with its folder first on the path.

    Raises:
        Exception: whatever it raises when it is imported.
    """
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else MODULE
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
