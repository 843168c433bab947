"""A service on a real platform: deployed from its file, asked, changed, killed piece by piece; one that fails."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from lepton.core.errors import InvalidError, JobFailedError
from lepton.engine.shim.processes import start_of
from lepton.sdk.endpoints import Endpoint
from tests.walk.house import LEPTON, House, wait_until

SERVICE = '''
from lepton.serve import Service, handler
from voice import say

class Counter(Service):
    """Counts in a voice."""

    replicas = 2
    cpus = 0.1
    files = ("words.txt",)
    preload = ("json",)

    def init(self):
        self.word = open("words.txt").read().strip()  # beside the code, wherever that runs

    @handler(is_repeatable=True)
    def count(self, to: int) -> list[str]:
        return [say(self.word, number) for number in range(to)]
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "counter.py").write_text(SERVICE)
    (tmp_path / "voice.py").write_text("def say(word, number):\n    return f'{word} {number}'\n")
    (tmp_path / "words.txt").write_text("no.\n")
    return tmp_path


class Caller:
    """Asks an endpoint again and again from one connection, and counts what comes back."""

    def __init__(self, endpoint: Endpoint, token: str) -> None:
        self.counts: Counter[Any] = Counter()
        self._where = urlsplit(endpoint.url)
        self._token = token
        self._stop = Event()
        self._thread = Thread(target=self._run)

    def ask(self, line: HTTPConnection) -> tuple[int, Any]:
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._token}"}
        line.request("POST", "/count", b'{"to": 2}', headers)
        answer = line.getresponse()
        return answer.status, json.loads(answer.read())

    def once(self) -> tuple[int, Any]:
        line = HTTPConnection(str(self._where.hostname), self._where.port, timeout=10)
        try:
            return self.ask(line)
        finally:
            line.close()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                self.counts[self.once()[0]] += 1
            except (OSError, HTTPException) as fault:
                self.counts[type(fault).__name__] += 1

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


MORTAL = """import os

from lepton.serve import Service, handler


class Mortal(Service):
    @handler
    def die(self) -> None:
        os._exit(3)

    @handler
    def pid(self) -> int:
        return os.getpid()
"""


def worker_of(up: House, endpoint: Endpoint, rank: int) -> tuple[str, int]:
    """The engine's key and process id of the present worker of a rank."""
    records = (up.data / "engine").glob(f"{endpoint.refresh().job}.*/worker.json")
    own = [path for path in records if path.parent.name.split(".")[2] == str(rank)]
    found = sorted(own, key=os.path.getmtime)
    return found[-1].parent.name, int(json.loads(found[-1].read_text())["pid"])


