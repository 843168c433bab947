"""A whole endpoint: predictions, workers that die, fronts that drain, tokens, reports and captures."""

import io
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import numpy as np
import pytest

from lepton.core.clock import SystemClock, to_micros
from tests.server.serving.granting import open_platform
from tests.server.serving.house import VERSION, House, Wire, open_house, wait_until

ROW = [[0, 9], [1, 2]]
BODY = json.dumps({"inputs": ROW}).encode()
PREDICT = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with open_house(workers=2, capture_rows=60) as house:
        wait_until(lambda: b"workers_ready 2" in house.ask("GET", "/metrics")[1], "both workers are there")
        yield house


def test_a_prediction_names_class_scores_model_and_request(house: House) -> None:
    status, answer, headers = house.predict(ROW, X_Request_Id="mine-1")
    assert status == 200
    assert answer["model"] == {"id": VERSION, "name": "tiny", "number": 3}
    (row,) = answer["outputs"]
    assert row["label"] == "class-1"
    wanted = np.exp([0, 9, 1, 2]) / np.exp([0, 9, 1, 2]).sum()
    assert np.allclose(row["scores"], wanted, atol=1e-6)
    assert row["score"] == max(row["scores"])
    assert headers["x-request-id"] == "mine-1"


def test_bytes_and_npy_give_what_json_gives(house: House) -> None:
    rows = np.array([ROW, [[7, 0], [0, 0]]], np.uint8)
    file = io.BytesIO()
    np.save(file, rows)
    answers = [
        house.predict(rows.tolist()),
        house.ask("POST", "/predict", rows.tobytes(), content_type="application/octet-stream"),
        house.ask("POST", "/predict", file.getvalue(), content_type="application/x-npy"),
    ]
    assert [status for status, _, _ in answers] == [200] * 3
    assert answers[0][1] == answers[1][1] == answers[2][1]
    assert [row["label"] for row in answers[0][1]["outputs"]] == ["class-1", "class-0"]


def test_the_front_describes_itself(house: House) -> None:
    status, about, _ = house.ask()
    assert status == 200
    assert about["endpoint"] == "digits"
    assert about["model"]["id"] == VERSION
    assert about["input"] == {"shape": [None, 2, 2], "dtype": "uint8"}
    assert house.ask("GET", "/healthz")[0] == house.ask("GET", "/readyz")[0] == 200
    text = house.ask("GET", "/metrics")[1].decode()
    assert "lepton_workers_ready 2" in text


def test_one_bad_request_costs_its_batch_mates_nothing(house: House) -> None:
    bad = b'{"inputs": [[0, 9], [1, 999]]}'
    bad = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(bad), bad)
    with Wire(house.address) as wire:
        wire.send((PREDICT + bad) * 20)
        assert [wire.read()[0] for _ in range(40)] == [200, 422] * 20


