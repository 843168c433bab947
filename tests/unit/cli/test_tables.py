"""Tables fit the terminal; what a person copies is never broken."""

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


def test_a_column_is_not_widened_to_its_least_width() -> None:
    assert fit({"name": 3, "id": 30}, 10)["name"] == 3


def test_a_cell_stays_on_its_line() -> None:
    assert one_line("a\tb\nc\r\nd") == "a b c d"


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    assert styled("name", "[red]x[/red]").plain == "[red]x[/red]"
    assert str(styled("state", "failed").style) == "red"
    assert str(styled("name", "failed").style) == ""
