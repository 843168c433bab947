"""The docs are true of the code: names, commands, settings, errors, links and examples."""

import ast
import importlib
import os
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import click
import pytest

import lepton
from lepton.api.app import HTTP_CODES
from lepton.cli.main import cli
from lepton.core.errors import LeptonError
from lepton.serve import answers
from lepton.serve.answers import Refusal
from lepton.server.config import ServerConfig

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
PACKAGES = {path.parent.name for path in (ROOT / "lepton").glob("*/__init__.py")}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"_?LEPTON_[A-Z_]*[A-Z]")


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        yield from ((page, found[2]) for found in FENCE.finditer(page.read_text()) if found[1] == language)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_readme_begins_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert [found[2] for found in FENCE.finditer(text) if found[1] == "sh"][:2] == ["sh run walk\n", "sh run tests\n"]


def test_the_map_in_the_readme_is_the_folders() -> None:
    _, _, chart = (ROOT / "README.md").read_text().partition("## The map of the house")
    assert set(re.findall(r"^\| `(\w+)` \|", chart, re.MULTILINE)) == PACKAGES


def test_every_package_has_a_chapter_that_the_site_shows() -> None:
    site = (ROOT / "mkdocs.yml").read_text()
    missing = [package for package in PACKAGES if not (DOCS / f"{package}.md").exists()]
    assert not missing
    unseen = [page for page in DOCS.rglob("*.md") if f" {page.relative_to(DOCS)}\n" not in site]
    assert not unseen


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link.split("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("field", fields(ServerConfig), ids=lambda field: field.name)
def test_every_setting_is_documented_with_its_default(field: object) -> None:
    setting, default = field.name, field.default  # type: ignore[attr-defined]
    row = re.search(
        rf"^\| `{setting}` \| (.*?) \| `(\w+)` \| (.*?) \|", (DOCS / "settings.md").read_text(), re.MULTILINE
    )
    assert row is not None
    assert row[2] == f"LEPTON_{setting.upper()}"
    if default not in (MISSING, ""):
        assert row[1] == f"`{default}`"
    flags = {option for parameter in command(["up"]).params for option in parameter.opts}
    assert row[3] == (f"`--{setting}`" if f"--{setting}" in flags else "none")


def test_every_variable_is_documented_and_none_that_nobody_reads() -> None:
    sources = [*(ROOT / "lepton").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), ROOT / ".ci" / "run"]
    used = {word for path in sources if path != Path(__file__) for word in VARIABLE.findall(path.read_text())}
    used |= {f"LEPTON_{field.name.upper()}" for field in fields(ServerConfig)} | {"_LEPTON_COMPLETE"}
    assert set(VARIABLE.findall((DOCS / "settings.md").read_text())) == used


def kinds(base: type[LeptonError]) -> Iterator[type[LeptonError]]:
    yield base
    for kind in base.__subclasses__():
        yield from kinds(kind)


LIMITS = ("rate", "quota")
WRITTEN = re.compile(r"""(?:Refusal|HTTPError)\(\s*([45]\d\d),(?:[^()]|\([^()]*\))*?(?:(?<=\d{3}, )|code=)"(\w+)\"""")
"""Where code answers with a status and a code of its own."""


def error_codes() -> dict[str, int]:
    """Every code -> its status, of exceptions anywhere in the package and of what a front answers by itself."""
    for module in pkgutil.walk_packages(lepton.__path__, "lepton."):
        text = Path(module.module_finder.path, *[module.name.split(".")[-1] + ".py"])  # type: ignore[union-attr]
        if text.exists() and re.search(r"^    code\b.* = ", text.read_text(), re.MULTILINE):
            importlib.import_module(module.name)
    refusals = [value for value in vars(answers).values() if isinstance(value, Refusal)]
    refusals += [answers.too_large(1), answers.wrong_method(b"GET"), *(answers.too_many(why, 1) for why in LIMITS)]
    found = {refusal.code: refusal.status for refusal in refusals}
    for path in Path(lepton.__path__[0]).rglob("*.py"):
        for status, code in WRITTEN.findall(path.read_text()):
            found.setdefault(code, int(status))
    found |= {code: status for status, code in HTTP_CODES.items() if code not in found}
    return found | {kind.code: kind.status for kind in kinds(LeptonError) if kind.__module__.startswith("lepton.")}


