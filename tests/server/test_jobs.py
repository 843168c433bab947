"""Jobs through the front door: submit once, list in pages, read why, report, stop."""

from concurrent.futures import ThreadPoolExecutor

from lepton.security.identity import worker_token
from tests.server.house import API, House, error_of, wait_until

METRIC = {"type": "metrics", "step": 1, "at": 1, "values": {"loss": 0.5}}


def test_a_job_runs_to_its_end_and_says_what_happened(house: House) -> None:
    job = house.submit(name="first", course={"seconds": 5, "output": "hello\n"})
    assert job["state"] == "queued" and job["revision"] > 0
    house.wait(job["id"], "running")
    house.advance(5)
    done = house.wait(job["id"], "done")
    assert done["is_final"] and done["status"]["ending"]["code"] == 0
    verbs = [event["verb"] for event in house.ask("GET", f"/jobs/{job['id']}/events")["items"]]
    assert verbs == ["created", "queued->placed", "placed->running", "running->done"]
    assert house.http.get(f"{API}/jobs/{job['id']}/logs").text.endswith("hello\n")


def test_one_idempotency_key_makes_one_job_however_many_race(house: House) -> None:
    def submit(_: int) -> str:
        body = {"command": ["true"], "name": "once"}
        answer = house.http.post(f"{API}/jobs", json=body, headers={"idempotency-key": "k"})
        assert answer.status_code == 201
        return answer.text

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(submit, range(16)))
    assert len(set(answers)) == 1
    assert len(house.ask("GET", "/jobs")["items"]) == 1
    other = house.http.post(f"{API}/jobs", json={"command": ["false"]}, headers={"idempotency-key": "k"})
    error_of(other, 409, "idempotency")


def test_a_refused_request_does_not_use_up_its_key(house: House) -> None:
    body = {"command": ["true"], "secrets": {"A": "later"}}
    error_of(house.http.post(f"{API}/jobs", json=body, headers={"idempotency-key": "k"}), 422)
    house.ask("PUT", "/security/secrets/later", {"value": "x"})
    house.ask("POST", "/jobs", body, status=201, **{"idempotency-key": "k"})


def test_pages_hold_every_job_once_newest_first_under_every_filter(house: House) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda i: house.submit(name=f"n{i % 2}", cpus=64, course={"seconds": 1e9}), range(250)))
    house.submit(name="x", cpus=64)
    wait_until(lambda: house.ask("GET", "/jobs?state=running")["items"], "one runs")
    for query, wanted in (("", 251), ("&name=n1", 125), ("&state=queued", 250), ("&name=n0&state=cancelled", 0)):
        ids: list[str] = []
        cursor = ""
        while True:
            page = house.ask("GET", f"/jobs?limit=40{query}&cursor={cursor}")
            ids += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = page["next"]
        assert len(ids) == len(set(ids)) == wanted
        assert ids == sorted(ids, reverse=True)
    assert {job["id"] for job in made} <= {item["id"] for item in house.ask("GET", "/jobs?limit=1000")["items"]}


def test_stop_is_asked_once_and_guarded_by_the_etag(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})
    house.wait(job["id"], "running")
    path = f"{API}/jobs/{job['id']}"
    tag = house.http.get(path).headers["etag"]
    error_of(house.http.post(f"{path}/stop", json={}, headers={"if-match": '"1"'}), 412, "stale")
    assert house.job(job["id"])["spec"]["stop_grace_s"] is None
    stopped = house.http.post(f"{path}/stop", json={"grace_s": 1}, headers={"if-match": tag})
    assert stopped.status_code == 200 and stopped.headers["etag"] != tag
    again = house.http.post(f"{path}/stop", json={"grace_s": 9})
    assert again.json()["spec"]["stop_grace_s"] == 1
    house.wait(job["id"], "cancelled")


def test_a_queued_job_is_cancelled_at_once(house: House) -> None:
    house.submit(cpus=64, course={"seconds": 1e9})
    waiting = house.submit(cpus=64)
    house.ask("POST", f"/jobs/{waiting['id']}/stop", {})
    house.wait(waiting["id"], "cancelled")


def test_why_tells_what_a_queued_job_waits_for_and_why_another_failed(house: House) -> None:
    first = house.submit(cpus=64, course={"seconds": 5, "code": 3})
    house.wait(first["id"], "running")
    waiting = house.submit(cpus=1)
    why = house.ask("GET", f"/jobs/{waiting['id']}/why")
    assert why["state"] == "queued" and "cpu" in why["why"].lower(), why
    house.advance(5)
    house.wait(first["id"], "failed")
    assert "failed" in house.ask("GET", f"/jobs/{first['id']}/why")["why"]


