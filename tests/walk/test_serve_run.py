"""`lepton serve run` as somebody who edits code uses it: it runs what the class asks for, and loses no request."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.ports import free_port
from tests.walk.house import LEPTON, interruptible, wait_until

SERVICE = '''
import asyncio, os
from pathlib import Path
from lepton.serve import Service, handler

HERE = Path(__file__).parent

class Waits(Service):
    """Answers once a file is there."""

    {wish}

    @handler
    async def wait(self, name: str) -> str:
        (HERE / f"{{name}}.begun").touch()
        while not (HERE / name).exists():
            await asyncio.sleep(0.02)
        return "{version}"

    @handler
    def told(self) -> dict[str, str]:
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        return {{"version": "{version}", **{{name: os.environ.get(name, "") for name in names}}}}

    @handler
    def eat(self) -> int:
        return len(bytes(range(256)) * (4 << 20))
'''


PHOTON = """
import os
from leptonai.photon import Photon

class Alive(Photon):
    health_check_liveness_tcp_port = {port}

    @Photon.handler
    def pid(self) -> int:  # {version}
        return os.getpid()
"""


class Running:
    """One `serve run`, and what it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        self.process = process
        self.said: list[str] = []
        self._lines = process.stderr
        self.url = self.until("answers at").split("answers at ")[1].split()[0]

    def until(self, word: str) -> str:
        """The next line with a word."""
        for line in self._lines:
            self.said.append(line)
            if word in line:
                return line
        raise AssertionError(f"it never said {word!r}: {''.join(self.said)}")

    def ask(self, path: str, body: Any = None) -> Any:
        request = Request(f"{self.url}{path}", json.dumps(body or {}).encode(), {"content-type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def metric(self, name: str) -> float:
        with urlopen(f"{self.url}/lepton/metrics", timeout=30) as answer:
            rows = [line.split() for line in answer.read().decode().splitlines()]
        return next(float(row[1]) for row in rows if row[0] == f"lepton_{name}")


def write(folder: Path, *wish: str, version: str = "first") -> Path:
    draft, file = folder / "draft", folder / "waits.py"
    draft.write_text(SERVICE.format(wish="\n    ".join(wish), version=version))
    draft.replace(file)
    return file


def start(file: Path | str, *options: str, stream: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    command = [*LEPTON, "serve", "run", str(file), "--port", "0", *options]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
    with interruptible():
        stdout = subprocess.DEVNULL if stream == subprocess.PIPE else subprocess.PIPE
        return subprocess.Popen(command, env=env, stderr=stream, stdout=stdout, text=True)


@contextmanager
def serve_run(file: Path | str, *options: str) -> Iterator[Running]:
    """It, until Ctrl-C."""
    process = start(file, *options)
    try:
        yield Running(process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            process.wait(60)
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def asking() -> Iterator[Callable[..., "Future[Any]"]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def test_what_the_class_asks_for_counts_and_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    wish = ("GIB = 1 << 30", "replicas = 1 + 1", "cpus = 3000", "gpus = 999", "memory = GIB // 4", 'preload = ("csv",)')
    with serve_run(write(tmp_path, *wish), "--cpus", "2", "--gpus", "50") as running:
        assert "100 GPUs" in "".join(running.said)
        wait_until(lambda: running.metric("workers_ready") == 2, "both replicas are there")
        assert running.ask("/told")["OMP_NUM_THREADS"] == "2"
        with pytest.raises(HTTPError):
            running.ask("/eat")
        running.until("out of memory")


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ('memory = os.environ["M"]', "waits.py:11: `memory` cannot be read"),
        ("replicas = 0", "replicas = 0 of the class cannot be"),
        ('requirements = ("lepton-no-such>=2",)', "-m pip install 'lepton-no-such>=2'"),
    ],
)
def test_what_cannot_be_is_refused_at_once(tmp_path: Path, wish: str, said: str) -> None:
    process = start(write(tmp_path, wish))
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0 and said in " ".join(told.split()), told


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ("models = handler(lambda self: 1)", "config: Handler models takes the place of Service.models"),
        ("init = lambda self: 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_why_a_replica_does_not_start_is_said_once_each_time(tmp_path: Path, wish: str, why: str) -> None:
    process = start(write(tmp_path, wish), stream=subprocess.STDOUT)
    with process, interruptible():
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "waiting for the code to change" in line:
                break
        process.send_signal(signal.SIGINT)
        lines += process.stdout
    said = "".join(lines)
    times = said.count("a replica has ended")
    assert said.count(why) == times == (1 if why.startswith("config") else 5), said


def test_ctrl_c_lets_a_request_end_that_has_begun(tmp_path: Path, asking: Callable[..., "Future[Any]"]) -> None:
    with serve_run(write(tmp_path)) as running:
        open_now = asking(running.ask, "/wait", {"name": "go"})
        wait_until((tmp_path / "go.begun").exists, "it has begun")
        running.process.send_signal(signal.SIGINT)
        assert "a request that has begun, for up to 30 s" in running.until("waits for")
        (tmp_path / "go").touch()
        assert open_now.result(60) == "first"


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path, asking: Callable[..., "Future[Any]"]) -> None:
    with serve_run(write(tmp_path), "--deadline", "600") as running:
        open_now = asking(running.ask, "/wait", {"name": "never"})
        wait_until((tmp_path / "never.begun").exists, "it has begun")
        running.process.send_signal(signal.SIGINT)
        running.until("waits for")
        running.process.send_signal(signal.SIGINT)
        with pytest.raises((URLError, OSError)):
            open_now.result(60)


def test_new_code_takes_over_while_the_old_answers_what_it_had_begun(
    tmp_path: Path, asking: Callable[..., "Future[Any]"]
) -> None:
    with serve_run(write(tmp_path)) as running:
        open_now = asking(running.ask, "/wait", {"name": "go"})
        wait_until((tmp_path / "go.begun").exists, "it has begun")
        write(tmp_path, version="second")
        running.until("the new code answers")
        running.until("the old code still answers what it had begun")
        write(tmp_path, version="third")
        running.until("the new code answers")
        wait_until(lambda: running.ask("/told")["version"] == "third", "the newest alone gets what is new")
        write(tmp_path, "memory = min(1, 2)", version="fourth")
        running.until("waiting for its next change")
        assert running.ask("/told")["version"] == "third"
        (tmp_path / "go").touch()
        assert open_now.result(60) == "first"


def test_a_photon_that_is_edited_goes_on_answering_at_its_port_for_liveness(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "alive.py"
    file.write_text(PHOTON.format(port=port, version="first"))
    with serve_run(f"photon:{file}") as running:
        before = running.ask("/pid")
        for version in ("second", "third"):
            file.write_text(PHOTON.format(port=port, version=version))
            running.until("the new code answers")
            wait_until(lambda gone=before: not Path(f"/proc/{gone}").exists(), "the old code has gone")
            before = running.ask("/pid")
            with urlopen(f"http://127.0.0.1:{port}/livez", timeout=30) as answer:
                assert json.loads(answer.read()) == {"status": "ok"}
