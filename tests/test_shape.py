"""The shape of the code, as CONTRIBUTING.md promises it: size, headers and names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "lepton"
FILES = sorted(ROOT.rglob("*.py"))
VAGUE_FILES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "handler"}
VAGUE_CLASSES = ("Manager", "Helper", "Util", "Handler", "Processor", "Wrapper")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the function without its docstring."""
    has_doc = ast.get_docstring(function, clean=False) is not None
    doc = function.body[0]
    doc_lines = (doc.end_lineno or 0) - doc.lineno + 1 if has_doc else 0
    return (function.end_lineno or 0) - function.lineno + 1 - doc_lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_says_what_it_is_for_and_stays_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} does not begin with what it is for"
    assert text.count("\n") < 400, f"{path} has 400 lines or more"
    assert path.stem not in VAGUE_FILES, f"{path} has a vague name"
    long = [f"{f.name} ({length(f)})" for f in functions(tree) if length(f) >= 50]
    assert not long, f"{path}: functions of 50 lines or more: {long}"
    vague = [c.name for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and c.name.endswith(VAGUE_CLASSES)]
    assert not vague, f"{path}: vague class names: {vague}"