def test_a_service_is_deployed_with_its_files_and_survives_each_of_its_processes(up: House, folder: Path) -> None:
    said = up.lepton("serve", "deploy", f"{folder}/counter.py:Counter", "--name", "counter")
    assert said.returncode == 0, said.stderr
    endpoint = up.client.serve.get("counter")
    assert endpoint.fields["spec"]["endpoint"]["replicas"] == 2
    assert endpoint.fields["spec"]["endpoint"]["preload"] == ["json"]
    caller = Caller(endpoint, (up.data / "token").read_text().strip())
    assert caller.once() == (200, ["no. 0", "no. 1"])
    said = up.lepton("serve", "call", "counter", '{"to": 1}', "--path", "/count")
    assert json.loads(said.stdout) == ["no. 0"], said.stderr

    with caller:
        for rank in (1, 2):
            key, pid = worker_of(up, endpoint, rank)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: worker_of(up, endpoint, rank)[0] != key, "another takes its place")  # noqa: B023
        wait_until(lambda: caller.counts[200] > 200, "it goes on answering")
    assert caller.counts.keys() == {200}, caller.counts
    url, job = endpoint.url, endpoint.refresh().job

    again = Caller(endpoint, (up.data / "token").read_text().strip())
    with again:
        for _ in range(2):
            key, pid = worker_of(up, endpoint, 0)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: worker_of(up, endpoint, 0)[0] != key, "another front takes its place")  # noqa: B023
            said = again.counts[200]
            wait_until(lambda: again.counts[200] > said, "it answers again")  # noqa: B023
    broken = sum(count for what, count in again.counts.items() if what not in (200, 503))
    assert "ConnectionRefusedError" not in again.counts, again.counts  # the engine keeps its door open
    assert broken <= 2, again.counts  # what a front had begun
    endpoint.refresh()
    assert (endpoint.url, endpoint.job, endpoint.state) == (url, job, "ready")
    why = endpoint.why()
    assert [(one["rank"], one["count"]) for one in why["deaths"]] == [(0, 2), (2, 1), (1, 1)]
    said = up.lepton("serve", "why", "counter").stdout
    assert all(f"rank {rank} has ended once" in said for rank in (1, 2)) and said.count("signal 9") == 3, said
    told = endpoint.status.get("served", {}).get("at", 0)
    assert caller.once()[0] == 200
    wait_until(
        lambda: up.client.serve.get("counter").status["served"].get("at", 0) > told, "the new front tells its numbers"
    )

    up.kill()
    assert caller.once()[0] == 200
    up.up()
    (folder / "words.txt").write_text("nr.\n")
    place = f"{folder}/counter.py"
    assert "already an endpoint" in up.lepton("serve", "deploy", place, "--name", "counter").stderr
    said = up.lepton("serve", "deploy", place, "--name", "counter", "--replicas", "1", "--replace")
    assert said.returncode == 0, said.stderr
    assert Caller(up.client.serve.get("counter"), (up.data / "token").read_text().strip()).once() == (
        200,
        ["nr. 0", "nr. 1"],
    )
    up.client.serve.get("counter").delete().wait("deleted")


def test_what_was_given_is_kept_when_what_is_served_is_replaced_and_what_the_class_says_is_not(
    up: House, folder: Path
) -> None:
    place, named = f"{folder}/counter.py", ["--name", "kept", "--replace"]
    limits = ["--quota", "2", "--deadline", "7.5", "--max-body", "16M", "--allow", "127.0.0.0/8"]
    assert up.lepton("serve", "deploy", place, *named, "--replicas", "1", *limits).returncode == 0
    (folder / "counter.py").write_text(SERVICE.replace("cpus = 0.1", "cpus = 0.2"))
    (folder / "words.txt").write_text("nr.\n")
    assert up.lepton("serve", "deploy", place, *named).returncode == 0
    endpoint = up.client.serve.get("kept")
    spec = endpoint.fields["spec"]["endpoint"]
    assert (spec["replicas"], spec["quota_per_day"], spec["worker_cpu_milli"]) == (1, 2, 200)
    assert (spec["deadline_ms"], spec["max_body_bytes"], spec["allow"]) == (7500, 16 << 20, ["127.0.0.0/8"])
    caller = Caller(endpoint, (up.data / "token").read_text().strip())
    answers = [caller.once() for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429], "the limit holds at the front that there is now"
    assert answers[0][1] == ["nr. 0", "nr. 1"]
    assert up.lepton("serve", "deploy", place, *named, "--quota", "0", "--allow", "").returncode == 0
    endpoint = up.client.serve.get("kept")
    assert endpoint.fields["spec"]["endpoint"]["quota_per_day"] == 0
    assert endpoint.fields["spec"]["endpoint"].get("allow", []) == []
    assert Caller(endpoint, (up.data / "token").read_text().strip()).once()[0] == 200
    assert endpoint.fields["spec"]["endpoint"]["replicas"] == 1
    up.client.serve.get("kept").delete().wait("deleted")


def _answers(caller: Caller) -> bool:
    try:
        return caller.once()[0] == 200
    except (OSError, HTTPException):
        return False


