"""`/jobs/{id}/logs`: what a worker has written, and follows it."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from lepton.api.door import ReadingAny, Visit, job_spec
from lepton.api.route import DoorRoute
from lepton.api.watch import HEARTBEAT_S, until
from lepton.core.errors import InvalidError
from lepton.core.resource import Resource
from lepton.jobs.gang import key
from lepton.jobs.life import State
from lepton.server.hub import wait_for

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=DoorRoute)


class LogQuery(BaseModel):
    """Which part of a job's logs."""

    rank: Annotated[int, Field(ge=0, lt=4096, description="which worker")] = 0
    start: Annotated[int | None, Field(ge=0, lt=2**31, description="which start of the gang; else: the latest")] = None
    offset: Annotated[int, Field(ge=0, lt=2**53, description="bytes to leave out at the beginning")] = 0
    follow: Annotated[bool, Field(description="go on until the job has ended")] = False
    timeout_s: Annotated[float, Field(ge=0, le=86_400, description="follow no longer than this; 0: no limit")] = 0.0


@router.get("/{id}/logs", response_class=StreamingResponse, responses={200: {"content": {"text/plain": {}}}})
async def logs(visit: ReadingAny, id: str, query: Annotated[LogQuery, Query()]) -> StreamingResponse:
    """What a worker has written, as plain text."""
    job = await visit.peek(lambda tx: visit.find(tx, id, "job"))
    size, latest = job_spec(job).size, _start(job)
    if query.rank >= size:
        raise InvalidError(f"Job {id} has no worker {query.rank}", fix=f"Use 0 to {size - 1}.")
    start = latest if query.start is None else query.start
    if start > latest:
        raise InvalidError(f"Job {id} was not started {start + 1} times", fix=f"Use 0 to {latest}.")
    visit.workspace = job.workspace
    if query.follow:
        stream = Following(visit, job, query).run(start)
    else:
        stream = _written(visit, key(job, query.rank, start), query.offset)
    return StreamingResponse(stream, media_type="text/plain; charset=utf-8")


async def _written(visit: Visit, key: str, offset: int) -> AsyncIterator[bytes]:
    async for data, _ in visit.platform.tails.read(key, offset=offset):
        yield data


def _start(job: Resource) -> int:
    return int(job.status.get("generation", 0))


class Following:
    """The log of one start of the gang after the other, until the job is final."""

    def __init__(self, visit: Visit, job: Resource, query: LogQuery) -> None:
        self._visit = visit
        self._query = query
        self._left = until(query.timeout_s)
        self._platform = visit.platform
        self._id = job.id
        self._epoch = visit.gate.epoch

    async def run(self, start: int) -> AsyncIterator[bytes]:
        """What the worker wrote and writes, from that start of the gang on."""
        yield b""  # the headers go out now, not with the first line
        offset, shown = self._query.offset, -1
        while self._left_s() > 0 and await self._is_welcome():
            arrival = self._platform.hub.arrival(self._id)
            job = await self._platform.fresh.get(self._id)
            if shown != start and (start < _start(job) or job.state not in (State.QUEUED, State.PLACED)):
                if shown >= 0:
                    yield f"[lepton: started again, start {start + 1}]\n".encode()
                shown = start
                async for data in self._one(key(job, self._query.rank, start), offset):
                    yield data
                offset = 0
            elif start < _start(job):
                start += 1
            elif job.is_final:
                return
            else:
                await wait_for(arrival, min(HEARTBEAT_S, self._left_s()))

    async def _one(self, key: str, offset: int) -> AsyncIterator[bytes]:
        async for data, _ in self._platform.tails.follow(key, offset=offset, left_s=self._left_s):
            if data:
                yield data
            if not await self._is_welcome():
                return

    def _left_s(self) -> float:
        return 0.0 if self._platform.hub.is_closed else self._left()

    async def _is_welcome(self) -> bool:
        """Whether the follower's rights are as they were, or have been found good again."""
        epoch = self._visit.gate.epoch
        if epoch != self._epoch:
            self._epoch = epoch
            return await self._visit.is_welcome()
        return True
