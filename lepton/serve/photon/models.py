"""Model strings: `py:file.py[:Class]`, `py:URL:path[:Class]`, `module.Class`, and the schemes of ready-made photons."""

import importlib
import importlib.util
import inspect
import os
import sys
from types import ModuleType
from typing import Any

import cloudpickle

from lepton.serve.photon.archive import schema_registry
from lepton.serve.photon.checkout import fetch_code_from_vcs
from lepton.serve.photon.photon import BasePhoton, Photon
from lepton.serve.photon.tools import check_photon_name, switch_cwd


def create(name: str, model: str) -> Any:
    """The photon that a model string describes.

    Raises:
        ValueError: the name cannot be, or the string describes none.
        Exception: whatever the program raises when it is imported.
    """
    check_photon_name(name)
    importlib.import_module("lepton.serve.photon.surface")  # whatever has a scheme of its own
    scheme = model.partition(":")[0]
    maker = schema_registry.get(scheme)
    return maker(name, model) if maker is not None else from_python(name, f"py:{model}")


def save(photon: BasePhoton, path: str | None = None) -> str:
    """Write a photon to a file, by default one in the cache folder; gives its path."""
    return photon.save(path)


def load(path: str) -> Any:
    """The photon of a file. Runs code of whoever made it."""
    return BasePhoton.load(path)


def load_metadata(path: str, unpack_extra_files: bool = False) -> dict[str, Any]:
    """What a file says of its photon; runs nothing of it."""
    return BasePhoton.load_metadata(path, unpack_extra_files)


def from_python(name: str, model: str) -> Any:
    """The photon of `py:[URL:]path[:Class]` or `py:module.Class`.

    Raises:
        ValueError: there is none.
    """
    text = model.partition(":")[2]
    head, _, last = text.rpartition(":")
    where, wanted = (head, last) if head and last.isidentifier() else (text, "")
    url, _, path = where.rpartition(":")
    with switch_cwd(fetch_code_from_vcs(url) if url else os.getcwd()):
        if os.path.exists(path):
            module = import_file(path)
            kind = _class_in(module, wanted, path)
            model = model if wanted else f"{model}:{kind.__name__}"
        else:
            module, kind = _by_name(path)
        cloudpickle.register_pickle_by_value(module)
        photon = kind(name=name, model=model)
    if url:
        photon.vcs_url = url
    return photon


def import_file(path: str) -> ModuleType:
    """A Python file as a module of its own name, unless another has that.

    Raises:
        ValueError: it is no Python file.
    """
    stem, ending = os.path.splitext(os.path.basename(path))
    place = os.path.abspath(path)
    other = sys.modules.get(stem)
    name = stem if other is None or getattr(other, "__file__", None) == place else f"photon_{stem}"
    spec = importlib.util.spec_from_file_location(name, place)
    if ending != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _class_in(module: ModuleType, name: str, path: str) -> Any:
    if name:
        found = getattr(module, name, None)
        if not inspect.isclass(found) or not issubclass(found, Photon):
            raise ValueError(f"{path} has no Photon called {name}")
        return found
    kinds = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Photon) and not kind.__module__.startswith("leptonai.")
    ]
    kinds = [kind for kind in dict.fromkeys(kinds)]
    if len(kinds) > 1:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{path} has multiple classes of Photon: {names}; name one, as {path}:{kinds[0].__name__}")
    if not kinds:
        raise ValueError(f"{path} has no class of Photon")
    return kinds[0]


def _by_name(path: str) -> tuple[ModuleType, Any]:
    head, _, last = path.rpartition(".")
    try:
        module = importlib.import_module(head) if head and not head.startswith(".") else None
    except ModuleNotFoundError:
        module = None
    kind = getattr(module, last, None)
    if module is None or not inspect.isclass(kind) or not issubclass(kind, Photon):
        raise ValueError(f"{path!r} is neither a file that is there nor a class of Photon that can be imported")
    return module, kind


schema_registry.register("py", from_python)
