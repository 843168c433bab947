"""The pool through the front door: what a job may ask for, nodes that are cordoned, drained, lost and found again."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result

from lepton.api.pool import MOST_DECISIONS
from lepton.api.wishes import Priority
from lepton.cli.ending import exit_code
from lepton.cli.main import cli
from lepton.core.errors import LeptonError
from lepton.engine.simulated import NODES
from lepton.jobs.priority import PRIORITIES
from lepton.sdk import options
from lepton.server.pulse import LOST_AFTER
from lepton.store import events, resources
from lepton.train.plan import plan_train
from lepton.train.spec import TrainSpec
from tests.server.house import API, House, error_of, wait_until

LONG = {"seconds": 1e9}


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    """One platform for all tests here; each leaves it as it found it, but for what is history."""
    yield shared_house
    if not shared_house.engine.nodes():
        shared_house.engine.add_node(NODES[0])
    shared_house.ask("POST", "/pool/nodes/sim/uncordon")
    living = [job["id"] for job in shared_house.ask("GET", "/jobs?limit=1000")["items"] if not job["is_final"]]
    end(shared_house, *living)
    queues = [queue for queue in shared_house.ask("GET", "/pool/queues")["items"] if queue["revision"]]
    for queue in sorted(queues, key=lambda queue: not queue["spec"]["parent"]):
        if queue["name"] == "default":
            shared_house.ask("PUT", "/pool/queues/default", {})
        else:
            shared_house.ask("DELETE", f"/pool/queues/{queue['name']}", status=204)
    for quota in shared_house.ask("GET", "/pool/quotas")["items"]:
        shared_house.ask("DELETE", f"/pool/quotas/{quota['name'].replace(':', '/')}", status=204)


def end(house: House, *jobs: str) -> None:
    for job in jobs:
        house.ask("POST", f"/jobs/{job}/stop", {})
        house.wait(job, "cancelled", "done", "failed")


@pytest.fixture(scope="module")
def lab(shared_house: House) -> str:
    """A second workspace."""
    shared_house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    return "lab"


@pytest.fixture
def lepton(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The command line, as the house's administrator."""
    monkeypatch.setenv("LEPTON_URL", house.url)
    monkeypatch.setenv("LEPTON_TOKEN", house.token)

    def call(*words: str, code: int = 0) -> Result:
        ended = CliRunner().invoke(cli, list(words))
        fault = ended.exception
        status = exit_code(fault) if isinstance(fault, LeptonError) else ended.exit_code
        assert status == code, (ended.output, fault)
        return ended

    yield call


def test_priorities_are_the_same_at_every_door() -> None:
    assert get_args(Priority) == get_args(options.Priority) == PRIORITIES


def test_what_a_job_is_entitled_to_is_kept_in_its_spec(house: House, lepton: Any) -> None:
    house.ask("PUT", "/pool/queues/ml", {})
    first = lepton("jobs", "submit", "--", "true").stdout.strip()
    words = ["--queue", "ml", "--priority", "high-1", "--after", first, "--gpus", "0.25", "--resumes", "--json"]
    spec = json.loads(lepton("jobs", "submit", *words, "--", "true").stdout)["spec"]
    assert (spec["queue"], spec["priority"], spec["after"], spec["can_resume"]) == ("ml", "high-1", [first], True)
    assert spec["roles"][0]["devices"]["gpu_milli"] == 250
    lepton("jobs", "submit", "--queue", "nowhere", "--", "true", code=2)


