"""`.photon` files: zip files with `metadata.json`, and for programs in Python `obj.pkl`, `py.py` and further files."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

METADATA = "metadata.json"


class Registry:
    """Keys and their values; a later value replaces an earlier one."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def register(self, keys: Any, value: Any) -> None:
        """Give one key, or each of several, a value."""
        for key in [keys] if isinstance(keys, str) else keys:
            self._found[key] = value

    def get(self, key: str) -> Any:
        """Its value; None if it has none."""
        return self._found.get(key)

    def keys(self) -> Any:
        """All keys."""
        return self._found.keys()


schema_registry = Registry()
"""First word of a model string -> function of name and model that makes the photon."""
type_str_registry = Registry()
"""`type` of the metadata -> the same, for photons that are stored without a pickle."""


def write(path: str, metadata: Mapping[str, Any], files: Mapping[str, str | bytes]) -> None:
    """A `.photon` file without a pickle.

    Args:
        files: name in the archive -> content, or path of a file.
    """
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(METADATA, json.dumps({**metadata, "extra_files": list(files)}))
        for name, content in files.items():
            if isinstance(content, str) and os.path.exists(content):
                content = Path(content).read_bytes()
            file.writestr(name, content)


def read_metadata(path: str) -> dict[str, Any]:
    """What the file says of its photon; runs nothing of it.

    Raises:
        ValueError: it is no photon.
    """
    try:
        with zipfile.ZipFile(path) as file:
            found: dict[str, Any] = json.loads(file.read(METADATA))
    except (zipfile.BadZipFile, KeyError, ValueError) as fault:
        raise ValueError(f"{os.path.basename(path)} is no photon, or not all of one: {fault}") from fault
    return found


def unpack(path: str, folder: Path) -> None:
    """Lay its extra files into a folder.

    Raises:
        ValueError: one would lie outside it.
    """
    with zipfile.ZipFile(path) as file:
        for name in json.loads(file.read(METADATA)).get("extra_files", ()):
            place = folder / name
            if not place.resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"{name!r} in {path} lies outside the folder of the photon")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read(name))


def read_member(path: str, name: str) -> bytes:
    """One file of it."""
    with zipfile.ZipFile(path) as file:
        return file.read(name)


def add_member(path: str, name: str, content: bytes) -> None:
    """Add one file to it."""
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, content)


def extra_files_of(wish: Any) -> dict[str, str | bytes]:
    """Name at run time -> path here, from the attribute `extra_files` of a photon.

    Raises:
        ValueError: one is missing, or the attribute is neither a list nor a dict.
    """
    if isinstance(wish, list | tuple):
        pairs = [(path, path) for path in wish]
    elif isinstance(wish, dict):
        pairs = list(wish.items())
    else:
        raise ValueError(f"extra_files is a list or a dict, not {wish!r}")
    found: dict[str, str | bytes] = {}
    for name, path in pairs:
        if not os.path.exists(path):
            raise ValueError(f"There is no file {path}, which extra_files names")
        if not os.path.isdir(path):
            found[name] = path
            continue
        for root, _, files in os.walk(path):
            for each in files:
                below = os.path.relpath(os.path.join(root, each), path)
                found[os.path.join(name, below)] = os.path.join(root, each)
    return found


Maker = Callable[[str, str], Any]
