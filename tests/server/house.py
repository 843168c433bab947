"""A whole platform behind real HTTP on loopback, in a thread of this process, for tests of the door."""

import asyncio
import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import httpx

from lepton.cli.up import Door, listen, open_door
from lepton.core.clock import Clock, ManualClock
from lepton.engine.base import Engine
from lepton.engine.simulated import SimulatedEngine
from lepton.sdk.client import Client, connect
from lepton.server.build import Platform, build
from lepton.server.config import ServerConfig
from lepton.server.ownership import Ownership
from lepton.server.pruning import Pruning
from lepton.server.storage import Storage, own_address

API = "/api/v1"
Body = dict[str, Any]


def wait_until(holds: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
    """The first true value of `holds`."""
    until, pause = monotonic() + timeout_s, Event()
    while monotonic() < until:
        if value := holds():
            return value
        pause.wait(0.005)
    raise AssertionError(f"waited in vain until {what}")


HOLE = re.compile(r"\\{[^}]*\\}")


class Promises:
    """What the OpenAPI document says that each route may answer with; every answer here is held against it."""

    def __init__(self, document: Body) -> None:
        self._routes = [
            (re.compile(HOLE.sub("[^/]+", re.escape(path))), method.upper(), operation["responses"])
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]

    def check(self, answer: httpx.Response) -> None:
        """Fail if a route answers with what it did not promise: another status, or another code of an error."""
        request = answer.request
        path = request.url.raw_path.partition(b"?")[0].decode("ascii")
        for route, method, responses in self._routes:
            if method == request.method and route.fullmatch(path):
                assert str(answer.status_code) in responses, (method, path, answer.status_code, answer.read())
                if answer.status_code >= 400 and method != "HEAD":
                    code = responses[str(answer.status_code)]["content"]["application/json"]["schema"]["properties"]
                    assert json.loads(answer.read())["code"] in code["code"]["enum"], (method, path, answer.text)


PROMISES: list[Promises] = []
"""Those of this version, once they were read."""


class House:
    """A running platform, and an administrator's way to it."""

    def __init__(self, config: ServerConfig, engine: Engine | None, clock: Clock | None) -> None:
        self.config = config
        self.clock = clock
        self.engine: Any = engine
        self.platform: Platform
        self.url = ""
        self._visitors: list[httpx.Client] = []
        self._door: Door
        self._ready = Event()
        self._fault: BaseException | None = None
        self._thread = Thread(target=lambda: asyncio.run(self._live()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        if self._fault is not None:
            raise self._fault
        if not PROMISES:  # all houses promise the same, and to write it down takes a second
            PROMISES.append(Promises(self._door.config.app.openapi()))  # type: ignore[union-attr]
        self.promises = PROMISES[0]
        self.token = (config.data / "token").read_text().strip() if (config.data / "token").exists() else ""
        self.http = self.visitor(self.token)

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        try:
            self.platform = build(self.config, clock=self.clock, engine=self.engine)
        except Exception as fault:  # noqa: BLE001  told by whoever waits
            self._fault = fault
            self._ready.set()
            return
        self.engine = self.platform.engine
        listening = listen(self.config)
        self.url = self.platform.identity.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (self.config.data / "url").write_text(self.url)
        self._door = open_door(self.platform)
        serving = asyncio.create_task(self._door.serve(sockets=[listening]))
        while not self._door.started:
            await asyncio.sleep(0.005)
        self._ready.set()
        await serving

    def visitor(self, token: str = "", **headers: str) -> httpx.Client:
        """A bare client with a token of its own."""
        given = {"authorization": f"Bearer {token}"} if token else {}
        hooks = {"response": [self.promises.check]}
        client = httpx.Client(base_url=self.url, headers={**given, **headers}, timeout=20, event_hooks=hooks)
        self._visitors.append(client)
        return client

    def pruning(self) -> Pruning:
        """What its loop does once a day, for packs in the data directory."""
        database, vault = self.platform.database, self.platform.objects.vault
        storage = Storage(driver=vault.driver, id="", address=own_address(self.config.data))
        return Pruning(database, vault, self.platform.clock, Ownership(database, storage))

    def sdk(self, token: str = "", workspace: str = "default") -> Client:
        """The SDK's client."""
        return connect(self.url, token=token or self.token, workspace=workspace)

    def user(self, name: str, **roles: str) -> httpx.Client:
        """A new user's client; roles: workspace -> role."""
        self.ask("POST", "/security/users", {"name": name}, status=201)
        for workspace, role in roles.items():
            self.ask("PUT", f"/security/workspaces/{workspace}/members/{name}", {"role": role})
        made = self.ask("POST", f"/security/users/{name}/tokens", {}, status=201)
        return self.visitor(made["token"])

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        """The JSON of an answer to the administrator, which must have that status."""
        answer = (
            self.http.request(method, API + path, json=body, headers=headers)
            if body is not None
            else (self.http.request(method, API + path, headers=headers))
        )
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def submit(self, **fields: Any) -> Body:
        """Submit a job; on the simulated engine `course` says what happens to it."""
        course = fields.pop("course", None)
        params = {"course": course} if course is not None else {}
        query = f"?workspace={fields.pop('workspace')}" if "workspace" in fields else ""
        wish = {"command": ["true"], "params": params, **fields}
        job: Body = self.ask("POST", f"/jobs{query}", wish, status=201)
        return job

    def job(self, id: str) -> Body:
        """A job as it is now."""
        found: Body = self.ask("GET", f"/jobs/{id}")
        return found

    def wait(self, id: str, *states: str) -> Body:
        """A job once it is in one of the states."""

        def look() -> Body | None:
            if self.clock is not None:
                self.engine.advance(0)  # so that what was stopped is heard of
            job = self.job(id)
            return job if job["state"] in states else None

        found: Body = wait_until(look, f"{id} is {states}")
        return found

    def advance(self, seconds: float) -> None:
        """Move the simulated time, and let every loop look round."""
        self.engine.advance(seconds)
        for loop in self.platform.loops:
            self.loop.call_soon_threadsafe(loop.wake)

    def store(self, data: bytes, client: httpx.Client | None = None) -> str:
        """Put bytes into the vault; return their digest."""
        digest = hashlib.sha256(data).hexdigest()
        answer = (client or self.http).put(f"{API}/vault/objects/{digest}", content=data)
        assert answer.status_code in (200, 201), answer.text
        return digest

    def version(self, name: str = "v", kind: str = "raw", *, status: int = 201, **fields: Any) -> Body:
        """Publish a version of one small file; a model's stands for all that serving asks for."""
        data = os.urandom(8)
        query = f"?workspace={fields.pop('workspace')}" if "workspace" in fields else ""
        paths = ["model.json", "model.onnx"] if kind == "model" else ["f"]
        files = [{"path": path, "digest": self.store(data), "size_bytes": len(data)} for path in paths]
        made: Body = self.ask(
            "POST", f"/catalog/versions{query}", {"kind": kind, "name": name, "files": files, **fields}, status=status
        )
        return made

    def close(self) -> None:
        """End the platform; what runs goes on."""
        for visitor in self._visitors:
            visitor.close()
        self._door.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "\n".join(
            "".join(traceback.format_stack(frame)) for frame in sys._current_frames().values()
        )


@contextmanager
def open_house(data: Path, *, is_real: bool = False, **settings: Any) -> Iterator[House]:
    """A platform in `data`, on the simulated engine in virtual time, or on the local engine in real time."""
    clock = None if is_real else ManualClock()
    engine = None if clock is None else SimulatedEngine(clock=clock)
    house = House(ServerConfig(data=data, port=0, **settings), engine, clock)
    try:
        yield house
    finally:
        house.close()


def error_of(answer: httpx.Response, status: int, code: str = "") -> Body:
    """The error that an answer must be: code, message and fix, and nothing else save details."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    body: Body = json.loads(answer.content)
    assert set(body) - {"details"} == {"code", "message", "fix"}, body
    assert all(isinstance(body[name], str) for name in ("code", "message", "fix")) and body["message"]
    assert not code or body["code"] == code, body
    return body
