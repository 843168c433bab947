"""What a class declares for the platform, read from its source: its code is not run, for it may need what is not here.

Read are plain values, what can be worked out of them (`300 << 20`), and names that stand for such in the file itself or
in a Python file beside it; of bases too, in the order in which Python looks at them. Of anything else it is known that
it cannot be read, and where it stands: an `Unread` takes the place of its value.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import add, and_, floordiv, invert, lshift, mod, mul, neg, not_, or_, pos, rshift, sub, truediv, xor
from pathlib import Path
from typing import Any

from lepton.core.errors import InvalidError

BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: add,
    ast.Sub: sub,
    ast.Mult: mul,
    ast.Div: truediv,
    ast.FloorDiv: floordiv,
    ast.Mod: mod,
    ast.LShift: lshift,
    ast.RShift: rshift,
    ast.BitOr: or_,
    ast.BitAnd: and_,
    ast.BitXor: xor,
    ast.Pow: pow,
}
UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: neg,
    ast.UAdd: pos,
    ast.Invert: invert,
    ast.Not: not_,
}
MOST_BITS = 4096
"""Of a number that is worked out, and most items of a sequence."""
SCOPES = ("locals", "globals", "vars")
"""What gives the names of a block as a dict."""
DEEPEST = 32
"""Names that stand for names."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A value that only running the code would tell."""

    file: str
    line: int
    why: str
    """What of it, in words: `calls a function`."""

    def fault(self, name: str, fix: str) -> InvalidError:
        """Why an attribute of that name cannot be taken."""
        return InvalidError(f"{self.file}:{self.line}: `{name}` cannot be read from the source: it {self.why}", fix=fix)