def test_a_service_whose_init_raises_fails_and_says_why(up: House, folder: Path) -> None:
    (folder / "words.txt").unlink()
    with pytest.raises(InvalidError, match="words"):
        up.client.serve.deploy(f"{folder}/counter.py", name="wordless")
    (folder / "counter.py").write_text(SERVICE.replace('files = ("words.txt",)', "files = ()"))
    front = up.client.serve.front("silent").wait()
    wish: Any = {"front": "silent", "replicas": 1, "deadline_ms": 600_000}
    endpoint = up.client.serve.deploy(f"{folder}/counter.py", name="wordless", **wish)
    with pytest.raises(JobFailedError, match="FileNotFoundError"):
        endpoint.wait()
    token = (up.data / "token").read_text().strip()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    asked = Request(f"{front.url}/wordless/count", b'{"to": 2}', headers)
    with pytest.raises(HTTPError) as told:  # at once, not at the deadline
        urlopen(asked, timeout=60)
    answer = json.loads(told.value.read())
    told.value.close()
    assert (told.value.code, "FileNotFoundError" in answer["message"]) == (503, True)
    assert "words.txt" not in json.dumps(answer)
    said = up.lepton("serve", "why", "wordless").stdout
    assert said.startswith("failed: FileNotFoundError")
    assert "Traceback" in said and "words.txt" in said
    (folder / "counter.py").write_text(SERVICE)
    (folder / "words.txt").write_text("no.\n")
    (folder / "voice.py").write_text("def say(word, number):\n    return f'{word} {6 // (2 - number) and number}'\n")
    up.client.serve.get("wordless").change(f"{folder}/counter.py", **wish).wait()
    with urlopen(asked, timeout=60) as page:
        assert json.loads(page.read()) == ["no. 0", "no. 1"]
    asked.data = b'{"to": 3}'
    with pytest.raises(HTTPError) as told:
        urlopen(asked, timeout=60)
    assert b"internal error in request" in told.value.read()
    told.value.close()
    found = wait_until(lambda: up.client.serve.get("wordless").why()["log"], "it is told why a request failed")
    assert "Traceback" in found and "ZeroDivisionError" in found
    endpoint.delete().wait("deleted")
    front.delete().wait("deleted")


def test_what_was_there_answers_until_what_replaces_it_does(up: House, folder: Path) -> None:
    token = (up.data / "token").read_text().strip()
    old = up.client.serve.deploy(f"{folder}/counter.py", name="gapless", replicas=1).wait()
    begun, go = folder / "begun", folder / "go"
    waits = [
        "import pathlib, time",
        f"pathlib.Path({str(begun)!r}).touch()",
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)",
    ]
    text = SERVICE.replace("def init(self):", "\n        ".join(["def init(self):", *waits]))
    (folder / "counter.py").write_text(text)
    (folder / "words.txt").write_text("nr.\n")
    with Caller(old, token) as caller:
        changed = up.client.serve.apply(f"{folder}/counter.py", name="gapless")
        wait_until(begun.exists, "the new code starts")
        told = caller.counts[200]
        wait_until(lambda: caller.counts[200] > told + 50, "the old code goes on")
        assert (changed.refresh().state, changed.url) == ("ready", old.url)
        assert changed.status["spec"] != changed.fields["spec"]["endpoint"], "who waits for the change goes on waiting"
    assert caller.counts.keys() == {200}, caller.counts
    go.touch()
    assert Caller(changed.wait(), token).once() == (200, ["nr. 0", "nr. 1"])

    (folder / "counter.py").write_text(
        SERVICE.replace("def init(self):", "def init(self):\n        raise OSError('no')")
    )
    failing = up.client.serve.apply(f"{folder}/counter.py", name="gapless")
    with pytest.raises(JobFailedError, match="still answers at"):
        failing.wait()
    assert "OSError: no" in failing.why()["log"]
    assert Caller(changed, token).once() == (200, ["nr. 0", "nr. 1"])
    failing.delete().wait("deleted")


def test_what_cannot_be_deployed_is_refused_before_anything_is_made(up: House, folder: Path) -> None:
    for target, word in (("nope.py", "no file"), ("voice.py:Nobody", "no class"), ("words.txt", "")):
        place = str(folder / target)
        said = up.lepton("serve", "deploy", place, "--name", "x")
        assert said.returncode != 0 and word in said.stderr
    (folder / "broken.py").write_text("class X(:\n")
    assert "Python" in up.lepton("serve", "deploy", f"{folder}/broken.py", "--name", "x").stderr
    assert not [one for one in up.client.serve.list() if one.name == "x"]