@pytest.mark.parametrize(
    ("wish", "status", "says"),
    [
        ({"gpus": 1.5}, 422, "1.5 GPUs"),
        ({"tpus": 2.25}, 422, "2.25 TPUs"),
        ({"gpus": 1, "fpgas": 1}, 422, "GPUs and FPGAs"),
        ({"priority": "urgent"}, 422, "urgent"),
        ({"queue": "nowhere"}, 422, "no queue 'nowhere'"),
        ({"queue": "../x"}, 422, "queue"),
        ({"after": ["job_00000000000000000000000000"]}, 422, "no job job_0"),
        ({"after": ["ep_00000000000000000000000000"]}, 422, "no job ep_0"),
        ({"after": ["nothing"]}, 422, "after"),
        ({"within": "a b"}, 422, "within"),
        ({"labels": {"": "x"}}, 422, "labels"),
        ({"labels": {"a": 1}}, 422, "labels.a"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for_is_refused(shared_house: House, wish: Any, status: int, says: str) -> None:
    answer = shared_house.http.post(f"{API}/jobs", json={"command": ["x"], "name": "never", **wish})
    assert says in error_of(answer, status)["message"]
    assert shared_house.ask("GET", "/jobs?name=never")["items"] == []


def test_a_job_waits_for_what_is_done_or_lives_and_not_for_what_has_failed(house: House) -> None:
    done, failed = house.submit(course={"seconds": 1}), house.submit(course={"seconds": 1, "code": 3})
    living = house.submit(course=LONG)["id"]
    for job in (done, failed):
        house.wait(job["id"], "running")
    house.advance(1)
    house.wait(done["id"], "done")
    house.wait(failed["id"], "failed")
    kept = house.submit(after=[done["id"], living, done["id"]])
    assert kept["spec"]["after"] == [done["id"], living]
    answer = house.http.post(f"{API}/jobs", json={"command": ["x"], "after": [failed["id"]]})
    assert "failed with code 3" in error_of(answer, 409, "conflict")["message"]


def test_a_job_of_another_workspace_is_nothing_to_wait_for(house: House, lab: str) -> None:
    there = house.submit(workspace=lab, course=LONG)["id"]
    error_of(house.http.post(f"{API}/jobs", json={"command": ["x"], "after": [there]}), 422)
    end(house, there)


def test_a_queue_admits_only_its_workspaces(house: House, lab: str) -> None:
    house.ask("PUT", "/pool/queues/theirs", {"workspaces": [lab]})
    answer = house.http.post(f"{API}/jobs", json={"command": ["x"], "queue": "theirs"})
    assert "not for workspace 'default'" in error_of(answer, 403, "forbidden")["message"]
    end(house, house.submit(workspace=lab, queue="theirs", course=LONG)["id"])
    house.ask("PUT", "/pool/queues/default", {"workspaces": [lab]})
    error_of(house.http.post(f"{API}/jobs", json={"command": ["x"]}), 403)


def test_the_work_of_a_station_waits_in_a_queue_too(house: House) -> None:
    house.ask("PUT", "/pool/queues/ml", {})
    raw = house.version("photos")["id"]
    wish = {"raw": raw, "name": "photos", "queue": "ml", "priority": "low-3"}
    spec = house.ask("POST", "/data/ingest", wish, status=201)["spec"]
    assert (spec["queue"], spec["priority"], spec["can_resume"]) == ("ml", "low-3", False)
    error_of(house.http.post(f"{API}/data/ingest", json={**wish, "queue": "nowhere"}), 422)
    train = plan_train(TrainSpec(dataset=raw, name="digits"))
    assert train.can_resume


def told_since(house: House, seq: int, kind: str) -> list[str]:
    """Verbs of the platform's events of that kind, oldest first."""
    found = house.ask("GET", f"/events?scope=platform&limit=1000&after={seq}")["items"]
    return [event["verb"] for event in found if event["kind"] == kind]


def node(house: House) -> Any:
    return house.ask("GET", "/pool/nodes/sim")


def test_a_cordoned_node_keeps_its_jobs_and_gets_no_new_ones(house: House) -> None:
    running = house.submit(cpus=4, gpus=2, course=LONG)["id"]
    house.wait(running, "running")
    told = house.ask("POST", "/pool/nodes/sim/cordon")
    assert (told["state"], told["spec"]["wish"], told["status"]["jobs"]) == ("cordoned", "cordoned", 1)
    assert told["status"]["free"]["gpu_milli"] == 6000 and told["status"]["free"]["cpu_milli"] == 60_000
    waiting = house.submit()["id"]
    house.advance(1)
    assert house.job(waiting)["state"] == "queued" and house.job(running)["state"] == "running"
    assert house.ask("POST", "/pool/nodes/sim/uncordon")["state"] == "up"
    house.wait(waiting, "running")


def test_a_wish_is_one_event_however_often_it_is_asked(house: House) -> None:
    before = node(house)["revision"]
    first, again = (house.ask("POST", "/pool/nodes/sim/drain") for _ in range(2))
    assert first["state"] == "draining" and first["revision"] == again["revision"]
    assert told_since(house, before, "node") == ["drain"]
    stale = house.http.post(f"{API}/pool/nodes/sim/cordon", headers={"if-match": '"1"'})
    error_of(stale, 412, "stale")
    house.ask("POST", "/pool/nodes/sim/cordon", **{"if-match": f'"{first["revision"]}"'})
    for name in ("nothing", "%00", "sim%0a"):
        error_of(house.http.post(f"{API}/pool/nodes/{name}/cordon"), 404, "not_found")


def test_a_node_that_comes_back_is_what_is_wished_of_it(house: House) -> None:
    house.engine.lose_node("sim")
    house.advance(LOST_AFTER * house.config.heartbeat_s + 1)
    wait_until(lambda: node(house)["state"] == "failed", "it is failed")
    told = house.ask("POST", "/pool/nodes/sim/cordon")
    assert (told["state"], told["spec"]["wish"]) == ("failed", "cordoned")
    house.engine.add_node(NODES[0])
    house.advance(1)
    wait_until(lambda: node(house)["state"] == "cordoned", "it is back")


def test_a_row_of_a_former_version_is_read(house: House) -> None:
    house.engine.lose_node("sim")
    house.platform.database.write(lambda tx: tx.execute("UPDATE resources SET state = 'lost' WHERE kind = 'node'"))
    assert (node(house)["state"], node(house)["spec"]["wish"]) == ("failed", "open")
    house.engine.add_node(NODES[0])
    house.advance(1)
    wait_until(lambda: node(house)["state"] == "up", "it is back")
    rows = house.platform.database.read(lambda tx: resources.alive(tx, "node"))
    assert [row.state for row in rows] == ["up"]


def test_only_administrators_of_the_platform_say_what_becomes_of_nodes(house: House) -> None:
    admin = house.user("eve", default="admin")
    for verb in ("cordon", "uncordon", "drain"):
        error_of(admin.post(f"{API}/pool/nodes/sim/{verb}"), 403, "forbidden")
    assert admin.get(f"{API}/pool/nodes/sim").status_code == 200


def test_the_command_line_drains_a_node_and_waits_until_nothing_runs_there(house: House, lepton: Any) -> None:
    job = house.submit(gpus=1, course=LONG)["id"]
    house.wait(job, "running")
    listed = lepton("pool", "nodes").stdout.splitlines()
    assert listed[0].split("\t") == ["name", "state", "gpus free", "cpus free", "memory free", "jobs", "rack"]
    assert listed[1].split("\t")[:4] == ["sim", "up", "7 of 8", "63 of 64"]
    assert "cordoned" in lepton("pool", "cordon", "sim").stdout
    house.ask("POST", f"/jobs/{job}/stop", {})
    house.wait(job, "cancelled")
    told = json.loads(lepton("pool", "drain", "sim", "--wait", "--json").stdout)
    assert (told["state"], told["status"]["jobs"]) == ("draining", 0)
    assert "sim is up" in lepton("pool", "uncordon", "sim").stdout
    lepton("pool", "cordon", "nothing", code=3)


def test_queues_are_made_changed_and_ended_while_jobs_run(house: House, lepton: Any) -> None:
    before = house.platform.database.read(events.newest)
    lepton("pool", "queues", "set", "ml", "--guarantee", "gpus=4", "--limit", "gpus=6,memory=1G")
    told = json.loads(lepton("pool", "queues", "set", "vision", "--parent", "ml", "--weight", "2", "--json").stdout)
    assert (told["spec"]["parent"], told["spec"]["weight"], told["warnings"]) == ("ml", 2, [])
    running = house.submit(queue="vision", gpus=2, course=LONG)["id"]
    house.wait(running, "running")
    house.engine.advance(90)
    house.submit(queue="ml", cpus=64, course=LONG)
    house.engine.advance(5)
    rows = {row["name"]: row for row in json.loads(lepton("pool", "queues", "--json").stdout)}
    assert list(rows) == ["default", "ml", "vision"]
    assert rows["ml"]["status"] == {
        "held": {"gpu_milli": 2000, "cpu_milli": 1000},
        "jobs": 1,
        "waiting": 1,
        "max_grace_s": 60.0,
        "longest_wait_s": 5.0,
    }
    changed = lepton("pool", "queues", "set", "ml", "--limit", "", "--guarantee", "gpus=12", "--json")
    assert json.loads(changed.stdout)["spec"] == {
        **rows["ml"]["spec"],
        "limit": {},
        "guarantee": {"gpu_milli": 12_000},
    }
    assert "12 GPUs are guaranteed, and the nodes that are there have 8" in changed.stderr
    assert "has vision below it" in str(lepton("pool", "queues", "delete", "ml", code=1).exception)
    assert running in str(lepton("pool", "queues", "delete", "vision", code=1).exception)
    end(house, running)
    lepton("pool", "queues", "delete", "vision")
    assert told_since(house, before, "queue") == ["created", "created", "changed", "deleted"]


def test_how_long_jobs_may_take_to_make_room_is_set_for_a_queue_and_those_below(house: House, lepton: Any) -> None:
    def graces() -> dict[str, str]:
        head, *rows = (line.split("\t") for line in lepton("pool", "queues").stdout.splitlines())
        return {row[0]: row[head.index("max grace")] for row in rows}

    lepton("pool", "queues", "set", "ml", "--max-grace", "5")
    lepton("pool", "queues", "set", "vision", "--parent", "ml")
    assert graces() == {"default": "60 s", "ml": "5 s", "vision": "5 s"}
    revision = house.ask("GET", "/pool/queues/vision")["revision"]
    lepton("pool", "queues", "set", "vision", "--max-grace", "0")
    assert graces()["vision"] == "0 s" and house.ask("GET", "/pool/queues/vision")["revision"] > revision
    lepton("pool", "queues", "set", "vision", "--max-grace", "")
    assert graces()["vision"] == "5 s"
    assert "from 0 to 3600" in lepton("pool", "queues", "set", "ml", "--max-grace", "4000", code=2).stderr
    error_of(house.http.put(f"{API}/pool/queues/ml", json={"max_grace_s": -1}), 422)
    stubborn = {"queue": "vision", "gpus": 8, "grace_s": 3600, "course": {**LONG, "ignores_stop": True}}
    slow = house.submit(**stubborn, priority="low-1")["id"]
    house.wait(slow, "running")
    house.engine.advance(90)
    urgent = house.submit(gpus=8, priority="high-1", course=LONG)["id"]
    house.wait(slow, "stopping")
    house.ask("PUT", "/pool/queues/ml", {"max_grace_s": 50})
    wait_until(lambda: house.job(slow)["status"].get("most_grace_s") == 5.0, "it has five seconds")
    house.engine.advance(6)
    house.wait(urgent, "running")
    end(house, slow)  # which waits, and would take its time if it ran
    end(house, urgent)


def test_a_queue_is_changed_only_as_it_was_read(house: House) -> None:
    made = house.http.put(f"{API}/pool/queues/ml", json={"weight": 2})
    tag = made.headers["etag"]
    assert house.http.get(f"{API}/pool/queues/ml").headers["etag"] == tag
    assert house.http.put(f"{API}/pool/queues/ml", json={"weight": 2}).headers["etag"] == tag
    house.ask("PUT", "/pool/queues/ml", {"weight": 3}, **{"if-match": tag})
    for method, body in (("PUT", {"weight": 4}), ("DELETE", None)):
        error_of(house.http.request(method, f"{API}/pool/queues/ml", json=body, headers={"if-match": tag}), 412)
    error_of(house.http.put(f"{API}/pool/queues/other", json={}, headers={"if-match": "*"}), 412)
    house.ask("DELETE", "/pool/queues/ml", status=204)
    error_of(house.http.get(f"{API}/pool/queues/ml"), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"parent": "nowhere"}, "no queue 'nowhere' above it"),
        ({"parent": "thing"}, "above itself"),
        ({"guarantee": {"gpus": 1}}, "guarantee"),
        ({"guarantee": {"gpu_milli": -1}}, "guarantee.gpu_milli"),
        ({"guarantee": {"gpu_milli": 2}, "limit": {"gpu_milli": 1}}, "More GPUs are guaranteed than the limit allows"),
        ({"weight": 0}, "weight is 0"),
        ({"workspaces": ["nowhere"]}, "no workspace 'nowhere'"),
        ({"colour": "red"}, "colour is unknown"),
    ],
    ids=str,
)
def test_a_queue_that_cannot_be_is_refused(shared_house: House, body: Any, says: str) -> None:
    assert says in error_of(shared_house.http.put(f"{API}/pool/queues/thing", json=body), 422)["message"]
    error_of(shared_house.http.get(f"{API}/pool/queues/thing"), 404)