class _UnreadError(Exception):
    """Met while a value is worked out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Kind:
    """A class in a file."""

    home: "Source"
    node: ast.ClassDef

    @property
    def place(self) -> tuple[Path, int]:
        """Where it begins: no other begins there."""
        return self.home.path, self.node.lineno


class Source:
    """One Python file, read.

    Args:
        root: the folder that is first on the path when it runs.
        read: those that were read before, by their paths.

    Raises:
        InvalidError: it is no Python.
    """

    def __init__(self, path: Path, root: Path, read: "dict[Path, Source] | None" = None) -> None:
        self.path, self.root = path, root
        self._read = {} if read is None else read
        self._read[path] = self
        try:
            self.tree = ast.parse(path.read_text(), str(path))
        except (OSError, SyntaxError, ValueError) as fault:
            raise InvalidError(f"{path} cannot be read as Python: {fault}", fix="Mend the file.") from None

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        """Those that the file itself defines, the last of each name."""
        return {node.name: node for node in _statements(self.tree.body) if isinstance(node, ast.ClassDef)}

    @cached_property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Name here -> module and name there; the second is empty for a module itself."""
        found: dict[str, tuple[str, str]] = {}
        for node in _statements(self.tree.body):
            if isinstance(node, ast.ImportFrom):
                whole = self._absolute(node)
                found |= {alias.asname or alias.name: (whole, alias.name) for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {alias.asname or alias.name.partition(".")[0]: (alias.name, "") for alias in node.names}
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        folder = self.path.parents[node.level - 1]
        inside = folder.relative_to(self.root).parts if folder.is_relative_to(self.root) else ()
        return ".".join((*inside, *filter(None, [node.module])))

    def beside(self, module: str) -> "Source | None":
        """The module of that name, if it is one of the files that go along."""
        if not module:
            return None
        place = self.root.joinpath(*module.split("."))
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return self._read.get(path) or Source(path, self.root, self._read)
        return None

    def find(self, name: str, depth: int = 0) -> Kind | None:
        """The class that a name stands for here, in this file or one beside it."""
        first, dot, rest = name.partition(".")
        if not dot and first in self.classes:
            return Kind(self, self.classes[first])
        module, there = self.imports.get(first, ("", ""))
        if there and dot:
            module, there = f"{module}.{there}", ""
        if not there:
            prefix, _, there = rest.rpartition(".")
            module = prefix if prefix.startswith(f"{module}.") else module
        home = self.beside(module) if depth < DEEPEST else None
        return home.find(there, depth + 1) if home is not None and there else None

    def origin(self, name: str) -> str:
        """What a base is called where it comes from."""
        return self.imports.get(name, ("", ""))[1] or name.rpartition(".")[2]


def line_of(kind: Kind, below: tuple[tuple[Path, int], ...] = ()) -> list[Kind]:
    """A class and its bases, as far as their source is here, in the order in which Python looks for an attribute."""
    below = (*below, kind.place)  # no circle
    named = [kind.home.find(dotted(base)) for base in kind.node.bases]
    bases = [base for base in named if base is not None and base.place not in below]
    return [kind, *_merge([*[line_of(base, below) for base in bases], bases])]


def _merge(lines: Sequence[Sequence[Kind]]) -> list[Kind]:
    """As Python merges them (C3)."""
    found: list[Kind] = []
    left = [list(line) for line in lines if line]
    while left:
        tails = {each.place for line in left for each in line[1:]}
        head = next((line[0] for line in left if line[0].place not in tails), left[0][0])
        found.append(head)
        left = [rest for line in left if (rest := [each for each in line if each.place != head.place])]
    return found


def attributes(kind: Kind, names: Sequence[str], gathered: Sequence[str] = ()) -> dict[str, Any]:
    """Attribute -> its value, or an `Unread`.

    Args:
        gathered: names of lists that are those of all bases, the bases' first.
    """
    line = line_of(kind)
    found: dict[str, Any] = {}
    for each in reversed(line):
        own = _own(each, (*names, *gathered))
        for name in gathered:
            if isinstance(own.get(name), list | tuple) and isinstance(found.get(name), list | tuple):
                own[name] = [*found[name], *own[name]]
        found |= own
    return found


def _own(kind: Kind, names: Sequence[str]) -> dict[str, Any]:
    """What the class itself says, and what its file says of it later."""
    found: dict[str, Any] = {}
    for node in _statements(kind.node.body):
        for name, value in _bound(node):
            if name in names:
                is_plain = value is not None and node in kind.node.body
                found[name] = _Values(kind, kind.home).read(value if is_plain else None, node)
    file = kind.home.path.name
    for name in names:
        if line := _changed(kind.node.body, name):
            found[name] = Unread(file, line, "is changed beside being set")
        if line := _set_outside(kind, name):
            found[name] = Unread(file, line, "is set outside its class")
    return found


def _changed(body: Sequence[ast.stmt], name: str) -> int:
    """The line in a block where the value of a name is changed otherwise than by a statement that sets it; 0: none."""
    for node in _statements(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(isinstance(each, ast.Global) and name in each.names for each in ast.walk(node)):
                return node.lineno
        elif not isinstance(node, ast.ClassDef) and any(_changes(each, name) for each in ast.walk(node)):
            return node.lineno
    return 0


def _changes(node: ast.AST, name: str) -> bool:
    match node:
        case ast.NamedExpr(target=ast.Name(id=other)):
            return other == name
        case ast.Name(id=other, ctx=ast.Del()):
            return other == name
        case ast.Subscript(value=target, ctx=ast.Store() | ast.Del()):
            return dotted(target) == name or (isinstance(target, ast.Call) and dotted(target.func) in SCOPES)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=target))):
            return dotted(target) == name or (isinstance(target, ast.Call) and dotted(target.func) in SCOPES)
        case ast.Expr(value=ast.Call(func=ast.Name(id="exec"))):
            return True
    return False


def _set_outside(kind: Kind, name: str) -> int:
    """The line in its file where an attribute is set or changed by its class's name; 0: none."""
    whole = f"{kind.node.name}.{name}"
    for node in _statements(kind.home.tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for each in ast.walk(node):
            match each:
                case ast.Attribute(ctx=ast.Store() | ast.Del()) if dotted(each) == whole:
                    return node.lineno
                case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[ast.Name(id=owner), key, *_]):
                    is_it = not isinstance(key, ast.Constant) or key.value == name
                    if owner == kind.node.name and is_it:
                        return node.lineno
        if any(_changes(each, whole) for each in ast.walk(node) if not isinstance(each, ast.NamedExpr)):
            return node.lineno
    return 0


