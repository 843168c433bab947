"""Open what an entry names. A user's file is imported with its folder first on the path."""

import importlib.util
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from lepton.core.errors import ConfigError
from lepton.serve.entries import PROGRAMS, split_entry
from lepton.serve.program import Program
from lepton.serve.service import Service

Opener = Callable[[Path, str], Program]
MODULE = "lepton_service"
"""What the user's file is called as a module, unless its own name is free."""


def open_entry(folder: Path, entry: str) -> Program:
    """The program that an entry names; `folder` holds the code.

    Raises:
        ConfigError: there is none.
        Exception: whatever the user's code raises when it is imported.
    """
    kind, what = split_entry(entry)
    module, _, name = PROGRAMS[kind].partition(":")
    return cast(Opener, getattr(import_module(module), name))(folder, what)


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
    return _class_in(path, name)()


def _class_in(path: Path, name: str) -> type[Service]:
    module_name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else MODULE
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, type) or not issubclass(found, Service):
            raise ConfigError(f"{path.name} has no service {name}", fix="Name a subclass of lepton.serve.Service.")
        return found
    own = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Service) and kind.__module__ == module_name
    ]
    if len(own) != 1:
        names = ", ".join(kind.__name__ for kind in own)
        raise ConfigError(
            f"{path.name} has {len(own)} services" + (f": {names}" if own else ""),
            fix=f"Name one: {path.name}:{own[0].__name__}" if own else "Subclass lepton.serve.Service in it.",
        )
    return own[0]
