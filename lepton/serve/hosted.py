"""A service as a program: its handlers become operations, its documentation pages, its mounts prefixes."""

import asyncio
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from lepton.core.errors import ConfigError
from lepton.core.resource import Json
from lepton.serve.asgi import Mount, mount_of
from lepton.serve.loading import load_service
from lepton.serve.method import handlers_of
from lepton.serve.openapi import Described, page_works
from lepton.serve.program import Work
from lepton.serve.protocols.inference.offer import Offer
from lepton.serve.protocols.openai.program import OpenAI
from lepton.serve.routes import HANDLERS, OPENAI
from lepton.serve.service import Service

ASYNC_ROOM = 256
WISHES = ("replicas", "cpus", "gpus", "memory", "preload")


def open_program(folder: Path, entry: str) -> "ServiceProgram":
    """The program of the service that `entry` names in the code in `folder`.

    Raises:
        ConfigError: there is none.
        Exception: whatever the user's code raises.
    """
    service = load_service(folder, entry)
    if service.requirements:  # also of bases that only Python finds
        import_module("lepton.serve.requirements").check(service.requirements)
    return ServiceProgram(service)


class ServiceProgram:
    """`program.Program` of one service.

    Raises:
        ConfigError: it has no handler, or one that cannot be; the message says which.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.handlers = list(handlers_of(service))
        self._mounts: list[Mount] = []
        self._api: OpenAI | None = None
        self._offer = Offer(self.handlers)
        self.counters: Counter[str] = Counter()
        self.wishes = {name: getattr(service, name) for name in WISHES}
        """What its class asks of the platform."""
        is_async = any(handler.is_async for handler in self.handlers)
        many = service.concurrency
        self.threads = many if many > 1 else (1 if is_async and not all(h.is_async for h in self.handlers) else 0)
        self.room = many if many > 1 else (ASYNC_ROOM if is_async else 0)
        self._background: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Let the service get ready, and open what it mounts."""
        service = self._service
        self._loop = asyncio.get_running_loop()
        service.background = self.background  # type: ignore[method-assign]
        made = service.init()
        if inspect.isawaitable(made):
            await made
        for path, app in service.mounts().items():
            mount = mount_of(path, app)
            await mount.start()
            self._mounts.append(mount)
        if self._offer.handlers:
            await self._offer.statistics.start()
        models = service.models()
        if models:
            self._api = OpenAI(models, first=OPENAI)
            self.counters = self._api.counters
        if (self._mounts or models) and not self.room:
            self.room, self.threads = ASYNC_ROOM, max(1, self.threads)
        if not self.handlers and not self._mounts and not models:
            raise ConfigError(
                f"{type(service).__name__} has no handler",
                fix="Decorate a method with @handler, mount something, or offer models.",
            )

    def works(self) -> list[Work]:
        """One for each handler and mount; those of protocols before, so that a handler may take their place."""
        made = [handler.work(HANDLERS + number) for number, handler in enumerate(self.handlers)]
        first = HANDLERS + len(made)
        made += [mount.work(first + number) for number, mount in enumerate(self._mounts)]
        made += page_works(first + len(self._mounts), type(self._service), self.handlers, self._described)
        return [*self._offer.works(), *made, *(self._api.works() if self._api else ())]

    def _described(self) -> Described:
        """What of the protocols it speaks, as its documentation shows them."""
        paths, schemas = self._api.described() if self._api else ({}, {})
        return {**self._offer.described(), **paths}, schemas

    def known_as(self, name: str) -> None:
        """Let the protocols of tensors call its only model by a further name."""
        self._offer.alias = name

    def about(self) -> Mapping[str, Json]:
        """Its handlers, and their documentation."""
        cors = self._service.cors
        return {
            **({"cors": asdict(cors)} if cors is not None else {}),
            "service": type(self._service).__name__,
            "handlers": [f"{'/'.join(h.wish.methods)} {h.wish.path}" for h in self.handlers if not h.wish.is_hidden],
            "mounts": [mount.path for mount in self._mounts],
            "models": [f"/v2/models/{handler.name}" for handler in self._offer.handlers],
        }

    async def close(self) -> None:
        """Let the service let go."""
        await self._offer.statistics.close()
        for mount in self._mounts:
            await mount.close()
        made = self._service.close()
        if inspect.isawaitable(made):
            await made

    def is_healthy(self) -> bool:
        """What the service says; raising means no."""
        try:
            return bool(self._service.is_healthy())
        except Exception as fault:  # noqa: BLE001  whatever a user's code raises
            sys.stderr.write(f"serve: is_healthy raised {type(fault).__name__}: {fault}\n")
            return False

    def tick(self) -> None:
        """Nothing to do by the clock."""

    def background(self, work: Callable[..., Any], *args: Any) -> None:
        """Run `work(*args)` once the answer has been given."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin, partial(work, *args))

    def _begin(self, work: Callable[[], Any]) -> None:
        is_async = inspect.iscoroutinefunction(work.func if isinstance(work, partial) else work)
        task = asyncio.ensure_future(work() if is_async else asyncio.to_thread(work))
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._background.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            sys.stderr.write(f"serve: background work raised {type(fault).__name__}: {fault}\n")