def test_what_was_asked_is_captured(house: House) -> None:
    rows = [[[number, 0], [0, 1]] for number in range(200)]
    with Wire(house.address) as wire:
        for row in rows:
            body = json.dumps({"inputs": row}).encode()
            wire.ask(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    items = wait_until(lambda: house.said("published"), "a capture is published")
    item = items[0]
    assert (item["kind"], item["name"]) == ("capture", "digits")
    folder = house.folder / "published" / item["folder"]
    inputs, outputs = np.load(folder / "inputs.npy"), np.load(folder / "outputs.npy")
    assert inputs.shape == (item["meta"]["rows"], 2, 2)
    assert inputs.dtype == np.uint8
    assert outputs.shape == (len(inputs), 4)
    assert outputs.dtype == np.float32
    logits = inputs.reshape(-1, 4).astype(np.float64)
    wanted = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(outputs, wanted / wanted.sum(axis=1, keepdims=True), atol=1e-5)
    assert item["meta"]["from"] <= item["meta"]["until"] <= to_micros(SystemClock().now())


def test_not_ready_until_a_worker_has_its_model_and_requests_wait_for_it() -> None:
    with open_house(workers=0, deadline_ms=10_000) as house:
        wait_until(lambda: (house.folder / "front.sock").exists(), "the front listens")
        assert house.said("ready") == []
        house.start("1")
        before = house.address
        assert house.ask("GET", "/readyz")[0] == 200
        os.kill(house.processes["1"].pid, signal.SIGKILL)
        wait_until(lambda: house.ask("GET", "/readyz")[0] == 503, "the worker is missed")
        assert house.ask("GET", "/healthz")[0] == 200
        with Wire(before) as wire:
            wire.send(PREDICT)
            house.start("1")
            assert wire.read()[0] == 200, "asked while no worker was there"
        assert len(house.said("ready")) == 1


def test_without_a_worker_the_deadline_ends_the_wait() -> None:
    with open_house(deadline_ms=200) as house:
        assert house.predict(ROW)[0] == 200
        os.kill(house.processes["1"].pid, signal.SIGKILL)
        status, answer, headers = house.predict(ROW)
        assert (status, answer["code"]) == (503, "unavailable")
        assert headers["retry-after"] == "1"


def test_a_worker_that_hangs_costs_its_requests_a_504_and_full_queues_a_503() -> None:
    with ExitStack() as stack:
        house = stack.enter_context(open_house(deadline_ms=3000, max_batch=1))
        assert house.predict(ROW)[0] == 200
        os.kill(house.processes["1"].pid, signal.SIGSTOP)
        wires = [stack.enter_context(Wire(house.address)) for _ in range(8)]
        for wire in wires:
            wire.send(PREDICT * 10)
        statuses = [wire.read()[0] for wire in wires for _ in range(10)]
        assert set(statuses) == {503, 504}
        assert statuses.count(504) == 64 + 2, "all that fits the queue and the worker's credits"
        os.kill(house.processes["1"].pid, signal.SIGCONT)
        assert wait_until(lambda: house.predict(ROW)[0] == 200, "the worker goes on")
        text = house.ask("GET", "/metrics")[1].decode()
        assert 'lepton_dropped_total{why="busy"} 14' in text


def test_requests_of_clients_that_left_reach_no_worker() -> None:
    with open_house(deadline_ms=5000, max_batch=1) as house:
        assert house.predict(ROW)[0] == 200
        os.kill(house.processes["1"].pid, signal.SIGSTOP)
        with Wire(house.address) as wire:
            wire.send(PREDICT * 30)
            wait_until(lambda: b"queue_waiting 28\n" in house.ask("GET", "/metrics")[1], "all are queued")
        os.kill(house.processes["1"].pid, signal.SIGCONT)
        assert house.predict(ROW)[0] == 200
        text = house.ask("GET", "/metrics")[1].decode()
        assert "lepton_batched_requests_total 4\n" in text, "the first, two sent before the client left, the last"


def flood(house: House, done: Event) -> list[int]:
    """Statuses of one client that asks until told to stop."""
    statuses = []
    with Wire(house.address) as wire:
        while not done.is_set():
            statuses.append(wire.ask(PREDICT)[0])
    return statuses


def test_workers_killed_in_the_middle_of_traffic_lose_no_request() -> None:
    with open_house(workers=2, heavy=256) as house, ThreadPoolExecutor(8) as pool:
        wait_until(lambda: b"workers_ready 2" in house.ask("GET", "/metrics")[1], "both are there")
        done = Event()
        clients = [pool.submit(flood, house, done) for _ in range(8)]
        for victim in ("1", "2"):
            done.wait(0.15)
            os.kill(house.processes[victim].pid, signal.SIGKILL)
            house.processes[victim].wait(10)
            house.start(victim)
            wait_until(lambda: b"workers_ready 2" in house.ask("GET", "/metrics")[1], "it is back")
        done.set()
        statuses = [status for client in clients for status in client.result(20)]
        assert set(statuses) == {200}
        assert len(statuses) > 50
        text = house.ask("GET", "/metrics")[1].decode()
        retries = int(text.partition("\nlepton_retries_total ")[2].split()[0])
        assert retries >= 2, "each died with a batch"


def test_a_front_that_is_stopped_answers_what_is_open_and_workers_follow() -> None:
    with open_house(heavy=256, max_batch=2, limits={"leave_s": 5.0}) as house:
        assert house.predict(ROW)[0] == 200
        address = house.address
        with Wire(address) as wire, Wire(address) as idle:
            assert idle.ask(PREDICT)[0] == 200
            wire.send(PREDICT * 40)
            assert wire.read()[0] == 200
            for process in house.processes.values():
                process.send_signal(signal.SIGTERM)
            answers = [wire.read() for _ in range(39)]
            assert {status for status, _, _ in answers} == {200}
            assert answers[-1][2].get("connection") == "close"
            with Wire(address) as late:  # told to go, a client may find nobody else yet
                told = [one.ask(PREDICT) for one in (late, idle)]  # the second may have been on its way
                assert [(status, headers["connection"]) for status, _, headers in told] == [(200, "close")] * 2
                assert idle.is_closed() and late.is_closed()
        assert [process.wait(10) for process in house.processes.values()] == [0, 0]
        with pytest.raises(ConnectionRefusedError):
            Wire(address)
        (served,) = house.said("served")
        assert (served["requests"], served["errors"], served["rows"]) == (44, 0, 44)
        assert 0 < served["p50_ms"] <= served["p95_ms"] <= served["p99_ms"]
        assert house.said("metrics")[0]["values"]["requests"] == 44
        assert not (house.folder / "front.sock").exists()


def test_workers_find_a_front_that_was_started_again() -> None:
    with open_house() as house:
        assert house.predict(ROW)[0] == 200
        house.processes["front"].kill()
        house.processes["front"].wait(10)
        (house.folder / "said.jsonl").unlink()
        house.start("front")
        assert house.predict(ROW)[0] == 200
        assert house.processes["1"].poll() is None


def test_a_model_that_cannot_be_loaded_ends_the_worker_with_a_reason() -> None:
    with open_house(workers=0) as house:
        (house.folder / "model" / "model.onnx").write_bytes(b"no model")
        assert house.start("1").wait(20) != 0
        assert "The model cannot be loaded" in house.log()


def test_a_port_that_is_taken_ends_the_front_with_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, open_house(workers=0, port=taken.getsockname()[1]) as house:
        assert house.processes["front"].wait(20) != 0
        assert "Give another port" in house.log() or "cannot listen" in house.log()


def test_on_the_platform_every_request_needs_a_token_the_server_admits() -> None:
    with open_platform() as platform, open_house(env=platform.env) as house:
        assert house.ask("GET", "/healthz")[0] == house.ask("GET", "/readyz")[0] == 200
        assert house.ask("GET", "/metrics")[0] == house.ask()[0] == 401
        status, answer, headers = house.predict(ROW)
        assert (status, answer["code"], headers["www-authenticate"]) == (401, "unauthenticated", "Bearer")
        for _ in range(3):
            assert house.predict(ROW, Authorization="Bearer good")[0] == 200
            assert house.predict(ROW, Authorization="Bearer bad")[0] == 403
        assert platform.asked == ["good", "bad"]
        platform.close()
        assert house.predict(ROW, Authorization="Bearer good")[0] == 200
        assert house.predict(ROW, Authorization="Bearer new")[0] == 503
