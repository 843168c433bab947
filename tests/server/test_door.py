"""The front door by hand: preconditions, methods, HEAD, bodies that are too large, odd paths, refusals in words."""

import json
from typing import Any

import httpx
import pytest

from tests.server.house import API, House, error_of

JSON = {"content-type": "application/json"}


def test_if_match_takes_lists_and_a_star_and_no_weak_tag(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})["id"]
    house.wait(job, "running")
    tag = house.http.get(f"{API}/jobs/{job}").headers["etag"]

    def stop(given: str) -> httpx.Response:
        return house.http.post(f"{API}/jobs/{job}/stop", json={}, headers={"if-match": given})

    for given in ('"0"', f"W/{tag}", f'"0", W/{tag}', '"a,b"'):
        error_of(stop(given), 412, "stale")
    for given in ("5", '"5', "x", "", '*, "1"', "W/", '"a" "b"', "w/" + tag):
        assert "ETags" in error_of(stop(given), 422, "invalid")["fix"]
    assert house.job(job)["state"] != "stopping"
    wished = stop(f'"0" ,, {tag}')
    assert wished.status_code == 200
    assert stop("*").status_code == 200


def test_if_match_on_what_is_not_there_is_never_met(house: House) -> None:
    for given in ("*", '"1"'):
        answer = house.http.put(f"{API}/security/secrets/s", json={"value": "x"}, headers={"if-match": given})
        error_of(answer, 412, "stale")
    assert house.ask("GET", "/security/secrets")["items"] == []


def test_a_stream_is_resumed_from_a_number_and_nothing_else(shared_house: House) -> None:
    path = f"{API}/watch?timeout_s=0.01"
    for wrong in ("abc", "-1", "1.5", "0x1", "9" * 19, "1 2"):
        error = error_of(shared_house.http.get(path, headers={"last-event-id": wrong}), 422, "invalid")
        assert "last-event-id" in error["message"] and "revision" in error["fix"]
    for right in ("0", "9" * 18):
        assert shared_house.http.get(path, headers={"last-event-id": right}).status_code == 200


def test_the_events_of_a_job_come_in_pages(house: House) -> None:
    job = house.submit(course={"seconds": 1})["id"]
    house.wait(job, "running")
    house.advance(2)
    house.wait(job, "done")
    whole = house.ask("GET", f"/jobs/{job}/events")
    assert whole["next"] is None and len(whole["items"]) > 3
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = house.ask("GET", f"/jobs/{job}/events?limit=2&after={after}")
        found, after = found + page["items"], page["next"]
    assert found == whole["items"]
    client = house.sdk()
    assert client.jobs.get(job).events() == found
    client.close()


