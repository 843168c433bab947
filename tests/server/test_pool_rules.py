"""What administrators lay down through the front door: labels, nodes to forget, priorities that are not for all."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from lepton.core.errors import ConflictError
from lepton.engine.course import Course
from lepton.engine.simulated import NODES
from lepton.pool.standing import NodeState
from lepton.server.nodes import MOST_LABELS, find_node, remove
from lepton.server.pulse import LOST_AFTER
from lepton.server.submit import Author
from lepton.store.database import Tx
from tests.server.house import API, House, error_of, wait_until
from tests.server.test_pool import LONG, end, house, lepton, node, told_since

__all__ = ["house", "lepton"]


@pytest.fixture(autouse=True)
def clean(house: House) -> Any:
    """Leave the node without labels of ours."""
    yield
    for name in node(house)["spec"]["labels"] if house.ask("GET", "/pool/nodes")["items"] else ():
        house.ask("POST", "/pool/nodes/sim/labels", {"labels": {name: None}})


def lose(house: House) -> None:
    house.engine.lose_node("sim")
    house.advance(LOST_AFTER * house.config.heartbeat_s + 1)
    wait_until(lambda: node(house)["state"] == "failed", "it is failed")


def test_labels_of_ours_count_like_the_engines_and_outlive_its_reports(house: House, lepton: Any) -> None:
    wish = {"command": ["x"], "within": "rack", "labels": {"zone": "a"}, "params": {"course": LONG}}
    error_of(house.http.post(f"{API}/jobs", json=wish), 409, "capacity")
    before = node(house)["revision"]
    assert "rack=r1" in lepton("pool", "label", "sim", "rack=r1", "zone=a").stdout
    lepton("pool", "label", "sim", "zone=a")
    assert told_since(house, before, "node") == ["label"], "the same again is no change"
    told = node(house)["status"]["seen_at"]
    house.advance(6)
    wait_until(lambda: node(house)["status"]["seen_at"] > told, "it is reported again")
    seen = node(house)
    assert seen["spec"] == {"wish": "open", "labels": {"rack": "r1", "zone": "a"}}
    assert seen["status"]["labels"].items() >= seen["spec"]["labels"].items()
    assert house.ask("GET", "/pool/nodes")["items"] == [seen]
    assert lepton("pool", "nodes").stdout.splitlines()[1].split("\t")[-1] == "r1"
    job = house.http.post(f"{API}/jobs", json=wish).json()["id"]
    house.wait(job, "running")
    lepton("pool", "label", "sim", "zone-")
    assert house.job(job)["state"] == "running", "who is there already stays"
    error_of(house.http.post(f"{API}/jobs", json=wish), 409, "capacity")
    lose(house)
    house.engine.add_node(NODES[0])
    house.advance(1)
    wait_until(lambda: node(house)["state"] == "up", "it is back")
    assert node(house)["spec"]["labels"] == {"rack": "r1"}


def test_a_label_of_the_engine_may_be_overruled_and_not_taken_away(house: House, lepton: Any) -> None:
    house.engine.lose_node("sim")
    house.engine.add_node(type(NODES[0])(name="sim", devices=NODES[0].devices, labels={"gpu_model": "a100"}))
    house.advance(1)
    wait_until(lambda: node(house)["status"]["labels"].get("gpu_model") == "a100", "it is reported")
    said = lepton("pool", "label", "sim", "gpu_model-", code=2)
    assert "engine's" in str(said.exception)
    assert "gpu_model=h100" in lepton("pool", "label", "sim", "gpu_model=h100").stdout
    assert "gpu_model=a100" in lepton("pool", "label", "sim", "gpu_model-").stdout
    house.engine.lose_node("sim")
    house.engine.add_node(NODES[0])
    house.advance(1)
    wait_until(lambda: "gpu_model" not in node(house)["status"]["labels"], "it is reported")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({}, "at least 1"),
        ({"a b": "x"}, "name of a label"),
        ({"a": 1}, "labels.a"),
        ({f"l{at}": "x" for at in range(MOST_LABELS + 1)}, f"{MOST_LABELS + 1} labels"),
    ],
    ids=["none", "space", "number", "many"],
)
def test_labels_that_cannot_be_are_refused(house: House, labels: Any, says: str) -> None:
    answer = house.http.post(f"{API}/pool/nodes/sim/labels", json={"labels": labels})
    assert says in error_of(answer, 422)["message"]
    assert node(house)["spec"]["labels"] == {}


def test_words_that_are_no_labels_are_refused(lepton: Any) -> None:
    for word in ("-", "rack", "=r1"):
        assert "rack=r1" in lepton("pool", "label", "sim", "--", word, code=2).stderr


def test_only_a_node_that_has_failed_and_holds_nothing_is_forgotten(house: House, lepton: Any) -> None:
    before = node(house)["revision"]
    assert "its engine shows it" in str(lepton("pool", "remove", "sim", code=1).exception)
    lepton("pool", "label", "sim", "rack=r1")
    lose(house)
    assert "sim is gone" in lepton("pool", "remove", "sim").stdout
    lepton("pool", "remove", "sim", code=3)
    assert house.ask("GET", "/pool/nodes")["items"] == [] and house.ask("GET", "/pool")["nodes"] == {}
    assert told_since(house, before, "node")[-1] == "removed"
    house.engine.add_node(NODES[0])
    house.advance(1)
    wait_until(lambda: house.ask("GET", "/pool")["nodes"] == {"up": 1}, "it is back")
    assert node(house)["spec"] == {"wish": "open", "labels": {}}
    end(house, house.submit(course=LONG)["id"])


def test_a_node_where_a_job_holds_a_place_is_not_forgotten(house: House) -> None:
    job = house.submit(course=LONG)["id"]
    house.wait(job, "running")
    jobs = house.platform.database.read(lambda tx: house.platform.overview.use(tx, ["sim"])["sim"][1])

    def forget(tx: Tx) -> None:
        author = Author(actor="ada", workspace="", at=house.platform.clock.now())
        remove(tx, replace(find_node(tx, "sim"), state=NodeState.FAILED), jobs, author)

    with pytest.raises(ConflictError, match="1 job holds a place on sim"):
        house.platform.database.write(forget)


def test_nodes_are_labelled_and_forgotten_by_administrators_of_the_platform_only(house: House) -> None:
    admin = house.user("eva", default="admin")
    error_of(admin.post(f"{API}/pool/nodes/sim/labels", json={"labels": {"rack": "r1"}}), 403, "forbidden")
    error_of(admin.delete(f"{API}/pool/nodes/sim"), 403, "forbidden")


def test_a_highest_priority_holds_for_a_queue_and_those_below_it(house: House, lepton: Any) -> None:
    lepton("pool", "queues", "set", "ml", "--max-priority", "medium-3")
    house.ask("PUT", "/pool/queues/vision", {"parent": "ml"})
    for queue in ("ml", "vision"):
        wish = {"command": ["x"], "queue": queue, "priority": "high-1"}
        error = error_of(house.http.post(f"{API}/jobs", json=wish), 403, "forbidden")
        assert error["message"] == "It asks for priority high-1, and queue 'ml' may have medium-3 at most"
        assert error["fix"].endswith("lepton pool queues set ml --max-priority high-1")
    house.submit(queue="vision", priority="medium-3")
    house.submit(priority="high-1")
    lepton("pool", "queues", "set", "ml", "--max-priority", "")
    house.submit(queue="vision", priority="high-1")


def test_a_highest_priority_of_a_workspace_or_a_user_holds_in_every_queue(house: House, lepton: Any) -> None:
    high = house.submit(priority="high-3", course=LONG)["id"]
    house.wait(high, "running")
    lepton("pool", "quota", "set", "workspace:default", "--max-priority", "medium-2")
    lepton("pool", "quota", "set", "user:admin", "--limit", "gpus=4")
    lepton("pool", "quota", "set", "user:admin", "--max-priority", "low-3")
    rows = [line.split("\t") for line in lepton("pool", "quota").stdout.splitlines()]
    assert rows[1][:3] == ["user:admin", "gpus=4", "low-3"] and rows[2][:3] == ["workspace:default", "", "medium-2"]
    assert house.job(high)["state"] == "running", "what is there already stays"
    words = ["jobs", "submit", "--priority", "medium-1", "--", "true"]
    assert "user 'admin' may have low-3 at most" in str(lepton(*words, code=4).exception)
    lepton("pool", "quota", "set", "user:admin", "--max-priority", "")
    lepton(*words)
    refused = house.http.post(
        f"{API}/data/ingest", json={"raw": house.version()["id"], "name": "x", "priority": "medium-3"}
    )
    assert "workspace 'default' may have medium-2 at most" in error_of(refused, 403)["message"]
    assert "Give --limit" in lepton("pool", "quota", "set", "user:admin", code=2).stderr


def test_an_endpoint_is_as_urgent_as_was_asked_and_no_more_than_is_allowed(house: House) -> None:
    house.ask("PUT", "/pool/queues/ml", {"max_priority": "high-1"})
    model = house.version("net", "model")["id"]
    wish = {"name": "net", "model": model, "queue": "ml", "priority": "high-2"}
    assert (
        "queue 'ml' may have high-1" in error_of(house.http.post(f"{API}/serve/endpoints", json=wish), 403)["message"]
    )
    error_of(house.http.post(f"{API}/serve/endpoints", json={**wish, "queue": "nowhere"}), 422)
    made = house.ask("POST", "/serve/endpoints", {**wish, "priority": "high-1"}, status=201)
    job = wait_until(lambda: house.ask("GET", f"/serve/endpoints/{made['id']}")["status"].get("job"), "it has a job")
    assert (house.job(job)["spec"]["queue"], house.job(job)["spec"]["priority"]) == ("ml", "high-1")
    changed = {"model": model, "priority": "urgent"}
    error_of(house.http.put(f"{API}/serve/endpoints/net", json=changed), 422)
    house.ask("DELETE", "/serve/endpoints/net")

    def is_gone() -> bool:
        house.engine.advance(0)
        return bool(house.ask("GET", f"/serve/endpoints/{made['id']}")["state"] == "deleted")

    wait_until(is_gone, "it is gone")


def test_an_endpoint_that_made_room_says_for_whom_and_that_it_waits(
    house: House, lepton: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.engine, "_course", lambda launch: Course(seconds=inf))
    model = house.version("net", "model")["id"]
    made = house.ask("POST", "/serve/endpoints", {"name": "net", "model": model}, status=201)

    def endpoint() -> Any:
        house.engine.advance(0)
        return house.ask("GET", "/serve/endpoints/net")["status"]

    job = wait_until(lambda: endpoint().get("job"), "it has a job")
    house.wait(job, "running")
    house.engine.advance(100)
    high = house.submit(cpus=64, priority="high-1", course=LONG)["id"]
    house.wait(high, "running")
    seen = endpoint()
    assert seen["why"].startswith(
        f"it was stopped to make room for {high} (high-1 in queue default), and waits for its places again; "
        "needs 1 front of 0.1 CPU and 1 worker of 0.5 CPU; the most that one node has free is 0 CPUs"
    )
    assert seen["reasons"][0]["code"] == "shape" and seen["starts_between"] is None, "nobody has waited here before"
    assert high in lepton("serve", "get", "net").stdout and high in lepton("serve", "why", "net").stdout
    end(house, high)
    house.wait(job, "running")
    assert endpoint()["why"] == "its job is running"
    assert "stopped once to make room" in lepton("jobs", "why", job).stdout
    house.ask("DELETE", "/serve/endpoints/net")

    def is_gone() -> bool:
        house.engine.advance(0)
        return bool(house.ask("GET", f"/serve/endpoints/{made['id']}")["state"] == "deleted")

    wait_until(is_gone, "it is gone")


def test_the_queue_of_those_who_name_none_is_always_there(house: House, lepton: Any) -> None:
    for _ in range(2):
        error = error_of(house.http.delete(f"{API}/pool/queues/default"), 409, "conflict")
        assert "always there" in error["message"] and "lepton pool queues set default" in error["fix"]
        house.ask("PUT", "/pool/queues/default", {"limit": {"gpu_milli": 4000}})
    lepton("pool", "queues", "set", "default", "--limit", "")
    assert house.ask("GET", "/pool/queues/default")["spec"]["limit"] == {}
    missing = error_of(house.http.delete(f"{API}/pool/queues/nowhere"), 404, "not_found")
    assert missing["fix"].endswith("lepton pool queues")


def test_nodes_are_listed_in_pages(house: House, lepton: Any) -> None:
    house.engine.add_node(type(NODES[0])(name="zim", devices=NODES[0].devices))
    house.advance(1)
    wait_until(lambda: len(house.ask("GET", "/pool/nodes")["items"]) == 2, "both are seen")
    first = house.ask("GET", "/pool/nodes?limit=1")
    rest = house.ask("GET", f"/pool/nodes?limit=1&cursor={first['next']}")
    assert [page["items"][0]["name"] for page in (first, rest)] == ["sim", "zim"] and rest["next"] is None
    assert lepton("pool", "nodes", "--state", "failed").stdout == ""
    assert len(lepton("pool", "nodes", "--state", "up", "--limit", "1").stdout.splitlines()) == 2
    error_of(house.http.get(f"{API}/pool/nodes?state=lost"), 422)
    house.engine.lose_node("zim")
    house.advance(1)
    wait_until(lambda: house.ask("GET", "/pool")["nodes"] == {"failed": 1, "up": 1}, "it is gone")
    house.ask("DELETE", "/pool/nodes/zim", status=204)