def test_quotas_limit_users_and_workspaces_that_are_there(house: House, lepton: Any) -> None:
    lepton("pool", "quota", "set", "user:ada", "--limit", "gpus=4", code=3)
    ada = house.user("ada", default="editor")
    lepton("pool", "quota", "set", "user:ada", "--limit", "gpus=4")
    lepton("pool", "quota", "set", "workspace:default", "--limit", "gpus=6,cpus=64")
    job = ada.post(f"{API}/jobs", json={"command": ["x"], "gpus": 2, "params": {"course": LONG}}).json()["id"]
    house.wait(job, "running")
    rows = [line.split("\t") for line in lepton("pool", "quota").stdout.splitlines()]
    assert rows == [
        ["of", "limit", "max priority", "held"],
        ["user:ada", "gpus=4", "", "gpus=2,cpus=1"],
        ["workspace:default", "gpus=6,cpus=64", "", "gpus=2,cpus=1"],
    ]
    for path in ("/pool/quotas/user/ada", "/pool/queues/default"):
        error_of(ada.put(f"{API}{path}", json={"limit": {}}), 403, "forbidden")
        error_of(ada.delete(f"{API}{path}"), 403)
    assert ada.get(f"{API}/pool/quotas").status_code == ada.get(f"{API}/pool/queues").status_code == 200
    lepton("pool", "quota", "delete", "workspace:default")
    lepton("pool", "quota", "delete", "workspace:default", code=3)
    house.ask("DELETE", "/security/users/ada", status=204)
    assert house.ask("GET", "/pool/quotas")["items"] == []
    assert "write e.g. user:ada" in lepton("pool", "quota", "delete", "ada", code=2).stderr