def test_a_refusal_says_which_role_it_takes_and_which_one_has(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    val, ed = house.user("val", default="viewer"), house.user("ed", default="editor", lab="viewer")
    job = house.submit(course={"seconds": 1e9})["id"]
    needs = "In workspace '{}' this needs the role {}; you are {}"
    for answer, wanted in (
        (val.post(f"{API}/jobs", json={"command": ["x"]}), needs.format("default", "editor", "viewer")),
        (val.post(f"{API}/jobs/{job}/stop", json={}), needs.format("default", "editor", "viewer")),
        (ed.put(f"{API}/security/secrets/s", json={"value": "x"}), needs.format("default", "admin", "editor")),
        (
            ed.put(f"{API}/security/workspaces/lab/members/ed", json={"role": "admin"}),
            needs.format("lab", "admin", "viewer"),
        ),
        (
            ed.get(f"{API}/security/users"),
            "This needs the role administrator of the platform; you are editor in 'default', viewer in 'lab'",
        ),
        (
            ed.get(f"{API}/security/users/val/tokens"),
            "This needs the role administrator of the platform; you are editor in 'default', viewer in 'lab'",
        ),
        (
            house.user("new").get(f"{API}/pool/nodes"),
            "This needs the role viewer; you are a member of no workspace",
        ),
    ):
        assert error_of(answer, 403, "forbidden")["message"] == wanted


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/jobs", "GET, HEAD, POST"),
        ("PATCH", "/jobs/x", "GET, HEAD"),
        ("GET", "/jobs/x/stop", "POST"),
        ("HEAD", "/jobs/x/stop", "POST"),
        ("OPTIONS", "/serve/endpoints/x", "DELETE, GET, HEAD, PUT"),
        ("POST", "/vault/objects/x", "GET, HEAD, PUT"),
        ("POST", "/openapi.json", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_know_is_told_all_that_it_knows(
    shared_house: House, method: str, path: str, allow: str
) -> None:
    answer = shared_house.http.request(method, f"{API}{path}")
    assert answer.status_code == 405 and answer.headers["allow"] == allow
    if method != "HEAD":
        error_of(answer, 405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    ["/jobs", "/jobs/nothing", "/pool/nodes", "/events", "/watch", "/watch?since=0", "/openapi.json", "/jobs?limt=1"],
)
def test_head_has_the_headers_of_get_and_no_body(shared_house: House, path: str) -> None:
    head = shared_house.http.head(f"{API}{path}")
    assert head.content == b""
    if not path.startswith("/watch"):
        get = shared_house.http.get(f"{API}{path}")
        assert head.status_code == get.status_code
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
    assert shared_house.http.get(f"{API}/security/whoami").status_code == 200  # on the same connection


def test_head_of_a_log_that_is_followed_ends_at_once(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})["id"]
    house.wait(job, "running")
    answer = house.http.head(f"{API}/jobs/{job}/logs?follow=true")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")


def test_a_slash_in_a_name_leads_nowhere_else(shared_house: House) -> None:
    client = shared_house.sdk()
    for path in ("/catalog/lineage/..%2fx", "/jobs/x%2Fstop", "/security/users/a%2ftokens"):
        for method in ("GET", "DELETE", "POST"):
            error = error_of(shared_house.http.request(method, f"{API}{path}"), 404, "not_found")
            assert error["message"] == "No name or id has a '/' in it"
    with pytest.raises(Exception, match="No name or id has a '/' in it"):
        client.catalog.lineage("../x")
    client.close()


HUGE = "x" * 131_000


@pytest.mark.parametrize(
    "body",
    [
        {"command": HUGE},
        {"command": ["x"], "name": HUGE},
        {"command": ["x"], "cwd": HUGE},
        {"command": ["x"], "env": {HUGE: "x"}},
        {"command": ["x"], HUGE: "x"},
        {"command": ["x"], "inputs": {"a": HUGE}},
        {"command": ["x"], "inputs": {HUGE: "a"}},
        {"command": ["x"], "secrets": {"A": HUGE}},
        {"command": ["x"], "workers": HUGE},
        {"command": ["x"], "params": {HUGE: "\x00"}},
        {"command": ["x"], "params": {"a": {HUGE: {HUGE[:9]: "\ud800"}}}},
        {"function": HUGE},
    ],
    ids=range(12),
)
def test_an_error_never_repeats_all_that_was_sent(shared_house: House, body: dict[str, Any]) -> None:
    error = error_of(shared_house.http.post(f"{API}/jobs", content=json.dumps(body), headers=JSON), 422)
    assert len(error["message"]) < 400 and len(error["fix"]) < 400
    long = shared_house.http.get(f"{API}/{HUGE[:9000]}")
    assert len(error_of(long, 404)["message"]) < 400


def test_malformed_json_is_told_with_line_and_column(shared_house: House) -> None:
    answer = shared_house.http.post(f"{API}/jobs", content=b'{"command": ["x"],\n "cpus": }', headers=JSON)
    assert "line 2 column 10" in error_of(answer, 422)["message"]


def test_what_happens_to_the_platform_itself_is_read_by_its_administrators_in_pages(house: House) -> None:
    ed = house.user("ed", default="admin")
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    for _ in range(3):
        error_of(house.visitor("lpt_" + "x" * 43).get(f"{API}/jobs"), 401)
    error_of(ed.get(f"{API}/security/users"), 403)
    error_of(ed.get(f"{API}/events?scope=platform"), 403, "forbidden")
    error_of(ed.get(f"{API}/events?scope=all"), 422)
    house.ask("POST", "/security/users", {"name": "one"}, status=201)  # stored after all that came before it
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = house.ask("GET", f"/events?scope=platform&limit=3&after={after}")
        found, after = found + page["items"], page["next"]
    told = [(event["kind"], event["verb"], event["actor"]) for event in found]
    assert {event["workspace"] for event in found} == {""}
    for wanted in (("user", "created", "admin"), ("user", "token issued", "admin"), ("workspace", "created", "admin")):
        assert wanted in told
    assert told.count(("login", "refused", "nobody")) == 1
    assert ("request", "refused", "ed") in told
    refusal = next(event for event in found if event["kind"] == "login")
    assert refusal["subject"] == "127.0.0.1" and "lpt_" not in json.dumps(found)
    house.advance(61)
    error_of(house.visitor("lpt_" + "x" * 43).get(f"{API}/jobs"), 401)
    house.ask("POST", "/security/users", {"name": "two"}, status=201)
    again = house.ask("GET", f"/events?scope=platform&after={found[-1]['seq']}")["items"]
    assert [event["data"] for event in again if event["kind"] == "login"] == [{"times": 3}]