def test_a_job_that_never_fits_is_refused(house: House) -> None:
    error_of(house.http.post(f"{API}/jobs", json={"command": ["x"], "cpus": 65}), 409, "capacity")
    error_of(house.http.post(f"{API}/jobs", json={"command": ["x"], "workers": 65}), 409, "capacity")
    assert house.ask("GET", "/jobs")["items"] == []


def test_a_secret_that_is_gone_fails_the_job_instead_of_leaving_it_placed(house: House) -> None:
    blocker = house.submit(cpus=64, course={"seconds": 5})
    house.wait(blocker["id"], "running")
    house.ask("PUT", "/security/secrets/s", {"value": "x"})
    job = house.submit(secrets={"S": "s"})
    house.ask("DELETE", "/security/secrets/s", status=204)
    house.advance(5)
    assert "no secret" in house.wait(job["id"], "failed")["status"]["ending"]["detail"]


def report(house: House, job: str, first: int, *items: object, **fields: object) -> dict[str, object]:
    return {"generation": 0, "rank": 0, "first": first, "items": list(items), **fields}


def test_reports_are_taken_once_in_order_and_only_of_workers_that_exist(house: House) -> None:
    job = house.submit(workers=2, course={"seconds": 1e9})["id"]
    path = f"/jobs/{job}/reports"
    steps = [{**METRIC, "step": step, "values": {"loss": 1.0 / (step + 1), "nan": None}} for step in range(4)]
    assert house.ask("POST", path, report(house, job, 0, *steps[:2]))["next"] == 2
    assert house.ask("POST", path, report(house, job, 0, *steps[:3]))["next"] == 3
    assert house.ask("POST", path, report(house, job, 1, *steps[1:2]))["next"] == 3
    error_of(house.http.post(API + path, json=report(house, job, 9, METRIC)), 422)
    error_of(house.http.post(API + path, json=report(house, job, 0, METRIC, rank=2)), 422)
    error_of(house.http.post(API + path, json=report(house, job, 0, METRIC, generation=1)), 422)
    series = house.ask("GET", f"/jobs/{job}/metrics")["series"]
    assert series == {"loss": [[0, 1.0], [1, 0.5], [2, 1 / 3]]}
    house.ask("POST", path, report(house, job, 0, {**METRIC, "step": 0, "values": {"loss": 3.0}}, rank=1))
    assert house.ask("GET", f"/jobs/{job}/metrics?name=loss")["series"]["loss"][0] == [0, 2.0]
    runs = house.ask("GET", "/catalog/runs")["items"]
    assert [run["spec"]["job"] for run in runs] == [job]
    assert runs[0]["status"]["latest"]["loss"] == 3.0


def test_a_worker_reports_for_its_own_job_and_present_start_only(house: House) -> None:
    job = house.submit(retries=1, course={"seconds": 5, "code": 1})["id"]
    other = house.submit(course={"seconds": 1e9})["id"]
    house.wait(job, "running")
    key = house.platform.keys.workers
    worker = house.visitor(worker_token(key, job, 0))
    assert worker.post(f"{API}/jobs/{job}/reports", json=report(house, job, 0, METRIC)).status_code == 200
    error_of(worker.post(f"{API}/jobs/{other}/reports", json=report(house, other, 0, METRIC)), 403)
    error_of(house.visitor(worker_token(b"x" * 32, job, 0)).get(f"{API}/catalog/versions"), 401)
    house.advance(5)
    wait_until(lambda: house.job(job)["status"]["generation"] == 1, "it is started again")
    error_of(worker.post(f"{API}/jobs/{job}/reports", json=report(house, job, 1, METRIC)), 401)
    fresh = house.visitor(worker_token(key, job, 1))
    assert fresh.get(f"{API}/catalog/versions").status_code == 200


def test_progress_and_ready_show_on_the_job(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})["id"]
    house.wait(job, "running")
    progress = {"type": "progress", "at": 1, "fraction": 0.5, "text": "half"}
    ready = {"type": "ready", "at": 2, "address": "127.0.0.1:1"}
    house.ask("POST", f"/jobs/{job}/reports", report(house, job, 0, progress, ready, progress))
    status = house.job(job)["status"]
    assert status["progress"]["text"] == "half" and status["address"] == "127.0.0.1:1"


def test_the_sdk_speaks_to_the_same_door(house: House) -> None:
    client = house.sdk()
    job = client.jobs.submit(["echo", "hi"], name="sdk", params={"course": {"seconds": 3, "output": "hi\n"}})
    house.wait(job.id, "running")
    house.advance(3)
    assert job.wait(timeout_s=10).state == "done" and job.exit_code == 0
    assert "".join(job.logs(follow=True)).endswith("hi\n")
    assert [found.id for found in client.jobs.list()] == [job.id]
    client.close()