def test_every_error_code_is_documented_with_its_status_and_none_is_stale() -> None:
    codes = error_codes()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert rows.keys() == codes.keys()
    wrong = {code for code, status in codes.items() if rows[code] != "in logs" and str(status) not in rows[code]}
    assert not wrong


def test_generated_pages_are_up_to_date() -> None:
    sys.path.insert(0, str(DOCS))
    try:
        generate = importlib.import_module("generate")
    finally:
        sys.path.remove(str(DOCS))
    stale = [page for page, make in generate.PAGES.items() if (DOCS / page).read_text() != make()]
    assert not stale, "run: python docs/generate.py"


def command(words: list[str]) -> click.Command:
    """The command that words name; the options that follow are left alone."""
    found: click.Command = cli
    for word in words:
        if not isinstance(found, click.Group):
            break
        inner = found.get_command(click.Context(found), word)
        assert inner is not None, f"there is no command {word!r} in {words}"
        found = inner
    return found


def command_lines() -> Iterator[tuple[Path, list[str]]]:
    for page, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[words.index("|") :] if words[:1] == ["|"] else words
            words = words[: words.index("|")] if "|" in words else words
            words = words[2:] if words[:2] == ["sh", "run"] else words
            if words[:1] == ["lepton"]:
                yield page, words[1:]


LINES = list(command_lines())


@pytest.mark.parametrize(("page", "words"), LINES, ids=[" ".join(words) for _, words in LINES])
def test_every_command_line_parses(page: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if set(words) & {"--help", "--version"}:
        return
    monkeypatch.chdir(ROOT)  # files that the examples name are there
    depth = 1
    while depth < len(words) and isinstance(command(words[:depth]), click.Group):
        depth += 1
    found = command(words[:depth])
    assert not isinstance(found, click.Group) or found.invoke_without_command, "a group alone does nothing"
    asked = [text for p in found.params if isinstance(p, click.Option) and p.prompt for text in (p.opts[0], "typed")]
    found.make_context(words[0], [*asked, *words[depth:]])


EXAMPLES = list(blocks("python"))


@pytest.mark.parametrize(("page", "text"), EXAMPLES, ids=[name(page) for page, _ in EXAMPLES])
def test_python_examples_compile_and_name_what_exists(page: Path, text: str) -> None:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lepton":
            assert node.attr in lepton.EXPORTS, f"{name(page)}: lepton.{node.attr}"


GLOSSARY = (
    *("node", "pool", "quota", "job", "gang", "worker", "placement", "lease", "artifact", "run", "dataset version"),
    *(
        "recipe",
        "model version",
        "endpoint",
        "replica",
        "rollout",
        "drift",
        "workspace",
        "principal",
        "policy",
        "event",
    ),
)


def test_the_glossary_has_the_words_of_the_design() -> None:
    text = (DOCS / "glossary.md").read_text()
    assert [word for word in GLOSSARY if f"| **{word}** |" not in text] == []


def test_decisions_say_what_was_given_up() -> None:
    pages = list((DOCS / "decisions").glob("0*.md"))
    assert len(pages) >= 6
    for page in pages:
        heads = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
        assert heads == ["Context", "Choice", "What we gave up"], name(page)


def test_the_picture_of_the_walk_is_text_and_loads_nothing() -> None:
    picture = (DOCS / "images" / "walk.svg").read_text()
    plain = re.sub(r"&#160;", " ", re.sub(r"<[^>]+>", "", picture))
    assert all(station in plain for station in ("ingest", "clean", "train", "optimise", "deploy", "observe"))
    assert "1 alert raised" in plain
    assert "url(http" not in picture and "@import" not in picture
    assert os.path.getsize(DOCS / "images" / "walk.svg") < 200_000
