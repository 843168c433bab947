"""Write the pages that are made from the code: `python docs/generate.py`. A test says when they are out of date.

commands.md: every command and option, from the click tree. requests.md: every request, from the OpenAPI document.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from lepton.api.app import make_app
from lepton.cli.main import cli
from lepton.engine.simulated import SimulatedEngine
from lepton.server.build import build
from lepton.server.config import ServerConfig

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py from the code. -->\n"
COMMANDS_HEAD = """# Commands

Every command takes `--json`: it then prints JSON on standard output, and an error as `{"code", "message", "fix"}` on
standard error. Without it, a terminal gets tables; a pipe gets tab-separated lines (`name<tab>text` for one thing).
"""
REQUESTS_HEAD = """# Requests

All paths begin with `/api/v1`. The running server describes them in full at `/api/v1/openapi.json`, without a token.
"""


def walk(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, groups before what is in them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*words, name))


def commands_page() -> str:
    """Markdown of all commands."""
    parts = [COMMANDS_HEAD, *(_command(words, command) for words, command in walk(cli, ("lepton",)))]
    return "\n".join([MADE, *parts])


def _command(words: tuple[str, ...], command: click.Command) -> str:
    title = f"{'#' * len(words)} {' '.join(words)}\n"
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n")) + "\n"
    if isinstance(command, click.Group):
        return f"{title}\n{text}"
    arguments = [_argument(p) for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join([*words, "[OPTIONS]", *arguments])
    rows = [_option(p) for p in command.params if isinstance(p, click.Option)]
    return "\n".join([title, f"`{usage}`\n", text, "| option | meaning | default |", "| --- | --- | --- |", *rows, ""])


def _argument(argument: click.Argument) -> str:
    name = (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(option.opts) + (f" / {option.secondary_opts[0]}" if option.secondary_opts else "")
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper().split(' ')[0]}"
    shown = option.show_default if isinstance(option.show_default, str) else str(option.default)
    default = "required" if option.required else shown if option.show_default else ""
    return f"| `{names}{value}` | {_cell(option.help or '')} | {default} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def requests_page() -> str:
    """Markdown of all requests."""
    rows = ["| request | what it does |", "| --- | --- |"]
    for path, methods in asyncio.run(openapi())["paths"].items():
        for method, about in methods.items():
            line = (about.get("description") or about["summary"]).split("\n")[0]
            rows.append(f"| `{method.upper()} {path.removeprefix('/api/v1')}` | {_cell(line)} |")
    return "\n".join([MADE, REQUESTS_HEAD, *rows, ""])


async def openapi() -> dict[str, Any]:
    """The OpenAPI document of a server."""
    with TemporaryDirectory() as folder:
        platform = build(ServerConfig(data=Path(folder)), engine=SimulatedEngine())
        try:
            return make_app(platform).openapi()
        finally:
            await platform.close()


PAGES = {"commands.md": commands_page, "requests.md": requests_page}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make())
