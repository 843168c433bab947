"""Who may do what: every route of the OpenAPI document against every kind of visitor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lepton.core.errors import LeptonError
from lepton.security.identity import worker_token
from tests.server.house import API, House, Promises, error_of, open_house

OPEN = {("GET", f"{API}/openapi.json"), ("GET", f"{API}/security/jwks")}
METHODS = ("get", "put", "post", "delete", "head", "patch")
ID = "00000000000000000000000000"
SAMPLES = {"id": f"job_{ID}", "digest": "a" * 64, "name": "thing", "user": "thing", "ref": "thing"}
EVERYBODYS = {"/security/whoami", "/security/workspaces", "/security/users/{name}/tokens"}
"""Routes about the visitor alone, which a token with no role may ask."""


def routes(house: House) -> Iterator[tuple[str, str, dict[str, Any]]]:
    document = house.visitor().get(f"{API}/openapi.json").json()
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and (method.upper(), path) not in OPEN:
                yield method.upper(), path, item[method]


def call(client: httpx.Client, method: str, path: str, operation: dict[str, Any]) -> httpx.Response:
    """A request of the right form, about things that do not exist; streams are asked to end at once."""
    for name, value in SAMPLES.items():
        path = path.replace(f"{{{name}}}", value)
    query = {"timeout_s": "0.01"} if path.endswith(("/watch", "/logs")) else {}
    if any(parameter["name"] == "endpoint" for parameter in operation.get("parameters", ())):
        query["endpoint"] = f"ep_{ID}"
    body = {} if "requestBody" in operation and "objects" not in path else None
    return client.request(method, path, params=query, json=body)


def test_the_document_is_open_and_nothing_else_answers_without_a_token(shared_house: House) -> None:
    found = list(routes(shared_house))
    assert len(found) >= 50
    for method, path in OPEN:
        assert shared_house.visitor().request(method, path).status_code == 200
    nobodies = {
        "none": shared_house.visitor(),
        "unknown": shared_house.visitor("lpt_" + "x" * 43),
        "basic": shared_house.visitor(authorization=f"Basic {shared_house.token}"),
        "worker": shared_house.visitor("lpw_job_1.0.abc"),
        "odd": shared_house.visitor("lpw_..."),
    }
    for method, path, operation in found:
        for name, nobody in nobodies.items():
            answer = call(nobody, method, path, operation)
            assert answer.status_code == 401, (name, method, path, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"
            if method != "HEAD":
                error_of(answer, 401, "unauthenticated")


def test_expired_and_revoked_tokens_end_at_once_also_for_who_has_just_used_them(house: House) -> None:
    house.user("val", default="viewer")
    short = house.ask("POST", "/security/users/val/tokens", {"lifetime_s": 2}, status=201)
    other = house.ask("POST", "/security/users/val/tokens", {}, status=201)
    brief, long = house.visitor(short["token"]), house.visitor(other["token"])
    for client in (brief, long):
        assert client.get(f"{API}/security/whoami").status_code == 200
    house.engine.advance(1.9)
    assert brief.get(f"{API}/jobs").status_code == 200
    house.engine.advance(0.2)
    error_of(brief.get(f"{API}/jobs"), 401)
    house.ask("DELETE", f"/security/users/val/tokens/{other['id']}", status=204)
    error_of(long.get(f"{API}/security/whoami"), 401)


def test_a_deleted_user_and_a_lost_membership_take_effect_at_once(house: House) -> None:
    val, ed = house.user("val", default="viewer"), house.user("ed", default="editor")
    assert val.get(f"{API}/jobs").status_code == ed.get(f"{API}/jobs").status_code == 200
    house.ask("PUT", "/security/workspaces/default/members/val", {"role": ""})
    error_of(val.get(f"{API}/jobs"), 404)
    house.ask("DELETE", "/security/users/ed", status=204)
    error_of(ed.get(f"{API}/jobs"), 401)


@pytest.fixture(scope="module")
def visitors(shared_house: House) -> dict[str, httpx.Client]:
    """One visitor of each kind; `default` is the workspace that is asked."""
    house = shared_house
    house.ask("POST", "/security/workspaces", {"name": "elsewhere"}, status=201)
    job = house.submit(workspace="elsewhere", course={"seconds": 1e9})["id"]
    return {
        "worker": house.visitor(worker_token(house.platform.keys.workers, job, 0)),
        "stranger": house.user("stranger"),
        "foreigner": house.user("foreigner", elsewhere="admin"),
        "viewer": house.user("viewer", default="viewer"),
        "editor": house.user("editor", default="editor"),
        "admin": house.user("wsadmin", default="admin"),
    }


def test_only_its_own_door_is_open_to_each_role(shared_house: House, visitors: dict[str, httpx.Client]) -> None:
    for method, path, operation in routes(shared_house):
        short = path.removeprefix(API)
        answers = {name: call(client, method, path, operation) for name, client in visitors.items()}
        statuses = {name: answer.status_code for name, answer in answers.items()}
        assert all(status < 500 for status in statuses.values()), (method, path, statuses)
        where = (method, short, statuses)
        if short not in EVERYBODYS:
            assert statuses["stranger"] in (403, 404, 422), where
        if short.startswith(
            ("/jobs", "/data", "/train", "/optimize", "/serve", "/observe", "/security/secrets", "/watch")
        ):
            assert statuses["foreigner"] in (404, 422), where
        if method in ("POST", "PUT", "DELETE") and not short.startswith(("/security/users", "/security/jwts")):
            assert statuses["viewer"] in (403, 404, 422), where
        if short.startswith("/security/secrets") and method != "GET":
            assert statuses["editor"] == 403, where
        if short in ("/security/users", "/security/workspaces") and method == "POST":
            assert {statuses[name] for name in ("stranger", "viewer", "editor", "admin")} == {403}, where
        workers = ("/vault", "/catalog/versions", "/serve/site", "/security/revoked")
        if not short.startswith(workers) and not short.endswith("/reports"):
            assert statuses["worker"] == 403, where


def test_a_role_reaches_what_it_should_and_no_more(shared_house: House, visitors: dict[str, httpx.Client]) -> None:
    body = {"command": ["true"]}
    error_of(visitors["viewer"].post(f"{API}/jobs", json=body), 403, "forbidden")
    made = visitors["editor"].post(f"{API}/jobs", json=body)
    assert made.status_code == 201
    job = made.json()["id"]
    assert visitors["viewer"].get(f"{API}/jobs/{job}").status_code == 200
    error_of(visitors["viewer"].post(f"{API}/jobs/{job}/stop", json={}), 403)
    for who in ("foreigner", "stranger"):
        for path in ("", "/logs", "/events", "/why", "/metrics"):
            error_of(visitors[who].get(f"{API}/jobs/{job}{path}"), 404, "not_found")
        error_of(visitors[who].post(f"{API}/jobs/{job}/stop", json={}), 404)
    error_of(visitors["editor"].put(f"{API}/security/secrets/s", json={"value": "x"}), 403)
    assert visitors["admin"].put(f"{API}/security/secrets/s", json={"value": "x"}).status_code == 200
    refused = shared_house.ask("GET", "/events?limit=1000")["items"]
    assert any(event["verb"] == "refused" and event["actor"] == "viewer" for event in refused)


def test_who_may_write_nowhere_fills_no_vault(shared_house: House, visitors: dict[str, httpx.Client]) -> None:
    path = f"{API}/vault/objects/{'a' * 64}"
    error_of(visitors["viewer"].put(path, content=b"x"), 403)
    for who in ("stranger", "foreigner"):
        error_of(visitors[who].put(path, content=b"x"), 404)
    error_of(visitors["stranger"].get(path), 403)
    error_of(visitors["stranger"].get(f"{API}/pool/nodes"), 403)
    assert visitors["viewer"].get(f"{API}/pool/nodes").status_code == 200


def test_members_are_an_affair_of_the_workspace(shared_house: House, visitors: dict[str, httpx.Client]) -> None:
    path = f"{API}/security/workspaces/default/members"
    assert visitors["viewer"].get(path).json()["members"]["viewer"] == "viewer"
    error_of(visitors["viewer"].put(f"{path}/viewer", json={"role": "admin"}), 403)
    error_of(visitors["foreigner"].get(path), 404)
    error_of(visitors["foreigner"].put(f"{path}/foreigner", json={"role": "admin"}), 404)
    error_of(visitors["admin"].put(f"{path}/viewer", json={"role": "worker"}), 422)
    error_of(visitors["admin"].put(f"{path}/nobody", json={"role": "viewer"}), 404)
    error_of(visitors["admin"].post(f"{API}/security/users/viewer/tokens", json={}), 403)
    assert visitors["viewer"].post(f"{API}/security/users/viewer/tokens", json={}).status_code == 201


def test_a_worker_is_at_home_in_its_jobs_workspace(shared_house: House, visitors: dict[str, httpx.Client]) -> None:
    worker = visitors["worker"]
    job = json.loads(shared_house.http.get(f"{API}/jobs?workspace=elsewhere").content)["items"][0]["id"]
    digest = shared_house.store(b"state", worker)
    files = [{"path": "f", "digest": digest, "size_bytes": 5}]
    body = {"kind": "checkpoint", "name": job.replace("_", "-"), "files": files, "job": job}
    made = worker.post(f"{API}/catalog/versions", json=body)
    assert made.status_code == 201 and made.json()["workspace"] == "elsewhere"
    found = worker.get(f"{API}/catalog/versions?kind=checkpoint&job={job}").json()["items"]
    assert [version["id"] for version in found] == [made.json()["id"]]
    assert worker.post(f"{API}/catalog/versions", json=body).json() == made.json()
    error_of(worker.post(f"{API}/catalog/versions", json={**body, "job": ""}), 403)


def test_a_workspace_leaves_nothing_to_another_of_its_name(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    house.user("val", lab="viewer")
    house.ask("PUT", "/security/secrets/s?workspace=lab", {"value": "x"})
    house.ask("DELETE", "/security/workspaces/lab", status=204)
    error_of(house.http.post(f"{API}/security/workspaces", json={"name": "lab"}), 409, "name_taken")
    assert house.platform.database.read(lambda tx: tx.rows("SELECT * FROM members WHERE workspace = 'lab'")) == []
    sealed = house.platform.database.read(lambda tx: tx.rows("SELECT spec FROM resources WHERE kind = 'secret'"))
    assert sealed == [("{}",)]
    error_of(house.http.post(f"{API}/jobs?workspace=lab", json={"command": ["x"]}), 404)


def test_the_sdk_cannot_be_led_to_another_route(house: House) -> None:
    client = house.sdk()
    house.user("val")
    for call in (
        lambda: client.jobs.get("../security/whoami"),
        lambda: client.catalog.get("../../jobs"),
        lambda: client.serve.get("x?limit=1#"),
    ):
        with pytest.raises(LeptonError):
            call()
    client.close()


def test_who_owns_the_data_directory_is_never_locked_out(tmp_path: Path) -> None:
    with open_house(tmp_path / "data") as first:
        for token in first.ask("GET", "/security/users/admin/tokens")["items"]:
            first.ask("DELETE", f"/security/users/admin/tokens/{token['id']}", status=204)
        error_of(first.http.get(f"{API}/jobs"), 401)
    with open_house(tmp_path / "data") as second:
        assert second.token != first.token
        assert second.http.get(f"{API}/security/whoami").json()["is_platform_admin"]


def test_every_route_names_the_very_statuses_and_codes_it_can_answer_with(shared_house: House) -> None:
    for method, path, operation in routes(shared_house):
        statuses = set(operation["responses"])
        assert all(status.isdigit() for status in statuses), (method, path)
        assert {"401", "422", "500", "503"} <= statuses
        assert ("412" in statuses) == any(found["name"] == "if-match" for found in operation.get("parameters", ()))
        assert ("415" in statuses) == ("application/json" in operation.get("requestBody", {}).get("content", {}))
        assert ("404" in statuses) or "{" not in path
    with pytest.raises(AssertionError):  # and the answers of every test here are held against it
        Promises({"paths": {f"{API}/jobs/{{id}}": {"get": {"responses": {"200": {}}}}}}).check(
            shared_house.http.get(f"{API}/jobs/nothing")
        )


def test_users_and_workspaces_come_in_pages(house: House) -> None:
    for number in range(5):
        house.ask("POST", "/security/workspaces", {"name": f"place{number}"}, status=201)
    member = house.user("pat", place0="viewer", place3="editor")
    for number in range(4):
        house.ask("POST", "/security/users", {"name": f"user{number}"}, status=201)

    def all_of(path: str, client: httpx.Client) -> list[str]:
        names, cursor = [], ""
        while True:
            page = client.get(f"{API}{path}", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            assert len(page["items"]) <= 2
            names += [item["name"] for item in page["items"]]
            if not page["next"]:
                return names
            cursor = page["next"]

    places = all_of("/security/workspaces", house.http)
    assert sorted(places) == ["default", *(f"place{number}" for number in range(5))]
    assert sorted(all_of("/security/users", house.http)) == ["admin", "pat", *(f"user{number}" for number in range(4))]
    assert sorted(all_of("/security/workspaces", member)) == ["place0", "place3"]
    with house.sdk() as client:
        assert sorted(row["name"] for row in client.security.workspaces()) == sorted(places)
