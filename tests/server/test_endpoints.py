"""The life of an endpoint, on the simulated engine: starting, ready, changed, deleted, its name free again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from lepton.core.launch import Exit, ExitReason
from lepton.core.resource import Resource
from lepton.engine.course import Course
from lepton.engine.simulated import NODES
from lepton.server.moving import PATIENCE_S, ROOM_S, Step, next_step
from tests.server.house import API, House, error_of, wait_until


def endpoint(house: House, ref: str = "digits") -> dict[str, Any]:
    found: dict[str, Any] = house.ask("GET", f"/serve/endpoints/{ref}")
    return found


def living_job(house: House, model: str) -> str:
    """Id of the running job that serves this model."""

    def look() -> str:
        house.engine.advance(0)
        jobs = house.ask("GET", "/jobs?state=running")["items"]
        return next((job["id"] for job in jobs if job["spec"]["params"]["spec"]["model"] == model), "")

    return str(wait_until(look, "its job runs"))


def make_ready(house: House, job: str, address: str) -> None:
    item = {"type": "ready", "at": 1, "address": address}
    body = {"generation": house.job(job)["status"]["generation"], "rank": 0, "first": 0, "items": [item]}
    house.ask("POST", f"/jobs/{job}/reports", body)


def test_an_endpoint_lives_and_its_name_is_free_again(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    first, second = house.version("m", "model")["id"], house.version("m", "model")["id"]
    body = {"name": "digits", "model": first}
    made = house.http.post(f"{API}/serve/endpoints", json=body)
    assert made.status_code == 201 and made.json()["state"] == "starting" and made.headers["etag"]
    error_of(house.http.post(f"{API}/serve/endpoints", json=body), 409, "name_taken")
    old = living_job(house, first)
    error_of(house.http.post(f"{API}/jobs/{old}/stop", json={}), 422)
    make_ready(house, old, "127.0.0.1:1")
    wait_until(lambda: endpoint(house)["state"] == "ready", "it is ready")
    assert endpoint(house)["status"]["address"] == "127.0.0.1:1"

    tag = house.http.get(f"{API}/serve/endpoints/digits").headers["etag"]
    path = f"{API}/serve/endpoints/digits"
    error_of(house.http.put(path, json={"model": "m@9"}), 404)
    error_of(house.http.put(path, json={"model": second, "replicas": 0}), 422)
    error_of(house.http.put(path, json={"model": second}, headers={"if-match": '"1"'}), 412)
    assert house.http.put(path, json={"model": second}, headers={"if-match": tag}).status_code == 200
    new = living_job(house, second)
    make_ready(house, new, "127.0.0.1:2")
    wait_until(lambda: endpoint(house)["status"]["address"] == "127.0.0.1:2", "the new one answers")
    house.wait(old, "cancelled")

    id = endpoint(house)["id"]
    error_of(house.http.delete(path, headers={"if-match": tag}), 412)
    assert house.http.delete(path).status_code == 200
    error_of(house.http.put(f"{API}/serve/endpoints/{id}", json={"model": first}), 409, "illegal_move")
    house.wait(new, "cancelled")
    wait_until(lambda: endpoint(house, id)["state"] == "deleted", "it is gone")
    error_of(house.http.get(path), 404)
    error_of(house.http.put(f"{API}/serve/endpoints/{id}", json={"model": first}), 409)
    house.ask("POST", "/serve/endpoints", body, status=201)


def test_a_replica_that_ends_again_and_again_is_replaced_at_once_each_time(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    model = house.version("m", "model")["id"]
    house.ask("POST", "/serve/endpoints", {"name": "digits", "model": model}, status=201)
    job = living_job(house, model)
    make_ready(house, job, "127.0.0.1:1")
    keys = [f"{job}.0.1{suffix}" for suffix in ("", ".1", ".2", ".3")]
    for key, successor in pairwise(keys):
        house.engine.stop(key, grace_s=0)
        house.engine.advance(0)  # virtual time stands still: nothing but the engine's word tells of the end
        wait_until(lambda: house.engine.look(successor).status == "running", f"{successor} runs")  # noqa: B023


def test_an_endpoint_takes_no_model_of_another_workspace(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    house.ask("POST", "/security/workspaces", {"name": "other"}, status=201)
    own, foreign = house.version("m", "model")["id"], house.version("m", "model", workspace="other")["id"]
    error_of(house.http.post(f"{API}/serve/endpoints", json={"name": "e", "model": foreign}), 404)
    made = house.ask("POST", "/serve/endpoints", {"name": "e", "model": own}, status=201)
    path = f"{API}/serve/endpoints/{made['id']}"
    error_of(house.http.put(f"{path}?workspace=other", json={"model": foreign}), 404)


def test_drift_is_asked_of_an_endpoint_and_an_alert_is_resolved_once(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    model = house.version("m", "model")["id"]
    error_of(house.http.post(f"{API}/observe", json={"endpoint": "digits"}), 404)
    made = house.ask("POST", "/serve/endpoints", {"name": "digits", "model": model}, status=201)
    error_of(house.http.post(f"{API}/observe", json={"endpoint": "digits"}), 404)
    capture = house.version("digits", "capture")
    check = house.ask("POST", "/observe", {"endpoint": "digits"}, status=201)
    assert check["spec"]["inputs"]["capture"] == capture["id"]
    house.version("digits", "report", meta={"alert": "drift", "endpoint": made["id"]})
    alert = house.ask("GET", "/observe/alerts?state=firing")["items"][0]
    path = f"{API}/observe/alerts/{alert['id']}/resolve"
    error_of(house.http.post(path, headers={"if-match": '"1"'}), 412)
    assert house.http.post(path).json()["state"] == "resolved"
    assert house.http.post(path).json()["state"] == "resolved"
    assert house.ask("GET", "/observe/alerts?state=firing")["items"] == []
    with house.sdk() as client:
        assert client.observe.alert(alert["id"]).resolve().state == "resolved"


def _forever() -> Course:
    return Course(seconds=1e12)


def test_a_model_version_that_says_how_it_is_served_is_served_so(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    file = {"path": "flowers.skops", "digest": house.store(b"w"), "size_bytes": 1}
    body = {"kind": "model", "name": "flowers", "files": [file], "meta": {"entry": "skops:flowers.skops"}}
    version = house.ask("POST", "/catalog/versions", body, status=201)
    made = house.ask("POST", "/serve/endpoints", {"name": "e", "model": "flowers", "replicas": 2}, status=201)
    wish = made["spec"]["endpoint"]
    assert (wish["code"], wish["entry"], wish["model"], wish["replicas"]) == (
        version["id"],
        "skops:flowers.skops",
        "",
        2,
    )
    house.ask("POST", "/catalog/versions", {**body, "name": "odd", "meta": {"entry": "tar:x"}}, status=201)
    error_of(house.http.post(f"{API}/serve/endpoints", json={"name": "o", "model": "odd"}), 422, "invalid")


def test_a_model_that_cannot_be_served_is_refused_with_the_way_out(house: House) -> None:
    file = {"path": "weights.safetensors", "digest": house.store(b"w"), "size_bytes": 1}
    house.ask("POST", "/catalog/versions", {"kind": "model", "name": "raw-net", "files": [file]}, status=201)
    answer = house.http.post(f"{API}/serve/endpoints", json={"name": "e", "model": "raw-net"})
    error_of(answer, 422, "invalid")
    assert "lepton optimize raw-net" in answer.json()["fix"]


def test_an_endpoint_answers_elsewhere_before_it_leaves_a_node_that_is_drained(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    model = house.version("m", "model")["id"]
    made = house.ask("POST", "/serve/endpoints", {"name": "digits", "model": model, "replicas": 2}, status=201)
    old = living_job(house, model)
    make_ready(house, old, "127.0.0.1:1")
    wait_until(lambda: endpoint(house)["state"] == "ready", "it is ready")
    house.engine.add_node(replace(NODES[0], name="zim"))
    house.advance(1)
    wait_until(lambda: house.ask("GET", "/pool")["nodes"] == {"up": 2}, "there is room elsewhere")
    house.ask("POST", "/pool/nodes/sim/drain")
    new = wait_until(lambda: next(iter(running(house, made["id"]) - {old}), ""), "its successor runs")
    assert {place["node"] for place in house.job(new)["status"]["placement"]} == {"zim"}
    assert house.job(old)["state"] == "running" and endpoint(house)["status"]["address"] == "127.0.0.1:1"
    make_ready(house, new, "127.0.0.1:2")
    wait_until(lambda: endpoint(house)["status"]["address"] == "127.0.0.1:2", "the successor answers")
    house.wait(old, "cancelled")
    assert house.ask("GET", "/pool/nodes/sim")["status"]["jobs"] == 0
    verbs = [event["verb"] for event in house.ask("GET", "/events?limit=1000")["items"] if event["kind"] == "endpoint"]
    assert verbs[-1] == "ready->ready" and "ready->starting" not in verbs
    house.ask("POST", "/pool/nodes/sim/uncordon")
    house.advance(1)
    assert running(house, made["id"]) == {new}, "it does not come back by itself"


def test_an_endpoint_for_which_there_is_no_room_elsewhere_leaves_in_the_end(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    model = house.version("m", "model")["id"]
    made = house.ask("POST", "/serve/endpoints", {"name": "digits", "model": model}, status=201)
    old = living_job(house, model)
    make_ready(house, old, "127.0.0.1:1")
    wait_until(lambda: endpoint(house)["state"] == "ready", "it is ready")
    house.ask("POST", "/pool/nodes/sim/drain")
    queued = "/jobs?state=queued"
    new = wait_until(lambda: next((job["id"] for job in house.ask("GET", queued)["items"]), ""), "its successor waits")
    house.advance(PATIENCE_S / 2)
    assert house.job(old)["state"] == "running" and endpoint(house)["state"] == "ready"
    house.advance(PATIENCE_S / 2 + 1)
    house.wait(old, "queued")
    house.wait(new, "cancelled")
    assert "as sim is being drained" in endpoint(house)["status"]["why"]
    house.ask("POST", "/pool/nodes/sim/uncordon")
    assert living_job(house, model) == old
    assert running(house, made["id"]) == {old}


def running(house: House, owner: str) -> set[str]:
    """Ids of the running jobs of an endpoint."""
    house.engine.advance(0)
    return {job["id"] for job in house.ask("GET", "/jobs?state=running")["items"] if job["owner"] == owner}


@pytest.mark.parametrize(
    ("spec", "drained", "step"),
    [
        ({}, ["n1"], Step.BEGIN),
        ({"port": 8000}, ["n1"], Step.LEAVE),
        ({"port": 8000}, ["n0"], Step.BEGIN),
        ({"front": "ep_1"}, ["n0"], Step.LEAVE),
        ({"is_front": True}, ["n0"], Step.LEAVE),
        ({}, [], Step.STAY),
    ],
    ids=str,
)
def test_two_gangs_answer_side_by_side_only_where_they_can(spec: Any, drained: list[str], step: Step) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    status = {"ready_generation": 0, "generation": 0, "placement": [{"node": "n0"}, {"node": "n1"}]}
    job = Resource(
        id="job_1",
        kind="job",
        workspace="default",
        name="a",
        spec={"params": {"spec": spec}},
        status=status,
        state="running",
        created_at=at,
        updated_at=at,
    )
    assert next_step(job, [], job, drained=drained, at=at) is step
    failed = replace(job, id="job_2", state="failed")
    if step is Step.BEGIN:
        assert next_step(job, [], failed, drained=drained, at=at) is Step.LEAVE
        assert next_step(job, [], failed, drained=drained, at=at + timedelta(hours=1)) is Step.BEGIN
    assert next_step(replace(job, state="stopping"), [], job, drained=drained, at=at) is Step.STAY


def changing(house: House, **wish: Any) -> tuple[str, str, str]:
    """An endpoint that answers and has just been given another model: its first job, both models."""
    house.engine._course = lambda launch: _forever()
    first, second = house.version("m", "model")["id"], house.version("m", "model")["id"]
    house.ask("POST", "/serve/endpoints", {"name": "digits", "model": first, **wish}, status=201)
    old = living_job(house, first)
    make_ready(house, old, "127.0.0.1:1")
    wait_until(lambda: endpoint(house)["state"] == "ready", "it is ready")
    house.advance(1)  # ids grow with time
    assert house.http.put(f"{API}/serve/endpoints/digits", json={"model": second, **wish}).status_code == 200
    return old, first, second


def test_what_an_endpoint_was_answers_until_what_it_shall_be_does(house: House) -> None:
    old, first, second = changing(house)
    new = living_job(house, second)
    assert (house.job(old)["state"], endpoint(house)["state"]) == ("running", "ready")
    assert endpoint(house)["status"]["address"] == "127.0.0.1:1"
    assert endpoint(house)["status"]["spec"]["model"] == first, "who waits for the change sees that it is not there"
    assert endpoint(house)["status"]["serves"] == "m@1"
    make_ready(house, new, "127.0.0.1:2")
    wait_until(lambda: endpoint(house)["status"]["address"] == "127.0.0.1:2", "the new one answers")
    house.wait(old, "cancelled")
    assert endpoint(house)["status"]["spec"]["model"] == second and endpoint(house)["status"]["serves"] == "m@2"
    verbs = [event["verb"] for event in house.ask("GET", "/events?limit=1000")["items"] if event["kind"] == "endpoint"]
    assert "ready->starting" not in verbs


def test_a_change_that_fails_leaves_what_was_there_and_can_be_taken_back(house: House) -> None:
    old, first, second = changing(house)
    new = living_job(house, second)
    house.engine._course = lambda launch: Course(seconds=0, exit=Exit(reason=ExitReason.FAILED, code=1))
    for key in [key for key in list(house.engine.keys()) if key.startswith(new)]:
        house.engine.stop(key, grace_s=0)

    def has_failed() -> bool:
        house.advance(5)
        return bool(endpoint(house)["state"] == "failed")

    wait_until(has_failed, "it has failed", 30)
    status = endpoint(house)["status"]
    assert "still answers at 127.0.0.1:1" in status["why"] and status["address"] == "127.0.0.1:1"
    assert status["spec"]["model"] == second and status["job"] != old
    assert house.job(old)["state"] == "running"
    assert house.http.put(f"{API}/serve/endpoints/digits", json={"model": first}).status_code == 200
    wait_until(lambda: endpoint(house)["state"] == "ready", "it is what it was")
    assert endpoint(house)["status"]["job"] == old and house.job(old)["state"] == "running"


@pytest.mark.parametrize("wish", [{"worker_cpu_milli": 40_000}, {"port": 8000}], ids=["no room", "one port"])
def test_where_two_cannot_stand_side_by_side_the_old_one_goes_first(house: House, wish: dict[str, int]) -> None:
    old, _, second = changing(house, **wish)
    if "port" not in wish:
        wait_until(lambda: house.ask("GET", "/jobs?state=queued")["items"], "its successor waits")
        assert house.job(old)["state"] == "running"
        house.advance(ROOM_S)
    house.wait(old, "cancelled")
    make_ready(house, living_job(house, second), "127.0.0.1:2")
    wait_until(lambda: endpoint(house)["status"]["address"] == "127.0.0.1:2", "the new one answers")


def test_no_endpoint_has_an_address_of_its_front_as_its_host(house: House) -> None:
    house.engine._course = lambda launch: _forever()
    model = house.version("m", "model")["id"]
    path = f"{API}/serve/endpoints"
    front = {"is_front": True, "host": "10.9.8.7"}
    assert house.http.post(path, json={"name": "edge", **front}).status_code == 201

    def look() -> str:
        house.engine.advance(0)
        jobs = house.ask("GET", "/jobs?state=running")["items"]
        return "".join(job["id"] for job in jobs if job["spec"]["params"]["spec"]["is_front"])

    job = str(wait_until(look, "it runs"))
    make_ready(house, job, "https://edge.lan:8443")
    wait_until(lambda: endpoint(house, "edge")["state"] == "ready", "it is ready")
    node = house.job(job)["status"]["placement"][0]["node"]
    wish = {"model": model, "front": "edge"}
    assert house.http.post(path, json={"name": "digits", **wish, "hosts": ["a.example", "10.1.1.1"]}).status_code == 201
    for host in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.9.8.7", "edge.lan", node):
        for answer in (
            house.http.post(path, json={"name": "other", **wish, "hosts": ["b.example", host]}),
            house.http.put(f"{path}/digits", json={**wish, "hosts": [host]}),
        ):
            assert "front 'edge'" in error_of(answer, 422)["message"], host
    assert house.http.post(path, json={"name": "third", **wish, "hosts": ["c.example"]}).status_code == 201
    error_of(house.http.put(f"{path}/third", json={**wish, "hosts": ["a.example"]}), 409, "name_taken")
    error_of(house.http.put(f"{path}/edge", json={**front, "host": "10.1.1.1"}), 422)
    assert house.http.put(f"{path}/edge", json={**front, "host": "10.1.1.2"}).status_code == 200