def test_what_a_class_asks_for_is_had_or_told(up: House, folder: Path) -> None:
    text = SERVICE.replace("replicas = 2", 'replicas = 3 - 2\n    memory = os.environ.get("M")').replace(
        "from voice", "import os, voice\nfrom voice"
    )
    (folder / "counter.py").write_text(text)
    said = up.lepton("serve", "deploy", f"{folder}/counter.py", "--name", "needy")
    line = text.splitlines().index('    memory = os.environ.get("M")') + 1
    assert said.returncode != 0 and f"counter.py:{line}: `memory` cannot be read" in said.stderr
    said = up.lepton("serve", "deploy", f"{folder}/counter.py", "--name", "needy", "--memory", "1G", "--cpus", "0.2")
    assert said.returncode == 0, said.stderr
    endpoint = up.client.serve.get("needy")
    wish = endpoint.fields["spec"]["endpoint"]
    assert (wish["worker_memory_bytes"], wish["worker_cpu_milli"], wish["replicas"]) == (1 << 30, 200, 1)
    (folder / "counter.py").write_text(SERVICE.replace("replicas = 2", 'requirements = ("lepton-no-such>=2",)'))
    changed = up.client.serve.apply(f"{folder}/counter.py", name="needy")
    with pytest.raises(JobFailedError, match="lepton-no-such>=2 is missing"):
        changed.wait(timeout_s=60)
    assert "-m pip install 'lepton-no-such>=2'" in changed.why()["log"]
    changed.delete().wait("deleted")


@contextmanager
def serve_run(up: House, file: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """Where `lepton serve run` of a file answers, and what it says after that; Ctrl-C ends it well."""
    command = [*LEPTON, "serve", "run", str(file), "--port", "0"]
    running = subprocess.Popen(command, env=up.env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert running.stderr is not None
        line = next(line for line in running.stderr if "answers at" in line)
        yield line.split("answers at ")[1].split()[0], running.stderr
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
        if running.stderr is not None:
            running.stderr.close()


def test_serve_run_answers_without_a_platform_and_takes_up_changes(up: House, folder: Path) -> None:
    with serve_run(up, folder / "counter.py") as (url, said):
        with urlopen(f"{url}/docs", timeout=10) as page:
            assert b"Counts in a voice" in page.read()
        (folder / "counter.py").write_text(SERVICE.replace("a voice", "another voice"))
        next(line for line in said if "the new code answers" in line)

        def is_new() -> bool:
            with urlopen(f"{url}/docs", timeout=10) as page:
                return b"another voice" in page.read()

        wait_until(is_new, "the page is the new code's")


def test_serve_run_starts_a_replica_again_each_time_it_dies(up: House, folder: Path) -> None:
    (folder / "mortal.py").write_text(MORTAL)
    with serve_run(up, folder / "mortal.py") as (url, _):
        pids = set()
        for _ in range(6):  # more often than code is tried that never starts
            with urlopen(Request(f"{url}/pid", b"{}", {"content-type": "application/json"}), timeout=60) as page:
                pids.add(page.read())
            with pytest.raises(HTTPError):
                urlopen(Request(f"{url}/die", b"{}", {"content-type": "application/json"}), timeout=60)
        assert len(pids) == 6


def test_serve_run_starts_its_front_again_behind_the_same_door(up: House, folder: Path) -> None:
    with serve_run(up, folder / "counter.py") as (url, said):

        def count() -> bytes:
            asked = Request(f"{url}/count", b'{"to": 1}', {"content-type": "application/json"})
            with urlopen(asked, timeout=60) as page:
                return bytes(page.read())

        assert count() == b'["no. 0"]'
        pid = listening_at(urlsplit(url).port or 0)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not start_of(pid), "it is dead")
        assert count() == b'["no. 0"]'  # asked before there is another
        next(line for line in said if "started again: signal 9" in line)


def listening_at(port: int) -> int:
    """The process of a front that listens at a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            held = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
            variables = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if held & {f"socket:[{inode}]" for inode in inodes} and b"LEPTON_RANK=0" in variables:
            found.append(int(pid))
    (pid,) = found
    return pid