def test_what_could_never_run_is_refused_with_what_could(house: House) -> None:
    house.ask("PUT", "/pool/queues/ml", {"limit": {"gpu_milli": 4000}})
    house.ask("PUT", "/pool/queues/vision", {"parent": "ml"})

    def refusal(**wish: Any) -> str:
        error = error_of(house.http.post(f"{API}/jobs", json={"command": ["x"], **wish}), 409, "capacity")
        return f"{error['message']} {error['fix']}"

    assert "8 GPUs, 1 CPU, on sim Ask for 8 GPUs, 1 CPU or less" in refusal(gpus=9)
    assert "queue 'ml' may hold 4 GPUs Ask for 2 such workers or fewer" in refusal(queue="vision", gpus=2, workers=3)
    assert "no node has the label rack" in refusal(within="rack")
    assert "no node has the label gpu_model=t4" in refusal(labels={"gpu_model": "t4"})
    house.ask("PUT", "/pool/quotas/user/admin", {"limit": {"cpu_milli": 2000}})
    assert "user 'admin' may hold 2 CPUs" in refusal(cpus=3)
    house.ask("POST", "/pool/nodes/sim/cordon")
    job = house.submit(queue="vision", gpus=4)["id"]
    told = house.ask("GET", f"/jobs/{job}/events")["items"]
    assert told[0]["why"] == "it fits only with nodes that are not open now: sim is cordoned"


