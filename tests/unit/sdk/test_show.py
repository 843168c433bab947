"""What Jupyter shows: tables, cards and curves, with nothing in them read as HTML."""

from collections import defaultdict
from typing import Any
from xml.etree import ElementTree

import pytest

from lepton.core.errors import UnreachableError
from lepton.sdk.artifacts import AsyncVersion, Version
from lepton.sdk.endpoints import AsyncEndpoint, Endpoint
from lepton.sdk.jobs import AsyncJob, Job
from lepton.sdk.portal import Portal
from lepton.sdk.show import Table, card, sparkline, table
from lepton.sdk.stations import Alert, AsyncAlert

EVIL = "<script>alert('x')</script>&\"'"


def parsed(html: str) -> ElementTree.Element:
    """The HTML as a tree: it is well formed."""
    return ElementTree.fromstring(f"<body>{html}</body>")


def texts(html: str) -> list[str]:
    return [text for text in parsed(html).itertext() if text.strip()]


def test_a_table_shows_what_it_is_given_and_runs_nothing() -> None:
    shown = table([{"id": "1", EVIL: EVIL}, {"id": "2", EVIL: "y"}])
    assert texts(shown) == ["id", EVIL, "1", EVIL, "2", "y"]
    assert parsed(shown).findall(".//script") == []


def test_a_card_shows_its_facts_and_leaves_out_empty_ones() -> None:
    shown = card(EVIL, {"state": "failed", "empty": "", "name": EVIL})
    assert texts(shown) == [EVIL, "state", "failed", "name", EVIL]
    assert "color:#b42318" in shown


def test_a_colour_belongs_to_the_state_alone() -> None:
    assert "color:#" not in card("x", {"name": "failed"})


def test_a_curve_is_one_line_inside_its_frame_with_its_last_value() -> None:
    shown = sparkline(EVIL, [(0, 5.0), (10, 1.0), (20, 3.0)], width=100, height=40)
    line = parsed(shown).find(".//polyline")
    assert line is not None
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    assert places == [(4.0, 4.0), (50.0, 36.0), (96.0, 20.0)]
    assert texts(shown)[-1].endswith(": 3 (from 1 to 5)")


def test_a_curve_of_one_point_or_equal_values_is_drawn_and_of_none_is_not() -> None:
    assert sparkline("x", []) == ""
    assert "4.0," in sparkline("x", [(3, 2.0)])
    assert parsed(sparkline("x", [(0, 2.0), (1, 2.0)])).find(".//polyline") is not None


def test_columns_without_text_are_left_out() -> None:
    assert texts(table([{"a": "1", "b": ""}, {"a": "2", "b": ""}])) == ["a", "1", "2"]


class Server:
    """Answers what a card asks."""

    async def get(self, path: str, **query: Any) -> Any:
        return {"series": {EVIL: [(0, 1.0), (1, 2.0)]}} if path.endswith("metrics") else {"why": EVIL}


class Away:
    """A server that does not answer."""

    async def get(self, path: str, **query: Any) -> Any:
        raise UnreachableError("x does not answer")


def thing(kind: type[Any], http: Any) -> Any:
    """A thing of a kind whose every text is evil."""
    fields = defaultdict(lambda: EVIL, spec={"roles": [{"count": 1}], "cause": EVIL, "endpoint": {"model": EVIL}})
    fields |= {
        "status": {"address": EVIL},
        "meta": {EVIL: EVIL},
        "parents": {},
        "size_bytes": 1,
        "state": "failed",
        "created_at": EVIL,
    }
    return kind(http, fields)


@pytest.mark.parametrize(
    ("kind", "inner"), [(Job, AsyncJob), (Endpoint, AsyncEndpoint), (Version, AsyncVersion), (Alert, AsyncAlert)]
)
@pytest.mark.parametrize("http", [Server(), Away()], ids=["server", "away"])
def test_every_card_escapes_what_others_wrote(kind: Any, inner: Any, http: Any) -> None:
    portal = Portal()
    shown = kind(thing(inner, http), portal)
    found = parsed(shown._repr_html_())
    assert found.findall(".//script") == []
    assert EVIL in "".join(found.itertext())
    assert found.findall(".//polyline") or not (kind is Job and isinstance(http, Server))
    listed = parsed(Table([shown])._repr_html_())
    assert listed.findall(".//script") == []
    portal.close()


def test_an_empty_list_says_so() -> None:
    assert texts(Table()._repr_html_()) == ["nothing yet"]
