"""`/watch`: everything that happens, as it happens (server-sent events), resumable from any revision."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from math import inf
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, StreamingResponse

from lepton.api.door import Reading, Visit, answer, refused
from lepton.api.route import DoorRoute
from lepton.api.wire import EventOut, EventPage
from lepton.core.event import Event
from lepton.security.policy import Action, allows
from lepton.server.hub import Note, wait_for
from lepton.store import events
from lepton.store.database import Tx

router = APIRouter(tags=["watch"], route_class=DoorRoute)
HEARTBEAT_S = 15.0
PAGE = 500
LAST_EVENT_ID = r"^[0-9]{1,18}$"
Seq = Annotated[int, Query(ge=0, lt=2**62)]


@router.get("/events", response_model=EventPage)
async def list_events(
    visit: Reading,
    after: Seq = 0,
    subject: Annotated[str, Query(max_length=40)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    scope: Annotated[
        Literal["workspace", "platform"],
        Query(description="platform: of users, tokens, workspaces and refused logins; for its administrators"),
    ] = "workspace",
) -> JSONResponse:
    """Events of a workspace, or of the platform itself, after a sequence number, oldest first."""
    if scope == "platform" and not allows(visit.principal, Action.PLATFORM, ""):
        raise refused(visit, action=Action.PLATFORM)
    place = "" if scope == "platform" else visit.workspace
    subject = subject if subject.isprintable() else "-"

    def work(tx: Tx) -> list[tuple[int, Event]]:
        return events.after(tx, after, workspaces=[place], subject=subject, limit=limit + 1)

    found = await visit.read(work)
    return answer(EventPage.of(found, limit))


@router.get("/watch", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def watch(
    visit: Reading,
    since: Annotated[Seq | None, Query(description="resume after this revision; else: from now")] = None,
    timeout_s: Annotated[float, Query(ge=0, le=86_400, description="end the stream after this long; 0: never")] = 0.0,
    last_event_id: Annotated[
        str | None, Header(max_length=20, pattern=LAST_EVENT_ID, description="as `since`, and before it")
    ] = None,
) -> StreamingResponse:
    """Events of a workspace as they are committed. `id` is the revision to resume from."""
    if last_event_id is not None:
        since = int(last_event_id)
    start = since if since is not None else await visit.peek(events.newest)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    stream = _stream(visit, start, until(timeout_s))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def until(timeout_s: float) -> Callable[[], float]:
    """A function that gives the seconds left of `timeout_s`; 0: without end."""
    clock = asyncio.get_running_loop().time
    end = clock() + timeout_s if timeout_s else inf
    return lambda: end - clock()


async def _stream(visit: Visit, seq: int, left_s: Callable[[], float]) -> AsyncIterator[bytes]:
    hub, gate, epoch = visit.platform.hub, visit.gate, -1
    yield b": hello\n\n"
    while not hub.is_closed and left_s() > 0:
        arrival = hub.arrival()  # asked for first, so that nothing falls between the look and the wait
        recent = hub.since(seq)
        if recent is None:
            notes, seq = await visit.read(partial(_missed, visit.workspace, seq))
        else:
            notes, seq = recent, recent[-1].seq if recent else seq
        for note in notes:
            if note.event.workspace == visit.workspace:
                yield note.frame or _frame(note)
        if not notes and not await wait_for(arrival, min(HEARTBEAT_S, left_s())):
            yield b": still here\n\n"
            epoch = -1
        if epoch != gate.epoch:
            if not await visit.is_welcome():
                return
            epoch = gate.epoch


def _missed(workspace: str, seq: int, tx: Tx) -> tuple[list[Note], int]:
    """The next events after `seq`, and the number up to which all of them are in there."""
    newest = max(seq, events.newest(tx))
    found = events.after(tx, seq, workspaces=[workspace], limit=PAGE)
    last = found[-1][0] if len(found) == PAGE else max([newest, *(number for number, _ in found[-1:])])
    return [Note(number, event) for number, event in found], last


def _frame(note: Note) -> bytes:
    event = EventOut.of(note.seq, note.event)
    note.frame = f"id: {note.seq}\nevent: {note.event.kind}\ndata: {json.dumps(event)}\n\n".encode()
    return note.frame
