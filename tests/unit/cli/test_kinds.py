"""What an option may be, and that a wrong value is answered with what is wanted."""

import click
import pytest
from click.testing import CliRunner

from lepton.cli.jobs import CPUS, FOLDER, INPUT, VARIABLE, WORKERS
from lepton.cli.kinds import COUNT, GRACE, KINDS, SECONDS, Id, Name, Number, Ref, Size
from lepton.cli.main import cli
from lepton.core.artifact import KINDS as ARTIFACT_KINDS
from lepton.jobs.life import State
from tests.unit.cli.test_main import ALL

JOB = Id("a job", "lepton jobs list")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("512M", 512 << 20),
        ("4G", 4 << 30),
        ("4Gb", 4 << 30),
        ("1.5GiB", 3 << 29),
        (" 2 kb", 2048),
        ("1t", 1 << 40),
    ],
)
def test_a_size_is_read(text: str, count: int) -> None:
    assert Size().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "x", "5Q", "-1", "-1G", "nan", "inf", "1e400", "G", "99999999T"])
def test_a_size_that_cannot_be_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="512M or 4G"):
        Size().convert(text, None, None)


def test_a_pair_keeps_every_equals_sign_after_the_first() -> None:
    assert [VARIABLE.convert(text, None, None) for text in ("A=1", "B=x=y", "C=")] == [
        ("A", "1"),
        ("B", "x=y"),
        ("C", ""),
    ]


@pytest.mark.parametrize("text", ["A", "=1", ""])
def test_a_pair_without_name_or_equals_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="NAME=VALUE"):
        VARIABLE.convert(text, None, None)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (CPUS, "0", "'0' is not a number above 0, up to 4096"),
        (CPUS, "-1", "above 0"),
        (CPUS, "abc", "'abc' is not a number"),
        (CPUS, "nan", "'nan' is not a number"),
        (CPUS, "inf", "'inf' is not a number"),
        (WORKERS, "1.5", "'1.5' is not a whole number from 1 to 4096"),
        (WORKERS, "0", "from 1 to 4096"),
        (WORKERS, "9" * 5000, "from 1 to 4096"),
        (COUNT, "0", "from 1 to 1000"),
        (GRACE, "-3", "a number of seconds from 0 to 3600"),
        (SECONDS, "", "'' is not a number of seconds"),
        (Number(0.01, 0.9), "1", "from 0.01 to 0.9"),
        (Name(), "\N{GRINNING FACE}", "Use 1 to 63 of a-z"),
        (Name(), "", "Use 1 to 63 of a-z"),
        (Name(), "Digits", "Use 1 to 63 of a-z"),
        (Ref(), "", "write an id, NAME or NAME@NUMBER"),
        (Ref(), "digits@x", "write an id, NAME or NAME@NUMBER"),
        (FOLDER, "here", "write e.g. /"),
        (JOB, "../../x", "`lepton jobs list` shows ids"),
        (VARIABLE, "1A=2", "no digit first"),
        (INPUT, "digits", "write e.g. data=digits@1"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wanted(kind: click.ParamType, text: str, says: str) -> None:
    with pytest.raises(click.BadParameter) as fault:
        kind.convert(text, None, None)
    assert says in fault.value.message
    assert len(fault.value.message) < 6000


def test_the_choices_are_all_that_there_are() -> None:
    assert set(KINDS.choices) == set(ARTIFACT_KINDS)
    states = next(option for option in ALL["jobs", "list"].params if option.name == "state").type
    assert isinstance(states, click.Choice)
    assert list(states.choices) == [state.value for state in State]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_no_default_of_an_option_is_refused(words: tuple[str, ...]) -> None:
    context = click.Context(ALL[words])
    for option in ALL[words].params:
        if isinstance(option, click.Option) and isinstance(option.default, str | int | float):
            option.type_cast_value(context, option.default)


def test_a_mistyped_command_of_a_group_is_answered_with_the_nearest() -> None:
    assert "Did you mean 'submit'?" in CliRunner().invoke(cli, ["jobs", "sumbit"]).output
