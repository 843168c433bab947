"""Make `leptonai.photon` mean our Photon in this process, whether or not the vendor's package is installed.

What an installed package has beside Photon stays its own; nothing is written under it. Modules under the vendor's
names hold the same objects as ours, so that a pickle made by either is read by the other.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

OURS = "lepton.serve.photon."
PACKAGE = "leptonai"
CONFIG = "leptonai.config"
TABLE: Mapping[str, tuple[str, ...]] = {
    "leptonai.photon": ("surface",),
    "leptonai.photon.photon": ("surface", "marks", "photon"),
    "leptonai.photon.base": ("archive", "database", "photon"),
    "leptonai.photon.batcher": ("batcher",),
    "leptonai.photon.constants": ("config",),
    "leptonai.photon.download": ("checkout",),
    "leptonai.photon.util": ("models",),
    "leptonai.photon.worker": ("surface", "worker"),
    "leptonai.photon.types": ("files", "images", "pickled"),
    "leptonai.photon.types.file": ("files",),
    "leptonai.photon.types.fileparam": ("files",),
    "leptonai.photon.types.pickled": ("pickled",),
    "leptonai.photon.types.responses": ("images",),
    "leptonai.photon.types.util": ("files", "images"),
    "leptonai.photon.prebuilt": ("surface", "echo"),
    "leptonai.photon.prebuilt.echo": ("echo",),
    "leptonai.photon.hf": ("huggingface",),
    "leptonai.photon.hf.hf": ("huggingface",),
    "leptonai.photon.vllm": ("vllm",),
    "leptonai.photon.vllm.vllm": ("vllm",),
}
"""The vendor's name -> our modules whose names it has; of equal names the last counts."""
FALLBACK: Mapping[str, tuple[str, ...]] = {"leptonai.util": ("tools",), "leptonai.registry": ("archive",)}
"""Only if no package of the vendor is installed."""


def install(extra: Mapping[str, tuple[str, ...]] | None = None) -> None:
    """From now on the names are ours in this process; a second call adds `extra` only.

    Args:
        extra: further names -> modules with their full names.
    """
    found = next((finder for finder in sys.meta_path if isinstance(finder, Finder)), None)
    if found is None:
        found = Finder()
        sys.meta_path.insert(0, found)
    found.extra.update(extra or {})


class Finder(MetaPathFinder):
    """Finds the vendor's names before anything else does."""

    def __init__(self) -> None:
        self.extra: dict[str, tuple[str, ...]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """How to load one of the names; None for any other."""
        if name.partition(".")[0] != PACKAGE:
            return None
        if name in self.extra:
            return _spec(name, Facade(self.extra[name]))
        if name in TABLE:
            return _spec(name, Facade([OURS + part for part in TABLE[name]]))
        if name == PACKAGE:
            return self._package()
        installed = PathFinder.find_spec(name, path)
        if name == CONFIG:
            return _spec(name, Facade([OURS + "config"], installed))
        if installed is None and name in FALLBACK:
            return _spec(name, Facade([OURS + part for part in FALLBACK[name]]))
        return None

    def _package(self) -> ModuleSpec:
        installed = PathFinder.find_spec(PACKAGE)
        if installed is None or installed.loader is None:
            return _spec(PACKAGE, Root(None), is_package=True)
        installed.loader = Root(installed.loader)
        return installed


def _spec(name: str, loader: Loader, *, is_package: bool | None = None) -> ModuleSpec:
    return ModuleSpec(name, loader, is_package=name in PACKAGES if is_package is None else is_package)


PACKAGES = {name.rpartition(".")[0] for name in TABLE}


class Facade(Loader):
    """Fills a module with the names of ours. What the installed one has beside stays, its constants do anyway."""

    def __init__(self, modules: Sequence[str], installed: ModuleSpec | None = None) -> None:
        self._modules = modules
        self._installed = installed

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill it."""
        if self._installed is not None and self._installed.loader is not None:
            self._installed.loader.exec_module(module)
        kept = {key for key, value in vars(module).items() if not callable(value)}
        for name in self._modules:
            real = import_module(name)
            module.__doc__ = real.__doc__
            ours = {key: value for key, value in vars(real).items() if not key.startswith("__") and key not in kept}
            vars(module).update(ours)


class Root(Loader):
    """The package itself: the installed one, or else one that holds nothing but what is asked of it."""

    def __init__(self, installed: Loader | None) -> None:
        self._installed = installed

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the installed one does."""
        return self._installed.create_module(spec) if self._installed is not None else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the installed one, then add `Photon` should it have none."""
        if self._installed is not None:
            self._installed.exec_module(module)
        else:
            module.__doc__ = "Photon programs on Lepton; the vendor's package is not installed."
        other = getattr(module, "__getattr__", None)

        def find(name: str) -> Any:
            if name == "Photon":
                return import_module(OURS + "photon").Photon
            if other is not None:
                return other(name)
            if name in ("Client", "Remote", "KV", "Queue") and self._installed is None:
                raise ImportError(f"leptonai.{name} is the vendor's: add leptonai to what the program requires")
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")

        module.__getattr__ = find  # type: ignore[method-assign]