def test_the_pool_at_a_glance(house: House, lepton: Any, lab: str) -> None:
    house.ask("PUT", "/pool/queues/ml", {"guarantee": {"gpu_milli": 4000}})
    house.ask("PUT", "/pool/queues/vision", {"parent": "ml", "limit": {"gpu_milli": 2000}})
    held = house.submit(queue="vision", gpus=2, course=LONG)["id"]
    house.wait(held, "running")
    theirs = house.submit(workspace=lab, gpus=1, course=LONG)["id"]
    house.wait(theirs, "running")
    house.ask("POST", "/pool/nodes/sim/cordon")
    house.submit(queue="ml")
    house.engine.advance(600)
    seen = house.ask("GET", "/pool")
    assert seen["devices"]["gpu_milli"] == {"total": 8000, "up": 8000, "held": 3000}
    assert (seen["nodes"], seen["jobs"]) == ({"cordoned": 1}, {"queued": 1, "running": 2})
    verbs = [event["verb"] for event in seen["decisions"]]
    assert verbs[:3] == ["cordon", "queued->placed", "queued->placed"] and len(verbs) <= MOST_DECISIONS
    assert json.loads(lepton("pool", "top", "--json").stdout)["queues"] == seen["queues"]
    lines = lepton("pool", "top").stdout.splitlines()
    assert lines[0] == "nodes: 1 cordoned; jobs: 1 queued, 2 running"
    assert "gpus\t3\t8\t\t 38%\t#########" in lines
    assert "ml\tgpus=4\t\tgpus=2,cpus=1\t1\t1\t10 min" in lines
    assert "  vision\t\tgpus=2\tgpus=2,cpus=1\t1\t\t" in lines
    viewer = house.user("val", default="viewer")
    told = viewer.get(f"{API}/pool").json()
    assert theirs not in str(told["decisions"]) and held in str(told["decisions"])
    assert told["queues"] == seen["queues"]
    end(house, theirs)
