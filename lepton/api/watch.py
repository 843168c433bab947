"""`/watch`: everything that happens, as it happens (server-sent events), resumable from any revision."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, StreamingResponse

from lepton.api.door import Reading, Visit, answer
from lepton.api.wire import EventOut, EventPage
from lepton.core.event import Event
from lepton.store import events
from lepton.store.database import Tx

router = APIRouter(tags=["watch"])
HEARTBEAT_S = 15.0
Seq = Annotated[int, Query(ge=0, lt=2**62)]


@router.get("/events", response_model=EventPage)
async def list_events(
    visit: Reading,
    after: Seq = 0,
    subject: Annotated[str, Query(max_length=40)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JSONResponse:
    """Events of a workspace after a sequence number, oldest first."""
    subject = subject if subject.isprintable() else "-"

    def work(tx: Tx) -> list[tuple[int, Event]]:
        return events.after(tx, after, workspaces=[visit.workspace], subject=subject, limit=limit + 1)

    found = await visit.read(work)
    page = [EventOut.of(seq, event) for seq, event in found[:limit]]
    return answer({"items": page, "next": page[-1]["seq"] if len(found) > limit else None})


@router.get("/watch", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def watch(
    visit: Reading,
    since: Annotated[
        int | None, Query(ge=0, lt=2**62, description="resume after this revision; else: from now")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> StreamingResponse:
    """Events of a workspace as they are committed. `id` is the revision to resume from."""
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        since = int(last_event_id)
    start = since if since is not None else await visit.read(events.newest)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(visit, start), media_type="text/event-stream", headers=headers)


async def _stream(visit: Visit, seq: int) -> AsyncIterator[bytes]:
    hub = visit.platform.hub
    yield b": hello\n\n"
    while not hub.is_closed:
        batch = hub.since(seq)
        if batch is None:
            batch = await visit.read(lambda tx: events.after(tx, seq, limit=500))  # noqa: B023  awaited at once
        for number, event in batch:
            seq = max(seq, number)
            if event.workspace == visit.workspace:
                yield _frame(EventOut.of(number, event))
        if not batch:
            before = asyncio.get_running_loop().time()
            await hub.wait(HEARTBEAT_S)
            if asyncio.get_running_loop().time() - before >= HEARTBEAT_S - 0.1:
                yield b": still here\n\n"


def _frame(event: dict[str, Any]) -> bytes:
    return f"id: {event['seq']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode()
