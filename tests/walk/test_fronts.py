"""A front that endpoints share: by path and by host; killed, with the server away, taken down; strangers stay out."""

import http.client
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from lepton.core.errors import IllegalMoveError, InvalidError, NameTakenError, NotFoundError
from lepton.sdk.endpoints import Endpoint
from lepton.serve.frames import PROTOCOL
from tests.walk.house import House, wait_until

SERVICE = """
from fastapi import FastAPI, Request
from lepton.serve import Service, handler

page = FastAPI()

@page.get("/where")
def where(request: Request) -> dict[str, str]:
    return {"url": str(request.url_for("where")), "path": request.scope["path"]}

class Say(Service):
    cpus = 0.05

    def mounts(self):
        return {"/page": page}

    @handler(is_repeatable=True, timeout_s=60)
    def say(self, word: str) -> str:
        return f"WORD {word}"
"""


def ask(front: Endpoint, path: str, *, host: str = "", token: str = "", **body: Any) -> tuple[int, Any]:
    where = urlsplit(front.url)
    line = HTTPConnection(str(where.hostname), where.port, timeout=30)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if host:
        headers["host"] = host
    if body:
        line.request("POST", path, json.dumps(body).encode(), {**headers, "content-type": "application/json"})
    else:
        line.request("GET", path, headers=headers)
    answer = line.getresponse()
    data = answer.read()
    line.close()
    return answer.status, json.loads(data) if answer.getheader("content-type") == "application/json" else data.decode()