class _Values:
    """Works out values as one class sees them; or, of another file, as that does."""

    def __init__(self, kind: Kind, home: Source, depth: int = 0) -> None:
        self._kind = kind
        self._home = home
        self._depth = depth

    def read(self, value: ast.expr | None, at: ast.stmt) -> Any:
        """What an expression is worth; of None, or what cannot be told, an `Unread`."""
        file = self._home.path.name
        if value is None:
            return Unread(file, at.lineno, "is not set by a plain `name = value`")
        try:
            return self._value(value)
        except _UnreadError as fault:
            return Unread(file, at.lineno, fault.why)
        except (ArithmeticError, TypeError, ValueError, RecursionError) as fault:
            return Unread(file, at.lineno, f"cannot be worked out ({fault})")

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Tuple() | ast.List() | ast.Set():
                items = [item for each in node.elts for item in self._items(each)]
                return items if isinstance(node, ast.List) else tuple(items)
            case ast.Dict() if None not in node.keys:
                return {self._value(k): self._value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
            case ast.UnaryOp():
                return UNARY[type(node.op)](self._value(node.operand))
            case ast.BinOp() if type(node.op) in BINARY:
                return self._binary(node)
            case ast.JoinedStr():
                return "".join(self._piece(each) for each in node.values)
            case ast.Name() | ast.Attribute():
                return self._named(dotted(node))
            case ast.Call():
                raise _UnreadError(f"calls {dotted(node.func) or 'a function'}()")
        raise _UnreadError("is more than a plain value")

    def _items(self, node: ast.expr) -> Sequence[Any]:
        return tuple(self._value(node.value)) if isinstance(node, ast.Starred) else (self._value(node),)

    def _piece(self, node: ast.expr) -> str:
        if isinstance(node, ast.FormattedValue):
            if node.conversion != -1 or node.format_spec is not None:
                raise _UnreadError("formats a value")
            return str(self._value(node.value))
        return str(self._value(node))

    def _binary(self, node: ast.BinOp) -> Any:
        left, right = self._value(node.left), self._value(node.right)
        if isinstance(node.op, ast.LShift | ast.Pow) and abs(right) > MOST_BITS:
            raise _UnreadError("is too large")
        made = BINARY[type(node.op)](left, right)
        is_huge = isinstance(made, int) and made.bit_length() > MOST_BITS
        if is_huge or (isinstance(made, str | tuple | list) and len(made) > MOST_BITS):
            raise _UnreadError("is too large")
        return made

    def _named(self, name: str) -> Any:
        """What a name stands for: in the class, in its file, in a file beside it, in a class."""
        if not name or self._depth > DEEPEST:
            raise _UnreadError("is more than a plain value")
        body = self._kind.node.body if self._is_at_home else []
        own = [value for node in _statements(body) for bound, value in _bound(node) if bound == name]
        if len(own) > 1 or (own and own[0] is None) or (own and _changed(body, name)):
            raise _UnreadError(f"is made of {name}, which is set in more than one place or way")
        value = own[0] if own else None
        return self._global(name) if value is None else self._deeper(self._home)._value(value)

    @property
    def _is_at_home(self) -> bool:
        return self._home is self._kind.home

    def _global(self, name: str) -> Any:
        first, _, rest = name.rpartition(".")
        if first and (kind := self._home.find(first)) is not None:
            found = attributes(kind, [rest]).get(rest)
            if found is None or isinstance(found, Unread):
                raise _UnreadError(f"is made of {name}")
            return found
        nodes = [node for node in _statements(self._home.tree.body) if name in dict(_bound(node))]
        if nodes:
            value = dict(_bound(nodes[-1]))[name]
            is_lone = len(nodes) == 1 and nodes[0] in self._home.tree.body
            if not is_lone or value is None or _changed(self._home.tree.body, name):
                raise _UnreadError(f"is made of {name}, which is set in more than one place or way")
            return self._deeper(self._home)._value(value)
        module, there = self._home.imports.get(first or name, ("", ""))
        home = self._home.beside(f"{module}.{there}" if first and there else module)
        if home is None:
            raise _UnreadError(f"is made of {name}, which is not in this file or one beside it")
        return self._deeper(home)._global(rest if first else there)

    def _deeper(self, home: Source) -> "_Values":
        return _Values(self._kind, home, self._depth + 1)


def dotted(node: ast.expr) -> str:
    """The name that an expression is, e.g. `lepton.serve.Service`; empty: it is none."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a block and of the blocks in it, functions and classes aside."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.stmt):
                    yield from _statements([part])
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    yield from _statements(part.body)


def _bound(node: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Names that a statement gives a value, and the expression; None: it is no plain one."""
    match node:
        case ast.Assign():
            for target in node.targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                        yield part.id, node.value if part is target else None
        case ast.AnnAssign(target=ast.Name(id=name)) if node.value is not None:
            yield name, node.value
        case ast.AugAssign(target=ast.Name(id=name)) | ast.For(target=ast.Name(id=name)):
            yield name, None
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, None
