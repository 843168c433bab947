"""The command as a whole: what it imports, how it ends, and that every command takes --json."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields

import click
import pytest
from click.testing import CliRunner

from lepton.cli.ending import EXIT_CODES, LISTS, exit_code, explain, in_words_of
from lepton.cli.main import COMMANDS, cli, main
from lepton.cli.output import Session
from lepton.cli.stages import train
from lepton.core import errors
from lepton.core.errors import InvalidError, LeptonError, NotFoundError
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
    assert said.splitlines()[-1] == "['lepton.cli.ending', 'lepton.cli.group', 'lepton.cli.main']"


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


def test_what_a_job_said_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    explain(InvalidError("a\x1b[2J\x9b1mb\r\n\tc\x07", fix="\x1b]0;title\x07d"))
    assert capsys.readouterr().err == "error: a[2J1mb\n\tc\n  try: ]0;titled\n"
    Session().say("one\x1b[31m\ntwo", {})
    Session().card({"why": "x\x1b[0my"}, {})
    assert capsys.readouterr().out == "one[31m\ntwo\nwhy\tx[0my\n"


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


def ended(words: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Exit code and standard error of a command."""
    monkeypatch.setattr(sys, "argv", ["lepton", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0), capfd.readouterr().err


def test_a_wrong_call_reads_like_every_other_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = ended(["jobs", "submit", "--cpus", "0", "--", "true"], capfd, monkeypatch)
    assert code == 2
    assert said.splitlines() == [
        "error: Invalid value for '--cpus': '0' is not a number above 0, up to 4096.",
        "  try: lepton jobs submit --help",
    ]
    code, said = ended(["jobs", "submit", "--json", "--cpus", "0", "--", "true"], capfd, monkeypatch)
    assert (code, json.loads(said)["code"]) == (2, "invalid")


def test_what_a_user_typed_is_not_echoed_whole(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, said = ended(["jobs", "submit", "--memory", "x" * 131_000, "--", "true"], capfd, monkeypatch)
    assert len(said) < 2000
    assert "characters)" in said


def test_the_servers_words_become_the_commands() -> None:
    context = click.Context(ALL["jobs", "submit"], info_name="lepton jobs submit")
    fault = InvalidError("timeout_s: too high", fix="See /api/v1/openapi.json for what POST /api/v1/jobs takes.")
    plain = in_words_of(context, fault)
    assert (plain.message, plain.fix) == ("--timeout: too high", "lepton jobs submit --help")
    missing = in_words_of(context, NotFoundError("There is no endpoint 'x'", fix="List what there is."))
    assert missing.fix == "lepton serve list"
    assert in_words_of(context, kept := InvalidError("x", fix="Do y.")) is kept


def test_the_lists_that_errors_name_are_commands() -> None:
    for text in LISTS.values():
        assert tuple(text.split()[1:]) in ALL


def test_the_defaults_that_train_shows_are_the_stations() -> None:
    defaults = {field.name: str(field.default) for field in fields(TrainSpec)}
    shown = {
        option.name: option.show_default
        for option in train.params
        if isinstance(option, click.Option) and isinstance(option.show_default, str) and option.name in defaults
    }
    assert len(shown) == 5
    assert all(defaults[str(name)] == text for name, text in shown.items())


def test_ctrl_c_while_the_modules_are_read_ends_the_command_without_a_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Press:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'lepton.cli.ending':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lepton.cli.start import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
