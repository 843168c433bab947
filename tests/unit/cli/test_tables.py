"""Tables fit the terminal; what a person copies is never broken."""

import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from lepton.cli.tables import GAP, fit, one_line, styled

JOBS = {"id": 30, "name": 14, "stage": 8, "state": 7, "workers": 7, "doing": 5, "created": 19}
VERSIONS = {"version": 25, "kind": 10, "size": 8, "sha256": 12, "facts": 120, "id": 30}


def taken(widths: dict[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def test_a_table_that_fits_is_left_as_it_is() -> None:
    assert fit(JOBS, 200) == JOBS


def test_a_narrow_terminal_gets_a_table_that_fits_with_whole_ids() -> None:
    for natural in (JOBS, VERSIONS):
        for width in (80, 100, 120):
            widths = fit(natural, width)
            assert taken(widths) <= width
            assert widths["id"] == natural["id"]


def test_nothing_is_dropped_while_shrinking_is_enough() -> None:
    assert fit(VERSIONS, 120).keys() == VERSIONS.keys()
    assert fit(VERSIONS, 120)["version"] == VERSIONS["version"]


def test_facts_go_first_and_what_is_left_gets_its_width_back() -> None:
    assert fit(VERSIONS, 80) == {"version": 25, "kind": 10, "size": 8, "id": 30}


def test_empty_columns_go_before_any_other() -> None:
    assert fit(JOBS, 96, empty=["doing"]).keys() == JOBS.keys() - {"doing"}
    assert fit(JOBS, 200, empty=["doing"]) == JOBS


def test_sixty_characters_hold_id_name_and_state() -> None:
    widths = fit(JOBS, 60)
    assert taken(widths) <= 60
    assert widths.keys() == {"id", "name", "state"}


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_on_a_real_terminal_no_line_is_too_long_and_no_id_is_broken(columns: int) -> None:
    id = "job_01m8any4ah1rhx06j8s5j9fhhf"
    row = {"id": id, "name": "observe-digits", "stage": "observe", "state": "running", "created": "2026-01-31 09:30:00"}
    code = f"from lepton.cli.tables import print_table; print_table([{row!r}] * 2)"
    said = on_terminal([sys.executable, "-c", code], columns)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert plain.count(id) == 2
    assert max(map(len, plain.splitlines())) <= columns


def on_terminal(command: list[str], columns: int) -> str:
    """What a command prints on a terminal of that width."""
    ours, theirs = os.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    with subprocess.Popen(command, env=env, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # a terminal ends with an error
            while piece := os.read(ours, 4096):
                said += piece
        assert process.wait(30) == 0
    os.close(ours)
    return said.decode()


def test_a_column_is_not_widened_to_its_least_width() -> None:
    assert fit({"name": 3, "id": 30}, 10)["name"] == 3


def test_a_cell_stays_on_its_line() -> None:
    assert one_line("a\tb\nc\r\nd") == "a b c d"


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    assert styled("name", "[red]x[/red]").plain == "[red]x[/red]"
    assert str(styled("state", "failed").style) == "red"
    assert str(styled("name", "failed").style) == ""
