"""`Worker`: a photon that takes work from a queue. POST /task puts it there, GET /task tells how it is.

Queue and key-value store are those of the vendor's workspace (`leptonai.queue`, `leptonai.kv`) where its package is
installed and LEPTON_WORKSPACE_TOKEN is set; else they live in the memory of this replica and end with it.
"""

import json
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from fastapi import HTTPException

from lepton.serve.photon.marks import handler
from lepton.serve.photon.photon import Photon


class Status(StrEnum):
    """Where a task is."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class LocalQueue:
    """A queue of texts in memory."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[str] = SimpleQueue()

    def send(self, message: str) -> None:
        """Put one in."""
        self._waiting.put(message)

    def receive(self) -> str:
        """Take the oldest out.

        Raises:
            Empty: there is none.
        """
        return self._waiting.get_nowait()


class LocalStore:
    """Texts by key in memory."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def put(self, key: str, value: str) -> None:
        """Keep one."""
        self._found[key] = value

    def get(self, key: str) -> str:
        """Read one.

        Raises:
            KeyError: there is none.
        """
        return self._found[key]


class Worker(Photon):
    """Subclass it and write `on_task`; if you write `init` too, end it with `super().init()`."""

    queue_name: str | None = None
    kv_name: str | None = None
    save_result: bool = True
    queue_empty_sleep_time: float = 5
    """Seconds between two looks at an empty queue."""
    worker_max_concurrency_sleep_time: float = 5
    worker_max_concurrency: int = 1
    """Tasks at a time."""
    LEPTON_TASK_ID_TAG = "_lepton_task_id"

    def init(self) -> Any:
        """Open the queue and begin to take from it."""
        super().init()
        if "_leaving" not in self.__dict__:
            self._leaving = Event()
            self._queue, self._kv = self._open()
            Thread(target=self._take_forever, name="lepton-worker", daemon=True).start()

    def _open(self) -> tuple[Any, Any]:
        default = os.environ.get("LEPTON_DEPLOYMENT_NAME")
        if not os.environ.get("LEPTON_WORKSPACE_TOKEN"):
            return LocalQueue(), LocalStore()
        queue, store = self.queue_name or default, self.kv_name or default
        if not queue or not store:
            raise RuntimeError("queue_name or kv_name is not set, nor LEPTON_DEPLOYMENT_NAME")
        kinds = import_module("leptonai.queue").Queue, import_module("leptonai.kv").KV
        wishes = {"create_if_not_exists": True, "wait_for_creation": True}
        return kinds[0](queue, **wishes), kinds[1](store, **wishes)

    def _handle_exit(self, *args: Any, **kwargs: Any) -> None:
        """Take nothing more."""
        if "_leaving" in self.__dict__:
            self._leaving.set()

    def _take_forever(self) -> None:
        busy: set[Any] = set()
        with ThreadPoolExecutor(self.worker_max_concurrency) as threads:
            while not self._leaving.is_set():
                busy = {one for one in busy if not one.done()}
                if len(busy) >= self.worker_max_concurrency:
                    self._leaving.wait(min(0.05, self.worker_max_concurrency_sleep_time))
                    continue
                try:
                    busy.add(threads.submit(self._do, json.loads(self._queue.receive())))
                except Empty:
                    self._leaving.wait(self.queue_empty_sleep_time)
                except Exception:  # noqa: BLE001  a queue that fails may work again
                    sys.stderr.write(traceback.format_exc())
                    self._leaving.wait(self.queue_empty_sleep_time)

    def _do(self, payload: dict[str, Any]) -> None:
        task_id = payload.pop(self.LEPTON_TASK_ID_TAG)
        task = {**json.loads(self._kv.get(task_id)), "status": Status.RUNNING, "started_at": now()}
        self._kv.put(task_id, json.dumps(task))
        try:
            result = self.on_task(task_id=task_id, **payload)
            task["status"] = Status.SUCCESS
            if self.save_result:
                task["result"] = result
        except Exception:  # noqa: BLE001  whatever a user's code raises
            sys.stderr.write(traceback.format_exc())
            task["status"] = Status.FAILED
        task["finished_at"] = now()
        self._kv.put(task_id, json.dumps(task))

    def on_task(self, task_id: str, **payload: Any) -> Any:
        """Do one task; what it returns is its result."""
        raise NotImplementedError("Write on_task")

    @handler(path="task", method="POST", use_raw_args=True)
    def task_post(self, payload: dict[str, Any]) -> Any:
        """Queue a task; answers its id."""
        task_id = uuid4().hex
        self._kv.put(task_id, json.dumps({"status": Status.CREATED, "created_at": now()}))
        self._queue.send(json.dumps({**payload, self.LEPTON_TASK_ID_TAG: task_id}))
        return task_id

    @handler(path="task", method="GET")
    def task_get(self, task_id: str) -> Any:
        """How a task is."""
        try:
            return json.loads(self._kv.get(task_id))
        except KeyError:
            raise HTTPException(status_code=404, detail=f"Task ({task_id}) not found") from None


def now() -> str:
    """The time as the vendor writes it: UTC without saying so."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat()


Worker.__module__ = "leptonai.photon.worker"
