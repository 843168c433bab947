"""The command as a whole: what it imports, how it ends, and that every command takes --json."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields

import click
import pytest
from click.testing import CliRunner

from lepton.cli.ending import EXIT_CODES, exit_code, explain
from lepton.cli.main import COMMANDS, cli
from lepton.cli.stages import train
from lepton.core import errors
from lepton.core.errors import LeptonError
from lepton.train.spec import TrainSpec


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


ALL = dict(commands(cli))


def test_importing_the_command_imports_nothing_heavy() -> None:
    heavy = ("httpx", "rich", "fastapi", "uvicorn", "sqlite3", "cryptography", "asyncio", "numpy", "torch")
    code = f"import sys, lepton.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_help_imports_no_group() -> None:
    code = (
        "import sys; sys.argv = ['lepton', '--help']\n"
        "from lepton.cli.main import main\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.startswith('lepton.cli.')])"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.splitlines()[-1] == "['lepton.cli.ending', 'lepton.cli.main']"


def test_the_table_of_commands_is_true() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_takes_json_and_has_help(words: tuple[str, ...]) -> None:
    command = ALL[words]
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert command.help
    unexplained = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert not unexplained


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_of_every_command_ends_well(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0


def test_a_typing_mistake_is_answered_with_the_nearest_command() -> None:
    ended = CliRunner().invoke(cli, ["jbs"])
    assert ended.exit_code == 2
    assert "Did you mean 'jobs'?" in ended.output


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LeptonError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code_and_says_what_to_do(
    kind: type[LeptonError], capsys: pytest.CaptureFixture[str]
) -> None:
    fault = kind("It broke", fix="Mend it.")
    assert explain(fault) == exit_code(fault)
    assert capsys.readouterr().err == "error: It broke\n  try: Mend it.\n"
    listed = [code for known, code in EXIT_CODES if issubclass(kind, known)]
    assert exit_code(fault) == (listed[0] if listed else 1)


def test_the_defaults_that_train_shows_are_the_stations() -> None:
    defaults = {field.name: str(field.default) for field in fields(TrainSpec)}
    shown = {
        option.name: option.show_default
        for option in train.params
        if isinstance(option, click.Option) and isinstance(option.show_default, str)
    }
    assert shown
    assert all(defaults[str(name)] == text for name, text in shown.items())