def pids(up: House, job: str) -> list[int]:
    found = (up.data / "engine").glob(f"{job}.*/worker.json")
    return [int(json.loads(path.read_text())["pid"]) for path in sorted(found, key=os.path.getmtime)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A front, and the two endpoints behind it."""

    front: Endpoint
    token: str
    files: dict[str, str]


@pytest.fixture(scope="module")
def shared(up: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    said = up.lepton("serve", "front", "edge")
    assert said.returncode == 0, said.stderr
    files = {}
    for word in ("one", "two"):
        file = tmp_path_factory.mktemp(word) / "say.py"
        file.write_text(SERVICE.replace("WORD", word))
        files[word] = str(file)
    said = up.lepton("serve", "deploy", f"{files['one']}:Say", "--name", "one", "--front", "edge")
    assert said.returncode == 0, said.stderr
    up.client.serve.deploy(files["two"], name="two", front="edge", hosts=["two.example"]).wait()
    front = up.client.serve.get("edge")
    yield Shared(front=front, token=(up.data / "token").read_text().strip(), files=files)
    for name in ("one", "two"):
        up.client.serve.get(name).delete().wait("deleted")
    assert front.delete().wait("deleted").state == "deleted"


def test_a_request_goes_by_its_host_or_the_first_part_of_its_path(up: House, shared: Shared) -> None:
    front, token = shared.front, shared.token
    assert up.client.serve.get("two").url == f"{front.url}/two"
    assert ask(front, "/one/say", token=token, word="x") == (200, "one x")
    assert ask(front, "/two/say", token=token, word="x") == (200, "two x")
    assert ask(front, "/say", host="two.example", token=token, word="y") == (200, "two y")
    assert ask(front, "/say", host="TWO.example:80", token=token, word="y") == (200, "two y")
    assert ask(front, "/two/say", host="two.example", token=token, word="y")[0] == 404, "a host has the whole path"
    for path in ("/say", "/three/say", "/on/say", "/one", "/one?x=1"):
        assert ask(front, path, token=token, word="x")[0] in (404, 405), path
    assert "no endpoint of that name" in ask(front, "/three/say", token=token, word="x")[1]["message"]
    assert "POST /say" in ask(front, "/one/talk", token=token, word="x")[1]["fix"]
    for more, code in ((), "UNAUTHENTICATED"), ((("authorization", f"Bearer {token}"),), "NOT_FOUND"):
        with grpc.insecure_channel(urlsplit(front.url).netloc) as channel, pytest.raises(grpc.RpcError) as told:
            asked = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")
            asked(b"", metadata=(("lepton-endpoint", "three"), *more), timeout=30)
        assert told.value.code() == grpc.StatusCode[code]


def test_each_endpoint_has_its_own_pages_rights_and_counts(up: House, shared: Shared) -> None:
    front, token = shared.front, shared.token
    assert ask(front, "/one/say", word="x")[0] == 401
    assert ask(front, "/one/say", token="no", word="x")[0] == 401
    assert ask(front, "/two/say", token=token, word="x")[0] == 200
    _, about = ask(front, "/two/", token=token)
    assert (about["endpoint"], about["ready"]) == ("two", True)
    assert ask(front, "/readyz")[0] == ask(front, "/one/readyz")[0] == 200
    status, where = ask(front, "/one/page/where", token=token)
    assert (status, where["path"]) == (200, "/one/page/where")
    assert where["url"].endswith("/one/page/where")
    metrics = ask(front, "/metrics", token=token)[1]
    assert 'lepton_endpoint_requests_total{endpoint="two",status="200"}' in metrics
    wait_until(lambda: up.client.serve.get("two").status.get("served"), "what it has answered is told")


def test_wishes_that_a_front_cannot_meet_are_refused(up: House, shared: Shared) -> None:
    file = shared.files["one"]
    with pytest.raises(NameTakenError, match=r"two\.example"):
        up.client.serve.deploy(file, name="three", front="edge", hosts=["two.example"])
    with pytest.raises(NotFoundError):
        up.client.serve.deploy(file, name="three", front="nowhere")
    with pytest.raises(InvalidError, match="is no front"):
        up.client.serve.deploy(file, name="three", front="one")
    with pytest.raises(InvalidError, match="port belongs to the front"):
        up.client.serve.deploy(file, name="three", front="edge", port=80)
    with pytest.raises(InvalidError, match="no host name"):
        up.client.serve.deploy(file, name="three", front="edge", hosts=["A b"])
    with pytest.raises(IllegalMoveError, match="answer through the front"):
        shared.front.delete()


def test_each_of_its_processes_may_be_killed(up: House, shared: Shared) -> None:
    front, token = shared.front, shared.token
    address = front.url
    assert ask(front, "/one/say", token=token, word="z") == (200, "one z"), "the front knows the token"
    up.kill()
    assert ask(front, "/one/say", token=token, word="z") == (200, "one z"), "the server is away"
    up.up()
    os.kill(pids(up, front.job)[-1], signal.SIGKILL)
    wait_until(lambda: _answers(front, token), "a front that starts again has its workers back")
    assert front.refresh().url == address

    os.kill(pids(up, up.client.serve.get("one").job)[-1], signal.SIGKILL)
    assert ask(front, "/one/say", token=token, word="w") == (200, "one w"), "it waits for the next worker"
    assert ask(front, "/two/say", token=token, word="w") == (200, "two w")


def _answers(front: Endpoint, token: str) -> bool:
    try:
        return ask(front, "/one/say", token=token, word="v") == (200, "one v")
    except (OSError, http.client.HTTPException):
        return False


SLOW = """
from pathlib import Path
from threading import Event
from lepton.serve import Service, handler

class Slow(Service):
    cpus = 0.05

    def init(self):
        while not Path("GO").exists():
            Event().wait(0.05)

    @handler
    def say(self, word: str) -> str:
        return f"slow {word}"
"""


def test_a_new_endpoint_has_its_path_before_its_first_worker_came(up: House, shared: Shared, tmp_path: Path) -> None:
    go, file = tmp_path / "go", tmp_path / "slow.py"
    file.write_text(SLOW.replace("GO", str(go)))
    wish = {"front": "edge", "hosts": ["slow.example"], "deadline_ms": 500}
    slow = up.client.serve.deploy(str(file), name="slow", **wish)
    front, token = shared.front, shared.token
    wait_until(lambda: ask(front, "/slow/say", token=token, word="x")[0] == 503, "the front knows of it")
    assert ask(front, "/slow/say", word="x")[0] == 503, "it may be open to all"
    status, told = ask(front, "/say", host="slow.example", token=token, word="x")
    assert (status, told["code"]) == (503, "unavailable")
    assert ask(front, "/slow/readyz")[0] == 503
    go.touch()
    slow.wait()
    wait_until(lambda: ask(front, "/slow/say", token=token, word="x") == (200, "slow x"), "its worker has come")
    slow.delete().wait("deleted")
    again = up.client.serve.deploy(str(file), name="slow", front="edge", replicas=2).wait()
    wait_until(lambda: ask(front, "/slow/say", token=token, word="x") == (200, "slow x"), "another of its name")
    file.write_text(file.read_text().replace("slow {", "new {"))
    again.change(str(file)).wait()
    assert (again.url, again.fields["spec"]["endpoint"]["replicas"]) == (f"{front.url}/slow", 2)
    assert ask(front, "/slow/say", token=token, word="x") == (200, "new x")
    again.delete().wait("deleted")


def test_what_is_asked_while_an_endpoint_is_replaced_is_answered_by_what_follows(
    up: House, shared: Shared, tmp_path: Path
) -> None:
    go, file = tmp_path / "go", tmp_path / "swap.py"
    go.touch()
    file.write_text(SLOW.replace("GO", str(go)))
    swap = up.client.serve.deploy(str(file), name="swap", front="edge").wait()
    front, token = shared.front, shared.token
    wait_until(lambda: ask(front, "/swap/say", token=token, word="x") == (200, "slow x"), "its worker has come")
    before = ask(front, "/swap/metrics", token=token)[1]
    go.unlink()
    file.write_text(file.read_text().replace("slow {", "new {"))
    swap.change(str(file), hosts=["swap.example"])
    wait_until(lambda: ask(front, "/swap/readyz")[0] == 503, "the old gang has gone")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, front, "/swap/say", token=token, word=str(number)) for number in range(8)]
        wait_until(lambda: ask(front, "/swap/queue-length", token=token) == (200, 8), "they wait")
        go.touch()
        assert [one.result() for one in asked] == [(200, f"new {number}") for number in range(8)]
    assert ask(front, "/say", host="swap.example", token=token, word="x") == (200, "new x"), "the new wish holds"
    after = ask(front, "/swap/metrics", token=token)[1]
    assert _answered(after) == _answered(before) + 9, "it counts on"
    swap.delete().wait("deleted")


def _answered(metrics: str) -> int:
    return int(metrics.partition('lepton_requests_total{status="200"} ')[2].partition("\n")[0])


def test_a_process_that_is_no_worker_of_the_front_does_not_get_in(up: House, tmp_path: Path) -> None:
    up.client.serve.front("gate").wait()
    file = tmp_path / "say.py"
    file.write_text(SERVICE)
    up.client.serve.deploy(str(file), name="say", front="gate").wait()
    script = 'echo "$LEPTON_TOKEN"; ls "$LEPTON_GANG_FOLDER"/..; exec sleep 600'
    job = up.client.jobs.submit(["sh", "-c", script], name="intruder")
    wait_until(lambda: len("".join(job.logs()).split()) == 2, "the job has said its token and what it sees")
    token, seen = "".join(job.logs()).split()
    paths = [path for path in up.folder.glob("tmp/lepton-*/*/front.sock") if path.parent.name != seen]
    socket_path = max(paths, key=lambda path: path.stat().st_mtime)  # the last front that has started
    hello = json.dumps({"pass": token, "operations": [{"id": 16, "path": "/say"}]}).encode()
    entry = struct.pack("<QIIIHHBB", 0, len(hello), 0, 0, 1, 0, 1, 1)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(socket_path))
        line.sendall(struct.pack("<2sBBHHI", b"Lp", PROTOCOL, 1, 0, 1, len(entry) + len(hello)) + entry + hello)
        assert line.recv(1) == b""
    job.stop(grace_s=1).wait(check=False)
    token = (up.data / "token").read_text().strip()
    assert ask(up.client.serve.get("gate"), "/say/say", token=token, word="x") == (200, "WORD x")
    for name in ("say", "gate"):
        up.client.serve.get(name).delete().wait("deleted")
