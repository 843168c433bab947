"""What goes along when a service is deployed: its file, the Python files beside it, and what its class names.

The class is read, never run: see `declared`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from os.path import abspath
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from lepton.core.errors import InvalidError
from lepton.sdk.declared import DEEPEST, Kind, Unread, attributes, dotted
from lepton.sdk.declared import Source as Text

SKIPPED = frozenset((".git", "__pycache__", "node_modules", ".venv", "venv", ".mypy_cache", ".pytest_cache"))
MOST_FILES = 2000
MOST_BYTES = 64 << 20
"""Of Python files that nobody named; what a class names in `files` may be larger."""
SERVED = ("Service", "Photon", "Worker")
"""What the names of classes end with that one subclasses to be served."""
KINDS_OF_CODE = ("", "photon")
DECLARED = ("replicas", "cpus", "gpus", "memory", "preload", "requirements", "files")
"""What the class of a service tells the platform."""
OF_PHOTONS = ("extra_files",)
GATHERED = ("requirement_dependency",)
"""Of a photon: those of its bases, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files to upload, and how they are served."""

    entry: str
    """As the endpoint's spec has it."""
    files: tuple[tuple[str, Path], ...]
    """(path in the version, file)."""
    wishes: dict[str, Any] = field(default_factory=dict)
    """Attributes of the class that are for the platform; an `Unread` takes the place of what cannot be read."""


def is_source(target: str) -> bool:
    """Whether a target names files to serve rather than a model version: `file.py[:Class]` or `kind:path[?options]`."""
    kind, colon, _ = target.partition(":")
    return kind.endswith(".py") or (bool(colon) and kind.isidentifier())


def read_source(target: str) -> Source:
    """What to upload for `file.py[:Class]`, or `kind:path[?options]`; `?class=file.py:Class` names code beside it.

    Raises:
        InvalidError: a file is missing, the class is not there, or it is too much.
    """
    kind, colon, rest = target.partition(":")
    if not colon or kind.endswith(".py"):
        kind, rest = "", target
    place, mark, name = rest.partition(":" if kind in KINDS_OF_CODE else "?")
    path = Path(place)
    if not place or not path.exists():
        raise InvalidError(f"There is no file {place!r}", fix="Give the path of a file that is there.")
    prefix = f"{kind}:" if kind else ""
    if kind not in KINDS_OF_CODE:
        path = Path(abspath(path))  # `.` has a name and a parent then
        files = {**dict(_tree(path, path.parent)), **_code_of(name, path.parent)}
        return Source(entry=f"{prefix}{path.name}{mark}{name}", files=tuple(sorted(files.items())))
    if path.suffix == ".photon":
        return Source(entry=f"{prefix}{path.name}", files=((path.name, path),))
    wishes = read_class(path, name, kind)
    files = dict(_python_beside(path))
    for extra in (*_paths(wishes, "files"), *_paths(wishes, "extra_files")):
        found = path.parent / extra
        if not found.exists():
            raise InvalidError(f"{path.name} names the file {extra!r}, which is not there", fix="Mend `files`.")
        files.update(_tree(found, path.parent))
    entry = f"{prefix}{path.name}" + (f":{name}" if name else "")
    return Source(entry=entry, files=tuple(sorted(files.items())), wishes=wishes)


def _code_of(options: str, folder: Path) -> dict[str, Path]:
    """The Python files that go along with a model whose options name a class."""
    place = dict(parse_qsl(options)).get("class", "").partition(":")[0]
    if not place:
        return {}
    if not (folder / place).is_file():
        raise InvalidError(f"There is no file {folder / place}", fix="Name a Python file beside the model.")
    return {str(file.relative_to(folder)): file for _, file in _python_beside(folder / place)}


def _paths(wishes: dict[str, Any], name: str) -> tuple[str, ...]:
    """The paths that an attribute names: a list of them, or a dict of path at run time -> path."""
    wish = wishes.get(name) or ()
    if isinstance(wish, Unread):
        raise wish.fault(name, fix=f'Write the paths as they are: {name} = ["part.txt"].')
    found = list(wish.values()) if isinstance(wish, dict) else wish
    if isinstance(found, str) or not all(isinstance(path, str) for path in found):
        raise InvalidError(f"`{name}` of the class is no list of paths", fix=f'Write e.g. {name} = ["part.txt"].')
    return tuple(found)


def read_class(path: Path, name: str, kind: str = "") -> dict[str, Any]:
    """What the class called `name`, or the last service or photon in the file, declares, its bases with it.

    Args:
        kind: `photon`, or empty for a service.

    Raises:
        InvalidError: the file is no Python, or has no such class.
    """
    text = Text(path, path.parent)
    served = [found for found in text.classes if _is_served(Kind(text, text.classes[found]))]
    wanted = name or (served or list(text.classes) or [""])[-1]
    found = text.find(wanted)
    if found is None:
        raise InvalidError(f"{path.name} has no class {name}".rstrip(), fix="Give file.py:Class.")
    if kind == "photon":
        told = attributes(found, (*DECLARED, *OF_PHOTONS), GATHERED)
        return {key: value for key, value in told.items() if key in OF_PHOTONS + GATHERED or _is_wish(value)}
    return attributes(found, DECLARED)


def _is_wish(value: Any) -> bool:
    """Whether a value of a name that means nothing to the vendor's class may be meant for the platform."""
    return not isinstance(value, Unread)


def _is_served(kind: Kind, depth: int = 0) -> bool:
    """Whether a class is a service or a photon, or one of its bases is."""
    for base in map(dotted, kind.node.bases):
        if kind.home.origin(base).endswith(SERVED):
            return True
        found = kind.home.find(base)
        if found is not None and depth < DEEPEST and _is_served(found, depth + 1):
            return True
    return False


def _python_beside(path: Path) -> Iterator[tuple[str, Path]]:
    """The file itself and the other Python files of its folder, below it too."""
    count = size = 0
    yield path.name, path
    for found in _walk(path.parent):
        if found.suffix != ".py" or found == path:
            continue
        count, size = count + 1, size + found.stat().st_size
        if count > MOST_FILES or size > MOST_BYTES:
            raise InvalidError(
                f"The folder of {path.name} holds over {MOST_FILES} Python files or {MOST_BYTES >> 20} MiB",
                fix="Put the service into a folder of its own.",
            )
        yield str(found.relative_to(path.parent)), found


def _tree(path: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """A file, or all files below a folder, by their paths from `root`."""
    for found in [path] if path.is_file() else _walk(path):
        try:
            yield str(found.resolve().relative_to(root.resolve())), found
        except ValueError:
            raise InvalidError(f"{found} lies outside {root}", fix="Put it beside the service.") from None


def _walk(folder: Path) -> Iterator[Path]:
    for found in sorted(folder.iterdir()):
        if found.is_dir() and (found.name in SKIPPED or found.is_symlink() or _is_data(found)):
            continue
        if found.is_dir():
            yield from _walk(found)
        elif found.is_file():
            yield found


def _is_data(folder: Path) -> bool:
    """Whether a folder is a platform's data directory, or a virtual environment."""
    return (folder / "pyvenv.cfg").exists() or ((folder / "key").exists() and (folder / "token").exists())
