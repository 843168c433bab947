"""Jobs, from Python: submit, follow, wait, stop, and read what they measured."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from math import inf
from typing import Any, Unpack

from lepton.core.errors import InvalidError, JobFailedError, LeptonError, UnavailableError
from lepton.sdk.http import Http, part
from lepton.sdk.logs import read_logs
from lepton.sdk.options import JobOptions
from lepton.sdk.portal import Blocking, attribute, blocking, iterating, listing, returning
from lepton.sdk.show import card, sparkline
from lepton.sdk.story import Story, tell_story

FINAL = ("done", "failed", "cancelled")
LOOK_S = 15.0
"""How often a job that is waited for is looked at although no event tells of it."""
QUEUED_S = 1.0
"""How often the reason is asked why a job waits; that changes when other jobs do."""
SHOW_S = 3.0
"""How long a card in Jupyter waits for the server."""
STOP_S = 5.0
"""How long `stop` waits for the server to begin with it."""
EXIT_CODES = {"timeout": 124, "out_of_memory": 137, "not_started": 127, "lost": 125}
"""What `wait` of the command line ends with when a job has no exit code of its own (as coreutils' timeout, shells)."""


def _code(value: int | None) -> int | None:
    return value


class AsyncJob:
    """A job on the server. Attributes are as of the last `refresh`."""

    def __init__(self, http: Http, fields: Mapping[str, Any]) -> None:
        self._http = http
        self._read(fields)

    def _read(self, fields: Mapping[str, Any]) -> None:
        self.fields = dict(fields)
        self.id: str = fields["id"]
        self.name: str = fields["name"]
        self.state: str = fields["state"]
        """queued, placed, running, stopping, done, failed or cancelled."""
        self.workspace: str = fields["workspace"]
        self.status: dict[str, Any] = fields["status"]
        self.spec: dict[str, Any] = fields["spec"]
        self.created_at: str = fields["created_at"]

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL

    @property
    def exit_code(self) -> int | None:
        """The job's own exit code once it has ended: of the worker that ended it; 128 + n for signal n."""
        if not self.is_final:
            return None
        ending = self.status.get("ending") or {}
        if self.state == "cancelled":
            return 130
        if ending.get("code") is not None:
            return int(ending["code"])
        if ending.get("reason") == "signal" and ending.get("signal"):
            return 128 + int(ending["signal"])
        return EXIT_CODES.get(str(ending.get("reason")), 1)

    @property
    def generation(self) -> int:
        """How often it has been started again."""
        return int(self.status.get("generation", 0))

    async def refresh(self) -> "AsyncJob":
        """Read it again.

        Raises:
            UnreachableError: the server is away for long.
        """
        self._read(await self._http.get(f"/jobs/{self.id}"))
        return self

    async def wait(
        self,
        *,
        timeout_s: float | None = None,
        check: bool = True,
        tell: Callable[[float, str], None] | None = None,
        tell_every_s: float = 0.5,
    ) -> "AsyncJob":
        """Return when it has ended. A server that is started again meanwhile is waited for.

        Args:
            timeout_s: wait no longer than this many seconds; None: without end.
            check: raise if it did not end well.
            tell: called with how far it is, 0 .. 1, and what it does or waits for.
            tell_every_s: seconds between two calls of `tell` while it runs; a change of state is told at once.
        Raises:
            JobFailedError: it failed or was cancelled, and `check`.
            UnavailableError: it still goes on after `timeout_s`.
            InvalidError: `timeout_s` or `tell_every_s` is no time.
        """
        check_seconds("timeout_s", timeout_s)
        check_seconds("tell_every_s", tell_every_s)
        if not (await self.refresh()).is_final:
            await self._end(timeout_s, tell, tell_every_s)
        if check and self.state != "done":
            raise JobFailedError(f"Job {self.id} {self.state}: {await self.why()}", fix=f"lepton jobs logs {self.id}")
        return self

    async def _end(self, timeout_s: float | None, tell: Callable[[float, str], None] | None, every_s: float) -> None:
        """Return when it has ended."""
        clock = asyncio.get_running_loop().time
        end = clock() + (inf if timeout_s is None else timeout_s)
        async with self._http.feed(self.workspace).bell(self.id) as bell:
            while not (await self.refresh()).is_final:
                if clock() >= end:
                    raise UnavailableError(
                        f"Job {self.id} is still {self.state} after {timeout_s:g} s", fix="Wait longer, or stop it."
                    )
                pause_s = LOOK_S
                if tell is not None:
                    tell(*await self._doing())
                    pause_s = QUEUED_S if self.state == "queued" else every_s
                await bell.wait(min(pause_s, max(0.0, end - clock())))

    async def _doing(self) -> tuple[float, str]:
        """How far it is, and what it does or waits for."""
        if self.state == "queued":
            said = await self._http.get(f"/jobs/{self.id}/why")
            return 0.0, f"waits: {said['why']}" if said["state"] == "queued" else str(said["state"])
        progress = self.status.get("progress") or {"fraction": 0.0, "text": self.state}
        return progress["fraction"], progress["text"]

    async def stop(self, *, grace_s: float = 10.0) -> "AsyncJob":
        """End it and everything it started; return once the server has begun with it.

        Args:
            grace_s: seconds from asking its processes to end to killing what is left, 0 to 3600.
        Raises:
            InvalidError: it belongs to an endpoint, which is deleted instead; or `grace_s` is no such time.
        """
        check_seconds("grace_s", grace_s)
        clock = asyncio.get_running_loop().time
        async with self._http.feed(self.workspace).bell(self.id) as bell:
            self._read(await self._http.post(f"/jobs/{self.id}/stop", {"grace_s": grace_s}))
            end = clock() + STOP_S
            while not self.is_final and self.state != "stopping" and clock() < end:
                await bell.wait(max(0.0, end - clock()))
                await self.refresh()
        return self

    async def why(self) -> str:
        """Why it waits, or ended as it did, in words."""
        return str((await self._http.get(f"/jobs/{self.id}/why"))["why"])

    async def story(self) -> Story:
        """What has become of it: why it is where it is, each start and why that ended, the pause that is left."""
        await self.refresh()
        return tell_story(self.fields, await self._http.get(f"/jobs/{self.id}/why"), datetime.now(UTC))

    async def events(self) -> list[dict[str, Any]]:
        """Everything that happened to it, oldest first."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = await self._http.get(f"/jobs/{self.id}/events", after=after, limit=1000)
            found += page["items"]
            after = page["next"]
        return found

    async def metrics(self) -> dict[str, list[tuple[int, float]]]:
        """What it has measured: name -> [(step, value), ...]."""
        series = (await self._http.get(f"/jobs/{self.id}/metrics"))["series"]
        return {name: [(step, value) for step, value in points] for name, points in series.items()}

    async def shown(self) -> tuple[dict[str, list[tuple[int, float]]], str]:
        """What its card shows beside its facts: what it has measured, and why it waits or has failed."""
        return await self.metrics(), await self.why() if self.state in ("queued", "failed") else ""

    async def versions(self) -> list[dict[str, Any]]:
        """What it has left in the catalog, oldest first."""
        page = await self._http.get("/catalog/versions", job=self.id, workspace=self.workspace)
        found: list[dict[str, Any]] = page["items"]
        return found[::-1]

    async def logs(self, *, rank: int = 0, follow: bool = False, start: int | None = None) -> AsyncIterator[str]:
        """What a worker writes, in pieces as they come. With `follow`, until the job has ended, whatever restarts.

        Args:
            rank: which worker; 0 is the first.
            follow: go on with what it writes from now on, and with its later starts.
            start: of which start of the job, 1 for the first; the latest that has begun unless given.
        Raises:
            InvalidError: the job has no such worker, or no such start.
        """
        if start is not None:
            await self._check_start(start)
        begin = (start or self._begun) - 1
        async with aclosing(read_logs(self._http, self, rank=rank, follow=follow, begin=begin)) as pieces:
            async for piece in pieces:
                yield piece

    @property
    def _begun(self) -> int:
        """Number of the latest start that has begun; 1 if none has."""
        is_placed = bool(self.status.get("placement"))  # else it waits, or was cancelled while it waited
        return max(1, self.generation + is_placed)

    async def _check_start(self, start: int) -> None:
        """Refuse the number of a start that there is not.

        Raises:
            InvalidError: it is.
        """
        await self.refresh()
        if not 1 <= start <= self.generation + 1:
            times = "once" if self._begun == 1 else f"{self._begun} times"
            raise InvalidError(
                f"Job {self.id} has no start {start}: it was started {times}",
                fix="Give 1." if self._begun == 1 else f"Give 1 to {self._begun}.",
            )

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        progress = self.status.get("progress") or {}
        doing = f"{progress['fraction']:.0%} {progress['text']}" if progress and not self.is_final else ""
        return {
            "id": self.id,
            "name": self.name,
            "stage": str(self.spec.get("stage", "")),
            "state": self.state,
            "workers": str(sum(role["count"] for role in self.spec["roles"])),
            "doing": doing,
            "created": self.created_at[:19].replace("T", " "),
        }

    def __repr__(self) -> str:
        return f"<Job {self.name} {self.id}: {self.state}>"


def check_seconds(name: str, seconds: float | None) -> None:
    """Refuse a time that is none.

    Raises:
        InvalidError: it is negative or not a number.
    """
    if seconds is not None and not seconds >= 0:
        raise InvalidError(f"{name} is {seconds}", fix="Give 0 or more seconds.")


class Job(Blocking[AsyncJob]):
    """A job on the server. Attributes are as of the last `refresh`."""

    id = attribute("id", str)
    name = attribute("name", str)
    state = attribute("state", str, "queued, placed, running, stopping, done, failed or cancelled.")
    workspace = attribute("workspace", str)
    status = attribute("status", dict[str, Any])
    spec = attribute("spec", dict[str, Any])
    fields = attribute("fields", dict[str, Any], "All that the server said.")
    created_at = attribute("created_at", str, "ISO 8601, UTC.")
    is_final = attribute("is_final", bool, "Whether it has ended.")
    generation = attribute("generation", int, "How often it has been started again.")
    exit_code = attribute("exit_code", _code, "The job's own exit code once it has ended; 128 + n for signal n.")

    refresh = returning(lambda: Job)(AsyncJob.refresh)
    wait = returning(lambda: Job)(AsyncJob.wait)
    stop = returning(lambda: Job)(AsyncJob.stop)
    why = blocking(AsyncJob.why)
    story = blocking(AsyncJob.story)
    events = blocking(AsyncJob.events)
    metrics = blocking(AsyncJob.metrics)
    versions = blocking(AsyncJob.versions)
    logs = iterating(AsyncJob.logs)

    def row(self) -> dict[str, str]:
        """Column -> text, for a table."""
        return self._inner.row()

    def __repr__(self) -> str:
        return repr(self._inner)

    def _repr_html_(self) -> str:
        try:
            series, why = self._portal.run(asyncio.wait_for(self._inner.shown(), SHOW_S))
        except (LeptonError, TimeoutError):  # a card without curves is better than none
            series, why = {}, ""
        lines = "".join(sparkline(name, points) for name, points in series.items())
        return card(f"Job {self.name}", {**self.row(), "why": why}, more=lines)


class AsyncJobs:
    """The jobs of a workspace."""

    def __init__(self, http: Http, workspace: str) -> None:
        self._http = http
        self._workspace = workspace

    async def submit(self, command: Sequence[str], **options: Unpack[JobOptions]) -> AsyncJob:
        """Submit a command, run without a shell; it is queued when this returns.

        Args:
            command: program and arguments.
            options: see `JobOptions`.
        Raises:
            InvalidError, CapacityError, ForbiddenError: it was refused; nothing was made.
        """
        body = {**options, "command": list(command)}
        return AsyncJob(self._http, await self._http.post("/jobs", body, workspace=self._workspace))

    async def submit_function(self, code: str, **options: Unpack[JobOptions]) -> AsyncJob:
        """Submit a function that was uploaded as a version of kind `code`; see `lepton.job` for the easy way.

        Raises:
            NotFoundError: there is no such version.
            InvalidError, CapacityError, ForbiddenError: it was refused; nothing was made.
        """
        body = {**options, "function": code}
        return AsyncJob(self._http, await self._http.post("/jobs", body, workspace=self._workspace))

    async def get(self, id: str) -> AsyncJob:
        """One job.

        Raises:
            NotFoundError: there is none that you may see.
        """
        return AsyncJob(self._http, await self._http.get(f"/jobs/{part(id)}"))

    async def list(self, *, state: str = "", name: str = "", limit: int = 100) -> "list[AsyncJob]":
        """The newest jobs, newest first.

        Args:
            state: only those in this state: queued, placed, running, stopping, done, failed or cancelled.
            name: only those of this name.
            limit: how many, 1 to 1000.
        Raises:
            InvalidError: `limit` is another number.
        """
        query = {"state": state, "name": name, "workspace": self._workspace, "limit": limit}
        return [AsyncJob(self._http, fields) for fields in (await self._http.get("/jobs", **query))["items"]]


class Jobs(Blocking[AsyncJobs]):
    """The jobs of a workspace."""

    submit = returning(lambda: Job)(AsyncJobs.submit)
    submit_function = returning(lambda: Job)(AsyncJobs.submit_function)
    get = returning(lambda: Job)(AsyncJobs.get)
    list = listing(lambda: Job)(AsyncJobs.list)
