"""What every command shares: sizes, pairs, how things are printed, and that an error is JSON with --json."""

import json

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lepton.cli.output import Session, common, moment, whole_lines
from lepton.core.errors import NotFoundError


@given(st.lists(st.text(alphabet="ab\n", max_size=6), max_size=8))
def test_lines_are_whole_however_the_text_is_cut(pieces: list[str]) -> None:
    lines = list(whole_lines(pieces))
    assert "".join(lines) == "".join(pieces)
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines[:-1])


def test_a_stream_in_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Session(is_json=True).stream(["one\ntw", "o\nthree"], {"job": "j", "rank": 1})
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in found] == ["one\n", "two\n", "three"]
    assert all(line["job"] == "j" and line["rank"] == 1 for line in found)


def test_a_stream_for_a_person_is_the_text_itself(capsys: pytest.CaptureFixture[str]) -> None:
    Session().stream(["one\ntw", "o\n"], {"job": "j"})
    assert capsys.readouterr().out == "one\ntwo\n"


def test_off_a_terminal_a_table_is_tabs_and_a_card_is_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    Session().table([{"a": "1", "b": "x\ty"}], [])
    Session().card({"name": "n", "empty": ""}, {})
    assert capsys.readouterr().out == "a\tb\n1\tx y\nname\tn\n"


def test_nothing_is_said_on_standard_error_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Session().table([], [], hint="make one")
    Session(is_json=True).table([], [])
    said = capsys.readouterr()
    assert said.err == "nothing here; make one\n"
    assert json.loads(said.out) == []


def test_moments_are_read_from_text_and_microseconds() -> None:
    assert moment("2026-01-31T09:30:00.123+00:00") == "2026-01-31 09:30:00"
    assert moment(1_000_000) == "1970-01-01 00:00:01"
    assert moment(None) == ""


@click.command()
@common
def broken(session: Session) -> None:
    raise NotFoundError("There is no such thing", fix="Look elsewhere.")


def test_with_json_an_error_is_json_and_keeps_its_exit_code() -> None:
    ended = CliRunner().invoke(broken, ["--json"])
    assert json.loads(ended.stderr) == {
        "code": "not_found",
        "message": "There is no such thing",
        "fix": "Look elsewhere.",
    }
    assert ended.exit_code == 3


def test_without_json_the_error_goes_on_to_main() -> None:
    assert isinstance(CliRunner().invoke(broken, []).exception, NotFoundError)
