"""What a refused request is told: the field, what came and what is wanted, in our own words."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from lepton.api.observe import AlertState
from lepton.api.serve import EndpointState
from lepton.api.wording import PATTERNS
from lepton.server import serving
from tests.server.house import API, House, error_of

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("fields", "message", "fix"),
    [
        ({"comand": ["x"]}, "comand is unknown", "Did you mean 'command'?"),
        ({"timeout": 5}, "timeout is unknown", "Did you mean 'timeout_s'?"),
        ({"zzz": 5}, "zzz is unknown", "Known: after, can_resume, command, cpus,"),
        ({"command": "x"}, 'command is "x"; a list is wanted', "Give a list for command."),
        ({"command": [1]}, "command.0 is a number; text is wanted", "Give text for command.0."),
        ({"command": []}, "A job needs either a command or a function", "Give exactly one of the two."),
        ({"cpus": "2"}, 'cpus is "2"; a number is wanted', "Give a number for cpus."),
        ({"cpus": True}, "cpus is true; a number is wanted", "Give a number for cpus."),
        ({"gpus": None}, "gpus is null; a number is wanted", "Give a number for gpus."),
        ({"timeout_s": "1e3"}, 'timeout_s is "1e3"; a number is wanted', "Give a number for timeout_s."),
        ({"grace_s": False}, "grace_s is false; a number is wanted", "Give a number for grace_s."),
        ({"workers": "2"}, 'workers is "2"; a whole number is wanted', "Give a whole number for workers."),
        ({"workers": 1.5}, "workers is 1.5; a whole number is wanted", "Give a whole number for workers."),
        ({"workers": 0}, "workers is 0; it must be 1 or more", "Give 1 or more for workers."),
        ({"cpus": 0}, "cpus is 0; it must be more than 0", "Give more than 0 for cpus."),
        ({"retries": 1001}, "retries is 1001; it must be 1000 or less", "Give 1000 or less for retries."),
        ({"name": "n" * 64}, "name has 64 characters; at most 63 characters are taken", "Give at most 63"),
        ({"name": "Upper"}, 'name is "Upper", which is not 1 to 63 of a-z 0-9', "For name, give 1 to 63 of"),
        ({"env": {"A=B": "1"}}, 'env.A=B is "A=B", which is not a variable\'s name', "For env.A=B, give a variable's"),
        ({"params": {"a": "\x00"}}, "params.a has a NUL or a lone surrogate", "Send plain text"),
        ({"cpus": "a", "gpus": -1, "retries": -1, "grace_s": -1}, "(and 1 more)", "Give 0 or more for gpus."),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_wrong_field_is_named_with_what_came_and_what_is_wanted(
    shared_house: House, fields: dict[str, Any], message: str, fix: str
) -> None:
    wish = fields if "command" in fields else {"command": ["true"], **fields}
    error = error_of(shared_house.http.post(f"{API}/jobs", json=wish), 422, "invalid")
    assert message in error["message"]
    assert fix in error["fix"]


@pytest.mark.parametrize(
    ("path", "message", "fix"),
    [
        ("/jobs?limt=3", "'limt' is no parameter of this request", "Did you mean 'limit'?"),
        ("/jobs?limit=3&limit=4", "'limit' is given more than once", "Give limit once."),
        ("/jobs?limit=ten", 'limit is "ten"; a whole number is wanted', "Give a whole number for limit."),
        ("/jobs?limit=1001", "it must be 1000 or less", "Give 1000 or less for limit."),
        ("/jobs?state=runing", 'state is "runing"', "'queued', 'placed', 'running'"),
        ("/serve/endpoints?state=up", 'state is "up"', "'starting', 'ready'"),
        ("/observe/alerts?state=x", 'state is "x"', "'firing' or 'resolved'"),
        ("/catalog/versions?kind=modle", 'kind is "modle"', "'raw', 'dataset'"),
        ("/catalog/versions/x?kind=modle", 'kind is "modle"', "'raw', 'dataset'"),
        ("/catalog/versions?job=x", 'job is "x", which is not an id', "the list command"),
        ("/security/whoami?x=1", "'x' is no parameter", "Leave it out"),
        ("/security/access", "endpoint is missing", "Give endpoint."),
        ("/jobs/x/logs?folow=true", "'folow' is no parameter", "Did you mean 'follow'?"),
        ("/jobs?" + "x" * 5000, "x... (5000 characters)' is no parameter", "Known: cursor, limit"),
    ],
    ids=lambda value: value[:30],
)
def test_a_wrong_parameter_is_refused_and_the_legal_ones_are_told(
    shared_house: House, path: str, message: str, fix: str
) -> None:
    error = error_of(shared_house.http.get(f"{API}{path}"), 422, "invalid")
    assert message in error["message"]
    assert fix in error["fix"]


def test_a_whole_number_may_have_a_point(house: House) -> None:
    assert house.submit(retries=2.0, cpus=1)["spec"]["retries"] == 2
    error_of(house.http.post(f"{API}/jobs", json={"command": ["x"], "retries": 2.5}), 422)
    error_of(house.http.post(f"{API}/jobs", json={"command": ["x"], "retries": 1e300}), 422)


def test_who_asks_is_known_before_anything_is_read(shared_house: House) -> None:
    nobody = shared_house.visitor()
    error_of(nobody.get(f"{API}/jobs?limt=3"), 401)
    for content, kind in ((b"{", "application/json"), (b"x", "text/plain"), (b'{"a": 1, "a": 2}', "application/json")):
        error_of(nobody.post(f"{API}/jobs", content=content, headers={"content-type": kind}), 401)


def test_a_wrong_secret_is_not_repeated(shared_house: House) -> None:
    for value in (12345, ["12345"], {"a": "12345"}, "12345" * 20_000):
        error = error_of(shared_house.http.put(f"{API}/security/secrets/s", json={"value": value}), 422)
        assert "12345" not in error["message"] + error["fix"]


def test_a_report_names_the_item_and_the_field(shared_house: House) -> None:
    job = shared_house.submit(course={"seconds": 1e9})["id"]
    for item, message in (
        ({"type": "x"}, 'items.0 is "x", which is not known here'),
        ({}, "items.0 does not say its type"),
        ({"type": "metrics", "step": 1, "at": "2", "values": {}}, 'at is "2"; a whole number is wanted'),
        ({"type": "metrics", "step": True, "at": 2, "values": {}}, "step is true; a whole number is wanted"),
        ({"type": "progress", "at": 1, "fraction": "1"}, 'fraction is "1"; a number is wanted'),
        ({"type": "progress", "at": 1, "fraction": 1, "txt": ""}, "txt is unknown"),
    ):
        body = {"generation": 0, "rank": 0, "first": 0, "items": [item]}
        error = error_of(shared_house.http.post(f"{API}/jobs/{job}/reports", json=body), 422)
        assert message in error["message"], error


def patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from ([part["pattern"]] if isinstance(part.get("pattern"), str) else [])
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        yield from patterns(inner)


def test_every_form_of_the_document_has_words(shared_house: House) -> None:
    document = shared_house.http.get(f"{API}/openapi.json").json()
    assert set(patterns(document)) <= PATTERNS.keys()


def test_the_states_that_can_be_asked_for_are_the_ones_there_are() -> None:
    assert set(get_args(EndpointState)) == serving.NEXT.keys()
    assert set(get_args(AlertState)) == {"firing", "resolved"}
