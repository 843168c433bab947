"""What does not fit is a client's fault wherever it stands, and a query is read whenever there is one."""

import json
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from tests.server.serving.house import House, open_service


@pytest.fixture(scope="module")
def strict() -> Iterator[House]:
    with open_service("strict.py:Strict") as house:
        yield house


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/beside", {"p": {"x": 1}, "n": 2}, 3),
        ("/beside", {"p": {"x": "1"}, "n": 2}, None),
        ("/many", {"spots": [{"x": 1}, {"x": 2}]}, 3),
        ("/many", {"spots": [{"x": 1}, {"x": "2"}]}, None),
        ("/double", {"x": 2}, 4.0),
        ("/double", {"x": "ab"}, None),
        ("/corner", {"x": 2}, 2),
        ("/corner", {"x": 2, "name": 3}, None),
        ("/corner", {"name": "a"}, None),
        ("/corners", {"corners": [{"x": 2, "name": "a"}], "n": 1}, [3]),
        ("/corners", {"corners": [{"x": "2"}]}, None),
        ("/choose", {"a": 1, "level": 2, "also": [0, 2]}, [1, 2, 0, 2]),
        ("/choose", {"a": "a"}, ["a", 1]),
        ("/choose", {"a": True}, None),
        ("/choose", {"a": 1, "level": True}, None),
        ("/choose", {"a": 1, "also": [0, False]}, None),
        ("/numbers", {"x": [1, 2.5]}, 3.5),
        ("/numbers", {"x": [1, True]}, None),
        ("/numbers", {"x": [True, False]}, None),
        ("/both", {"n": 2}, 3),
        ("/both", {}, None),
    ],
)
def test_a_body_fits_or_is_refused(strict: House, path: str, body: Any, wanted: Any) -> None:
    status, answer, _ = strict.ask("POST", path, json.dumps(body).encode(), content_type="application/json")
    assert (status, answer) == (200, wanted) if wanted is not None else 400 <= status < 500


def test_a_body_that_is_nested_too_deeply_is_its_senders_fault(strict: House) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    body = msgpack.packb({"p": {"x": deep}, "n": 1})
    assert 400 <= strict.ask("POST", "/beside", body, content_type="application/msgpack")[0] < 500


def test_a_handler_of_several_methods_tells_what_each_reads(strict: House) -> None:
    both = strict.ask("GET", "/openapi.json")[1]["paths"]["/both"]
    (told,) = both["get"]["parameters"]
    assert (told["name"], told["in"], told["required"]) == ("n", "query", True)
    assert "requestBody" not in both["get"]
    assert "parameters" not in both["post"] and "requestBody" in both["post"]


def test_a_handler_of_several_methods_reads_the_query_of_a_get(strict: House) -> None:
    assert strict.ask("GET", "/both?n=4")[:2] == (200, 5)
    assert 400 <= strict.ask("GET", "/both")[0] < 500
    assert strict.ask("GET", "/any?a=x")[:2] == (200, {"a": "x"})
    answer = strict.ask("POST", "/any", b'{"a": 1}', content_type="application/json")
    assert answer[:2] == (200, {"a": 1})
