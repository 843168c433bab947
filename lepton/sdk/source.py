"""What goes along when a service is deployed: its file, the Python files beside it, and what its class names.

The class is read, never run: its attributes `replicas`, `cpus`, `memory`, `preload` and `files` must be plain values.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from os.path import abspath
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from lepton.core.errors import InvalidError

SKIPPED = frozenset((".git", "__pycache__", "node_modules", ".venv", "venv", ".mypy_cache", ".pytest_cache"))
MOST_FILES = 2000
MOST_BYTES = 64 << 20
"""Of Python files that nobody named; what a class names in `files` may be larger."""
SERVED = ("Service", "Photon", "Worker")
"""What the names of classes end with that one subclasses to be served."""
KINDS_OF_CODE = ("", "photon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files to upload, and how they are served."""

    entry: str
    """As the endpoint's spec has it."""
    files: tuple[tuple[str, Path], ...]
    """(path in the version, file)."""
    wishes: dict[str, Any] = field(default_factory=dict)
    """Attributes of the class, as far as they are plain values."""


def is_source(target: str) -> bool:
    """Whether a target names files to serve rather than a model version: `file.py[:Class]` or `kind:path[?options]`."""
    kind, colon, rest = target.partition(":")
    path = rest.partition("?")[0].partition(":")[0]
    return kind.endswith(".py") or (bool(colon) and kind.isidentifier() and Path(path).exists())


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
    if not path.exists():
        raise InvalidError(f"There is no file {place}", fix="Give the path of a file that is there.")
    prefix = f"{kind}:" if kind else ""
    if kind not in KINDS_OF_CODE:
        path = Path(abspath(path))  # `.` has a name and a parent then
        files = {**dict(_tree(path, path.parent)), **_code_of(name, path.parent)}
        return Source(entry=f"{prefix}{path.name}{mark}{name}", files=tuple(sorted(files.items())))
    if path.suffix == ".photon":
        return Source(entry=f"{prefix}{path.name}", files=((path.name, path),))
    wishes = read_class(path, name)
    files = dict(_python_beside(path))
    for extra in (*wishes.get("files", ()), *_extra_files(wishes)):
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


def _extra_files(wishes: dict[str, Any]) -> tuple[str, ...]:
    """The paths that a photon's `extra_files` names: a list of them, or a dict of path at run time -> path."""
    wish = wishes.get("extra_files", ())
    return tuple(map(str, wish.values() if isinstance(wish, dict) else wish))


def read_class(path: Path, name: str) -> dict[str, Any]:
    """The plain attributes of the class called `name`, or of the last service or photon in the file, those of its
    bases in the same file among them.

    Raises:
        InvalidError: the file is no Python, or has no such class.
    """
    try:
        tree = ast.parse(path.read_text(), str(path))
    except (OSError, SyntaxError, ValueError) as fault:
        raise InvalidError(f"{path} cannot be read as Python: {fault}", fix="Mend the file.") from None
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    named = [node for node in classes.values() if node.name == name or (not name and _is_served(node, classes))]
    if not named:
        named = [] if name else list(classes.values())
    if not named:
        raise InvalidError(f"{path.name} has no class {name}".rstrip(), fix="Give file.py:Class.")
    return _attributes(named[-1], classes)


def _is_served(kind: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    """Whether a class is a service or a photon, or one of its bases in the same file is."""
    others = {name: node for name, node in classes.items() if node is not kind}  # no circle
    for base in kind.bases:
        name = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
        if name.endswith(SERVED) or (name in others and _is_served(others[name], others)):
            return True
    return False


def _attributes(kind: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    others = {name: node for name, node in classes.items() if node is not kind}  # no circle
    for base in reversed(kind.bases):
        if isinstance(base, ast.Name) and base.id in others:
            found |= _attributes(others[base.id], others)
    for node in kind.body:
        for key, value in _assigned(node):
            try:
                found[key] = ast.literal_eval(value)
            except ValueError:
                found.pop(key, None)  # worked out when the class is made: then it is no wish of the kind read here
    return found


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


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
