"""The platform context against a real HTTP server that speaks docs/wire.md and keeps everything in memory."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lepton.core.artifact import File, manifest_digest
from lepton.core.context import Context
from lepton.core.errors import (
    ConfigError,
    ConflictError,
    ForbiddenError,
    IntegrityError,
    LeptonError,
    NotFoundError,
    StorageFullError,
)
from lepton.core.launch import Launch
from lepton.engine.platform import PlatformContext
from lepton.engine.wire import to_error

DEADLINE_S = 20.0
MODULE = '''
"""Entries for the test."""
from lepton.core.errors import NotFoundError
from lepton.engine.current import context

def train(context):
    context.metrics(1, loss=0.5)
    assert (context.input("rows") / "a.txt").read_text() == "alpha"
    out = context.folder / "out"
    out.mkdir()
    (out / "w").write_text(str(context.params["rate"]))
    print(context.publish(kind="model", name="m", folder=out, meta={"loss": 0.5}))

def fail(context):
    context.metrics(1, loss=1)
    raise ValueError("a bug of the user")

def refuse(context):
    context.input("nothing")

def wait(context):
    print("ready", flush=True)
    while not context.should_stop():
        pass
    print("stopped in order")

if __name__ == "__main__":
    for step in range(3):
        context().metrics(step, loss=step)
'''


class Store:
    """What a server holds, and how it misbehaves."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.versions: list[dict[str, Any]] = []
        self.items: dict[tuple[str, int, int], list[Any]] = {}
        self.changed = threading.Condition()
        self.requests: list[str] = []
        self.refuse: dict[str, tuple[int, dict[str, str]]] = {}
        """Method and start of a path -> the answer."""
        self.cut_after = 0
        """Bytes after which the next download is cut off."""

    def add_version(self, kind: str, name: str, files: dict[str, bytes], **more: Any) -> str:
        self.objects |= {sha256(body).hexdigest(): body for body in files.values()}
        rows = [{"path": p, "digest": sha256(b).hexdigest(), "size_bytes": len(b)} for p, b in files.items()]
        wish = {"kind": kind, "name": name, "files": rows, "meta": {}, "parents": {}, "job": "", **more}
        return str(self.post_version(wish)["id"])

    def post_version(self, wish: dict[str, Any]) -> dict[str, Any]:
        files = [File(**file) for file in wish["files"]]
        assert all(file.digest in self.objects for file in files)
        digest, same = manifest_digest(files), ("kind", "name", "job")
        for version in self.versions:
            if version["digest"] == digest and all(version[field] == wish[field] for field in same):
                return version
        number = 1 + sum((v["kind"], v["name"]) == (wish["kind"], wish["name"]) for v in self.versions)
        self.versions.append({**wish, "id": f"ver_{len(self.versions)}", "number": number, "digest": digest})
        return self.versions[-1]

    def report(self, job: str, body: dict[str, Any]) -> int:
        with self.changed:
            kept = self.items.setdefault((job, body["generation"], body["rank"]), [])
            kept += body["items"][max(0, len(kept) - body["first"]) :] if body["first"] <= len(kept) else []
            self.changed.notify_all()
            return len(kept)


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def answer(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        cut, self.store.cut_after = (self.store.cut_after, 0) if isinstance(body, bytes) else (0, self.store.cut_after)
        self.wfile.write(data[:cut] if cut else data)
        self.close_connection = self.close_connection or bool(cut)

    def is_refused(self) -> bool:
        with self.store.changed:
            self.store.requests.append(f"{self.command} {self.path}")
            self.store.changed.notify_all()
        asked = f"{self.command} {self.path}"
        found = next((answer for start, answer in self.store.refuse.items() if asked.startswith(start)), None)
        if self.headers["Authorization"] != "Bearer secret":
            found = 401, {"code": "unauthenticated", "message": "no token", "fix": ""}
        if found:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(*found)
        return found is not None

    def do_GET(self) -> None:
        if self.is_refused():
            return
        parts = urlsplit(self.path)
        name = parts.path.rpartition("/")[2]
        if "/objects/" in parts.path and name in self.store.objects:
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            self.answer(206 if start else 200, self.store.objects[name][start:])
        elif name == "versions":
            wanted = {field: values[0] for field, values in parse_qs(parts.query).items() if field != "limit"}
            rows = [row for row in self.store.versions if wanted.items() <= row.items()]
            self.answer(200, {"items": rows[::-1][:1], "next": None})
        else:
            found = [row for row in self.store.versions if row["id"] == name]
            missing = {"code": "not_found", "message": f"no {name}", "fix": "look again"}
            self.answer(200, found[0]) if found else self.answer(404, missing)

    def do_PUT(self) -> None:
        if self.is_refused():
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.rpartition("/")[2]
        assert sha256(body).hexdigest() == name
        is_known = name in self.store.objects
        self.store.objects[name] = body
        self.answer(200 if is_known else 201, {})

    def do_POST(self) -> None:
        if self.is_refused():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/reports"):
            self.answer(200, {"next": self.store.report(self.path.split("/")[4], body)})
        else:
            self.answer(201, self.store.post_version(body))


class Server:
    """The door on a port; can go away and come back elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.store = Store()
        self.url_file = folder / "url"
        self.http: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        door = type("OpenDoor", (Door,), {"store": self.store})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), door)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url_file.write_text(self.url + "\n")

    def stop(self) -> None:
        if self.http is not None:
            self.http.shutdown()
            self.thread.join()
            self.http.server_close()
            self.http = None

    def until(self, is_true: Callable[[], object]) -> None:
        with self.store.changed:
            assert self.store.changed.wait_for(is_true, DEADLINE_S)

    def reported(self, rank: int = 0) -> list[Any]:
        return self.store.items.get(("job_1", 0, rank), [])

    def environ(self, folder: Path, **more: str) -> dict[str, str]:
        folder.mkdir(exist_ok=True)
        return {
            **{"LEPTON_URL": self.url, "LEPTON_TOKEN": "secret", "LEPTON_JOB": "job_1"},
            **{"LEPTON_FOLDER": str(folder), "LEPTON_URL_FILE": str(self.url_file), **more},
        }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def opened(server: Server) -> Iterator[list[PlatformContext]]:
    contexts: list[PlatformContext] = []
    yield contexts
    assert server.http is not None
    for context in contexts:
        context.close()


@pytest.fixture
def make(server: Server, tmp_path: Path, opened: list[PlatformContext]) -> Callable[..., PlatformContext]:
    def make(inputs: dict[str, str] | None = None, **environ: str) -> PlatformContext:
        env = server.environ(tmp_path / "work", **environ)
        opened.append(PlatformContext(env, params={}, inputs=inputs or {}))
        return opened[-1]

    return make


def filled(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def steps(items: list[Any]) -> list[int]:
    return [item["step"] for item in items if item["type"] == "metrics"]


def test_reports_arrive_soon_and_in_order_with_their_time(server: Server, make: Callable[..., PlatformContext]) -> None:
    context: Context = make()
    for step in range(700):
        context.metrics(step, loss=step / 2)
    context.progress(0.5, "half")
    server.until(lambda: len(server.reported()) == 701)
    assert steps(server.reported()) == list(range(700)) and server.reported()[3]["values"] == {"loss": 1.5}
    assert server.reported()[-1].items() >= {"type": "progress", "fraction": 0.5, "text": "half"}.items()
    assert all(item["at"] > 10**15 for item in server.reported())


def test_a_server_that_goes_away_and_comes_back_elsewhere_costs_nothing(
    server: Server, make: Callable[..., PlatformContext], tmp_path: Path
) -> None:
    context = make()
    context.metrics(0, loss=0)
    server.until(lambda: len(server.reported()) == 1)
    server.stop()
    for step in range(1, 5):
        context.metrics(step, loss=0)
    published: list[str] = []
    folder = filled(tmp_path / "out", w="1")
    thread = threading.Thread(
        target=lambda: published.append(context.publish(kind="model", name="m", folder=folder, meta={}))
    )
    thread.start()
    server.start()
    thread.join(DEADLINE_S)
    context.flush()
    assert published == ["ver_0"] and steps(server.reported()) == [0, 1, 2, 3, 4]


def test_an_answer_that_was_lost_doubles_nothing(server: Server, make: Callable[..., PlatformContext]) -> None:
    first = make()
    first.metrics(0, loss=0)
    first.flush()
    (first.folder / "reports.sent").unlink()  # as if the worker died before it noted the answer
    with (first.folder / "reports.jsonl").open("a") as stream:
        stream.write('{"type": "metrics", "st')  # and while it wrote a line
    second = make()
    second.metrics(1, loss=0)
    second.flush()
    assert steps(server.reported()) == [0, 1]


def test_reports_refused_for_good_do_not_end_the_job(
    server: Server, make: Callable[..., PlatformContext], capsys: pytest.CaptureFixture[str]
) -> None:
    server.store.refuse["POST /api/v1/jobs"] = 412, {"code": "stale", "message": "a newer start", "fix": ""}
    context = make()
    context.metrics(0, loss=0)
    context.flush()
    assert "stale: a newer start" in capsys.readouterr().err


NO_ROOM = 507, {"code": "storage_full", "message": "the disk is full", "fix": "free some"}


def test_reports_wait_until_the_server_has_room_again(server: Server, make: Callable[..., PlatformContext]) -> None:
    server.store.refuse["POST /api/v1/jobs"] = NO_ROOM
    context = make()
    context.metrics(0, loss=0)
    server.until(lambda: server.store.requests)
    with pytest.raises(StorageFullError):
        context.flush()
    server.store.refuse.clear()
    server.until(lambda: steps(server.reported()) == [0])


def test_a_worker_that_ends_does_not_wait_for_room(server: Server, make: Callable[..., PlatformContext]) -> None:
    server.store.refuse["POST /api/v1/jobs"] = NO_ROOM
    context = make()
    context.metrics(0, loss=0)
    context.close()
    assert server.reported() == []


def test_a_checkpoint_comes_after_all_that_was_reported_before_it(
    server: Server, make: Callable[..., PlatformContext], tmp_path: Path
) -> None:
    context, folder = make(), filled(tmp_path / "state", w="1")
    server.store.refuse["POST /api/v1/jobs"] = NO_ROOM
    context.metrics(1, loss=0)
    with pytest.raises(StorageFullError):
        context.save_checkpoint(1, folder)
    assert server.store.versions == []
    server.store.refuse.clear()
    context.save_checkpoint(1, folder)
    assert steps(server.reported()) == [1] and len(server.store.versions) == 1


def test_publish_uploads_and_names_the_inputs_as_parents(
    server: Server, make: Callable[..., PlatformContext], tmp_path: Path
) -> None:
    context = make(inputs={"rows": "ver_9"})
    folder = filled(tmp_path / "out", a="alpha", empty="")
    (folder / "deep").mkdir()
    (folder / "deep" / "b").write_bytes(b"b" * 3_000_000)
    ids = [context.publish(kind="model", name="m", folder=folder, meta={"rows": 2}) for _ in range(2)]
    (version,) = server.store.versions
    assert ids == [version["id"]] * 2 and version["parents"] == {"rows": "ver_9"} and version["job"] == "job_1"
    assert [file["path"] for file in version["files"]] == ["a", "deep/b", "empty"]
    assert server.store.objects[version["files"][1]["digest"]] == b"b" * 3_000_000


def test_an_input_is_fetched_once_and_taken_up_where_a_transfer_broke(
    server: Server, make: Callable[..., PlatformContext]
) -> None:
    body = bytes(range(256)) * 5000
    version = server.store.add_version("dataset", "rows", {"x/big": body, "empty": b""}, meta={"rows": 7})
    server.store.cut_after = 100_000
    context = make(inputs={"rows": version})
    folder = context.input("rows")
    assert (folder / "x" / "big").read_bytes() == body and (folder / "empty").read_bytes() == b""
    asked = len(server.store.requests)
    assert context.input("rows") == folder and len(server.store.requests) == asked
    assert context.input_meta("rows") == {"rows": 7, "id": version, "kind": "dataset", "name": "rows", "number": 1}


def test_bytes_that_do_not_match_their_hash_are_refused(server: Server, make: Callable[..., PlatformContext]) -> None:
    version = server.store.add_version("dataset", "rows", {"x": b"right"})
    server.store.objects[sha256(b"right").hexdigest()] = b"wrong"
    context = make(inputs={"rows": version})
    with pytest.raises(IntegrityError):
        context.input("rows")
    assert list((context.folder / "inputs").iterdir()) == []


@pytest.mark.parametrize("path", ["../up", "/etc/x", "a/../../b"])
def test_a_version_cannot_write_outside_its_folder(
    server: Server, make: Callable[..., PlatformContext], path: str
) -> None:
    version = server.store.add_version("dataset", "rows", {path: b"x"})
    with pytest.raises(LeptonError):
        make(inputs={"rows": version}).input("rows")


def test_the_latest_checkpoint_comes_back_after_a_restart(
    server: Server, make: Callable[..., PlatformContext], tmp_path: Path
) -> None:
    assert make().latest_checkpoint() is None
    for step in (4, 9):
        make().save_checkpoint(step, filled(tmp_path / "state", w=str(step)))
    step, folder = make(LEPTON_GENERATION="1").latest_checkpoint() or (0, tmp_path)
    assert (step, (folder / "w").read_text()) == (9, "9")
    assert server.store.versions[-1].items() >= {"kind": "checkpoint", "name": "job_1", "meta": {"step": 9}}.items()


def test_a_refusal_is_raised_as_the_error_it_names(
    server: Server, make: Callable[..., PlatformContext], tmp_path: Path
) -> None:
    server.store.refuse["POST /api/v1/catalog"] = 403, {"code": "forbidden", "message": "not yours", "fix": "ask"}
    with pytest.raises(ForbiddenError) as caught:
        make().publish(kind="model", name="m", folder=filled(tmp_path / "o", w="1"), meta={})
    assert (caught.value.message, caught.value.fix) == ("not yours", "ask")
    with pytest.raises(NotFoundError, match="no ver_7"):
        make(inputs={"rows": "ver_7"}).input("rows")
    with pytest.raises(NotFoundError, match="other"):
        make(inputs={"rows": "ver_7"}).input("other")


def test_a_server_that_is_busy_is_asked_again(
    server: Server, make: Callable[..., PlatformContext], tmp_path: Path
) -> None:
    server.store.refuse["PUT"] = 503, {"code": "unavailable", "message": "soon", "fix": ""}
    folder, published = filled(tmp_path / "out", w="1"), []
    thread = threading.Thread(
        target=lambda: published.append(make().publish(kind="model", name="m", folder=folder, meta={}))
    )
    thread.start()
    while sum(asked.startswith("PUT") for asked in server.store.requests) < 3:
        assert thread.is_alive()
    server.store.refuse.clear()
    thread.join(DEADLINE_S)
    assert published == ["ver_0"]


def test_every_answer_becomes_an_error() -> None:
    assert isinstance(to_error(409, b'{"code": "conflict", "message": "m"}'), ConflictError)
    assert isinstance(to_error(507, b'{"code": "storage_full", "message": "m", "fix": "f"}'), StorageFullError)
    assert to_error(409, b'{"code": "capacity", "message": "m", "fix": "f"}').code == "capacity"
    assert "418" in to_error(418, b"<html>teapot").message


def test_without_a_workers_environment_there_is_no_platform() -> None:
    with pytest.raises(ConfigError, match="LEPTON_TOKEN"):
        PlatformContext({"LEPTON_URL": "http://x"}, params={}, inputs={})


@pytest.fixture
def program(server: Server, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the entry program, or the module itself as a user's script."""
    (tmp_path / "job_code.py").write_text(MODULE)
    version = server.store.add_version("dataset", "rows", {"a.txt": b"alpha"})

    def start(entry: str) -> subprocess.Popen[str]:
        launch = Launch(key="k", job="job_1", entry=entry or "x:y", params={"rate": 3}, inputs={"rows": version})
        (tmp_path / "launch.json").write_text(json.dumps(launch.to_json()))
        paths = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
        env = server.environ(tmp_path / "work", LEPTON_LAUNCH=str(tmp_path / "launch.json"), PYTHONPATH=paths)
        module = "lepton.engine.entry" if entry else "job_code"
        return subprocess.Popen(
            [sys.executable, "-m", module], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    return start


Program = Callable[..., subprocess.Popen[str]]


def test_an_entry_runs_with_its_inputs_and_its_reports_arrive_before_it_ends(server: Server, program: Program) -> None:
    with program("job_code:train") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (0, "ver_1\n", "")
    assert steps(server.reported()) == [1]
    model = server.store.versions[-1]
    assert (server.store.objects[model["files"][0]["digest"]], list(model["parents"])) == (b"3", ["rows"])


def test_an_exception_ends_an_entry_with_code_1_its_traceback_and_its_reports(server: Server, program: Program) -> None:
    with program("job_code:fail") as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1 and "ValueError: a bug of the user" in err and "job_code.py" in err
    assert steps(server.reported()) == [1]


@pytest.mark.parametrize("entry", ["job_code:refuse", "job_code:no_such_function"])
def test_a_fault_of_the_platform_is_told_with_its_code_and_fix(program: Program, entry: str) -> None:
    with program(entry) as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1 and "Traceback" not in err
    assert err.splitlines()[0].split(":")[0] in ("not_found", "config") and len(err.splitlines()) == 2


def test_sigterm_lets_an_entry_end_in_order(program: Program) -> None:
    with program("job_code:wait") as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (0, "stopped in order\n", "")


def test_a_users_own_script_reports_through_the_same_context(server: Server, program: Program) -> None:
    with program("") as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "") and steps(server.reported()) == [0, 1, 2]


def test_an_entry_waits_at_its_end_until_the_server_is_back(server: Server, program: Program) -> None:
    server.stop()
    with program("job_code:fail") as process:
        assert process.stderr is not None and "Traceback" in process.stderr.readline()
        server.start()
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1 and steps(server.reported()) == [1]
