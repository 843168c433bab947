"""Watch streams and followed logs: nothing lost, nothing twice, each in its place, many at once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import active_count
from typing import Any

import httpx
import pytest

from tests.server.house import API, House, error_of, wait_until


@contextmanager
def watching(client: httpx.Client, query: str = "", **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a watch stream, as they come."""
    with client.stream("GET", f"{API}/watch?{query}", headers=headers) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == ": hello"
        yield (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def test_a_watcher_that_reconnects_sees_every_event_once(house: House) -> None:
    seen: list[int] = []
    since = 0
    with ThreadPoolExecutor(1) as thread:
        making = thread.submit(lambda: [house.submit(cpus=64, name=f"j{i}") for i in range(60)])
        while len(seen) < 60:
            with watching(house.http, f"since={since}&timeout_s=5") as events:
                for event in events:
                    since = event["seq"]
                    if event["verb"] == "created":
                        seen.append(since)
                    if since % 7 == 0 or len(seen) >= 60:
                        break
        making.result()
    assert seen == sorted(set(seen)) and len(seen) == 60


def test_last_event_id_wins_over_since(house: House) -> None:
    for name in "abc":
        house.submit(name=name, cpus=64)
    all_events = house.ask("GET", "/events")["items"]
    with watching(house.http, "since=0", **{"last-event-id": str(all_events[1]["seq"])}) as events:
        assert next(events)["seq"] == all_events[2]["seq"]


def test_events_from_before_what_the_server_remembers_come_from_the_database(house: House) -> None:
    for _ in range(3):
        house.submit(cpus=64)
    house.platform.hub._recent.clear()
    with watching(house.http, "since=0") as events:
        kinds = [next(events)["kind"] for _ in range(3)]
    assert kinds == ["job"] * 3


def test_a_watcher_sees_its_workspace_only(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "other"}, status=201)
    viewer = house.user("val", other="viewer")
    error_of(viewer.get(f"{API}/watch"), 404)
    error_of(viewer.get(f"{API}/events"), 404)
    with watching(viewer, "workspace=other&since=0") as events:
        house.submit(name="hidden")
        house.submit(name="shown", workspace="other")
        found = next(event for event in events if event["kind"] == "job")
    assert found["why"] == "shown" and found["workspace"] == "other"
    names = {event["workspace"] for event in viewer.get(f"{API}/events?workspace=other&limit=1000").json()["items"]}
    assert names == {"other"}


def test_a_stream_ends_with_the_rights_it_was_opened_with(house: House) -> None:
    viewer = house.user("val", default="viewer")
    job = house.submit(course={"seconds": 1e9})["id"]
    with watching(viewer) as events, viewer.stream("GET", f"{API}/jobs/{job}/logs?follow=true") as log:
        lines = log.iter_lines()
        next(lines)
        house.ask("PUT", "/security/workspaces/default/members/val", {"role": ""})
        list(events)
        house.ask("POST", f"/jobs/{job}/stop", {})
        house.wait(job, "cancelled")
        list(lines)
    error_of(viewer.get(f"{API}/jobs/{job}"), 404)


def test_streams_end_after_the_time_that_was_asked_for(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})["id"]
    assert house.http.get(f"{API}/watch?timeout_s=0.05").text.startswith(": hello")
    assert "simulated" in house.http.get(f"{API}/jobs/{job}/logs?follow=true&timeout_s=0.5").text
    waiting = house.submit(cpus=64)["id"]
    assert house.http.get(f"{API}/jobs/{waiting}/logs?follow=true&timeout_s=0.05").text == ""


def test_followers_read_from_their_offset_through_every_start_to_the_end(house: House) -> None:
    job = house.submit(retries=1, course={"seconds": 5, "code": 1, "output": "0123456789\n"})["id"]
    house.wait(job, "running")
    whole = house.http.get(f"{API}/jobs/{job}/logs").text

    def follow(offset: int) -> str:
        return house.http.get(f"{API}/jobs/{job}/logs?follow=true&start=0&offset={offset}").text

    with ThreadPoolExecutor(4) as threads:
        following = [threads.submit(follow, offset) for offset in (0, 5, len(whole) - 3, len(whole) + 99)]
        wait_until(lambda: sum(log.followers for log in house.platform.tails._logs.values()) == 4, "all follow")
        house.advance(5)
        wait_until(lambda: house.job(job)["status"]["generation"] == 1, "it is to be started again")
        house.advance(5)
        house.wait(job, "running")
        house.advance(5)
        texts = [each.result() for each in following]
    assert house.job(job)["state"] == "failed"
    tail = f"[lepton: started again, start 2]\n{whole}"
    assert texts == [whole + tail, whole[5:] + tail, whole[-3:] + tail, tail]
    assert not house.platform.tails._logs
    assert house.http.get(f"{API}/jobs/{job}/logs?start=0").text == whole
    error_of(house.http.get(f"{API}/jobs/{job}/logs?start=2"), 422)
    error_of(house.http.get(f"{API}/jobs/{job}/logs?rank=1"), 422)


def test_a_shutdown_does_not_wait_for_who_listens(house: House) -> None:
    job = house.submit(course={"seconds": 1e9})["id"]
    with watching(house.http) as events, house.http.stream("GET", f"{API}/jobs/{job}/logs?follow=true") as log:
        lines = log.iter_lines()
        next(lines)
        house._door.should_exit = True
        house._thread.join(2.5)  # uvicorn's patience with open requests is longer
        assert not house._thread.is_alive()
        list(lines)
        list(events)


@pytest.mark.parametrize("count", [100])
def test_hundreds_of_watchers_cost_no_thread_and_no_query_each(house: House, count: int) -> None:
    job = house.submit(cpus=64, course={"seconds": 5, "output": "x\n"})["id"]
    blocked = house.submit(cpus=64, course={"seconds": 5, "output": "y\n"})["id"]
    house.wait(job, "running")
    limits = httpx.Limits(max_connections=None)
    reads = 0
    database = house.platform.database
    true_read = database.read

    def counted(work: Any) -> Any:
        nonlocal reads
        reads += 1
        return true_read(work)

    with httpx.Client(base_url=house.url, headers=house.http.headers, limits=limits, timeout=30) as client:

        def follow(_: int) -> str:
            return client.get(f"{API}/jobs/{blocked}/logs?follow=true").text

        with ThreadPoolExecutor(count) as threads:
            following = [threads.submit(follow, number) for number in range(count)]
            wait_until(
                lambda: len(house.platform.hub._waits.get(blocked, _none())._callbacks or ()) == count, "all wait", 30
            )
            before = active_count()
            database.read = counted  # type: ignore[method-assign]
            house.advance(5)
            house.wait(blocked, "running")
            wait_until(lambda: sum(log.followers for log in house.platform.tails._logs.values()) == count, "all follow")
            house.advance(5)
            texts = {each.result() for each in following}
            asked = reads
        assert len(texts) == 1 and texts.pop().endswith("y\n")
        assert active_count() <= before and asked < count


def _none() -> Any:
    return type("Nobody", (), {"_callbacks": ()})
