"""A replica's end of the connection to its front: requests in, answers as they are ready out."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import orjson

from lepton.core.errors import LeptonError
from lepton.serve.calls import Call
from lepton.serve.faults import refusal, reply_for
from lepton.serve.frames import HEADED, LAST, Entry, Frame, Item, Kind, ReleaseError
from lepton.serve.items import answer_of, call_of
from lepton.serve.mailbox import Mailbox
from lepton.serve.marks import LAST_PLACE, PLACES, Claims, Words, make_words, open_words
from lepton.serve.outbox import Outbox
from lepton.serve.pace import Pace
from lepton.serve.program import Line, Reply, Work
from lepton.serve.reporter import Tell
from lepton.serve.shared import Wire
from lepton.serve.streams import Flow, Pump, Tunnel
from lepton.serve.threads import Threads
from lepton.serve.wishes import KIND

Greet = Callable[[], tuple[bytes, Mailbox | None]]
"""What to say first to a front that is there, and the mailbox that it names."""
SLICE_S = 0.001
"""What was computed in this time is sent before more is begun: of several slow requests that came together the first
does not wait for the last, and a process that dies takes no more answers with it."""
Batches = dict[Callable[..., Any], tuple[Work, list[Call]]]
"""What computes them -> the work, and the requests that are computed together."""


class Link(asyncio.Protocol):
    """One connection to the front."""

    def __init__(
        self,
        works: dict[int, Work],
        greet: Greet,
        threads: Threads | None,
        tell: Tell,
        marks: Words | None = None,
        max_batch: int = 0,
    ) -> None:
        self._max_batch = max_batch
        self._marks = marks if marks is not None else make_words(PLACES)
        self._claims = Claims(self._marks, make_words())
        self._count = 0
        """Requests that came and were begun, batched or given to a task."""
        self._due: list[Item] = []
        """Those that came after them."""
        self._frames = 0
        """Frames that came and are not counted as begun."""
        self._works = works
        self._direct = {id: work.call for id, work in works.items() if work.call and not work.batch and not threads}
        """Plain functions that run in the loop: most of what is asked."""
        self._tell = tell
        self._greet = greet
        self._threads = threads
        self._transport: asyncio.Transport | None = None
        self._wire = Wire(self._write)
        self._outbox = Outbox(self._wire)
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self.has_heard = False
        """Something of its front."""
        self.fault: ReleaseError | None = None
        """Why the two cannot talk."""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._left: set[int] = set()
        """Requests whose callers have left."""
        self._batches: set[asyncio.Task[None]] = set()
        self._flows: dict[int, Flow] = {}
        self._room = asyncio.Event()
        """Set while the connection takes what is written."""
        self._room.set()

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        self._transport = transport  # type: ignore[assignment]
        self._outbox.is_open = True
        hello, self._wire.mailbox = self._greet()
        self._wire.send(Frame(Kind.HELLO, [Entry(0, hello)]))

    def connection_lost(self, fault: Exception | None) -> None:
        """The front is gone: nobody waits for what we do."""
        self._transport = None
        self._outbox.is_open = False
        self._due = []
        self._wire.close()
        self._left.update(self._tasks)
        for task in [*self._tasks.values(), *self._batches]:
            task.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The front is behind with reading: streams wait."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._room.set()

    def data_received(self, data: bytes) -> None:
        """Some frames."""
        asked: list[Item] = []
        self.has_heard = True
        try:
            frames = self._wire.feed(data)
        except ReleaseError as fault:
            self.fault = fault
            self.end()
            return
        for frame in frames:
            if frame.kind == Kind.BATCH:
                self._frames += 1
                asked += frame.items
            elif frame.kind == Kind.TELL:
                self._tell(orjson.loads(frame.entries[0].body))
            else:
                if asked:  # what it is about may have come with it
                    self._begin(asked)
                    asked = []
                self._control(frame)
        if asked:
            self._begin(asked)

    def _control(self, frame: Frame) -> None:
        if frame.kind == Kind.VOID and self._wire.mailbox is not None:
            void = open_words(self._wire.mailbox, 1)
            if void is not None and not self._count:
                self._claims = Claims(self._marks, void)
                self._wire.send(Frame(Kind.VOID, []))
        for entry in frame.entries:
            if frame.kind == Kind.CANCEL:
                task = self._tasks.get(entry.id)
                if task is not None:
                    self._left.add(entry.id)
                    task.cancel()
            elif frame.kind == Kind.FLOW and (flow := self._flows.get(entry.id)):
                flow.turn(is_on=bool(entry.status))
            elif frame.kind == Kind.INPUT and isinstance(flow := self._flows.get(entry.id), Tunnel):
                flow.feed(entry.body, is_last=bool(entry.flags & LAST))

    def leave(self, *, is_ill: bool) -> None:
        """Tell the front that this worker wants to end."""
        if self._transport is not None:
            self._wire.send(Frame(Kind.LEAVE, [], int(is_ill)))

    def end(self) -> None:
        """Leave now: the front gives to others what was not begun here."""
        if self._transport is not None:
            self._transport.close()

    def tell(self, grown: Mapping[str, int]) -> bool:
        """Let the front add to its counters; False: it is gone."""
        if self._transport is None:
            return False
        self._wire.send(Frame(Kind.METERS, [Entry(0, orjson.dumps(grown))]))
        return True

    # work

    def _begin(self, asked: list[Item]) -> None:
        """Answer what can be at once; begin the rest."""
        if self._due:
            self._due += asked
        else:
            self._go_on(asked)

    def _go_on(self, asked: Sequence[Item]) -> None:
        """The same, for so long; what is not begun then has its turn after what has come in meanwhile is read."""
        batches: Batches = {}
        marks, direct, items, void = self._marks, self._direct, self._outbox.items, self._claims.void
        first = self._count + 1
        ends = perf_counter() + SLICE_S
        for number, item in enumerate(asked, first):
            if number > first and not batches and perf_counter() > ends:  # a batch is not torn apart
                self._due = list(asked[number - first :])
                self._loop.call_soon(self._go_on_later)
                break
            self._count = number
            id, body, left_ms, _, operation, _, media, flags = item
            answer = direct.get(operation)
            if answer is None or flags & HEADED or media > KIND:
                self._sort(Entry(*item), number, batches)
                continue
            marks[number & LAST_PLACE] = number  # as `claim` does; no thread claims anything here
            if void[0] >= number:
                self._outbox.give_back(number, id)
                continue
            try:
                reply = answer(Call(id, body, media, None, left_ms / 1000))
            except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
                reply = reply_for(fault, id)
            if reply.stream is None and not reply.headers:
                items.append((id, reply.body, 0, reply.rows, 0, reply.status, reply.media, LAST))
            else:
                self._finish(id, reply)
        for work, calls in batches.values():
            self._compute(work, calls)
        if not self._due:
            self._outbox.frames += self._frames
            self._frames = 0
        self._outbox.flush()

    def _go_on_later(self) -> None:
        due, self._due = self._due, []
        self._go_on(due)

    def _sort(self, entry: Entry, number: int, batches: Batches) -> None:
        """Answer or begin one that is not usual, or put it with the others of its batch."""
        work = self._works.get(entry.operation)
        if work is None:
            self._outbox.put(Entry(entry.id, status=500))
            return
        try:
            call = call_of(entry)
        except LeptonError as fault:
            self._outbox.put(answer_of(entry.id, refusal(fault)))
            return
        call.number = number
        if work.pick is not None:
            picked = work.pick(call)
            if isinstance(picked, Reply):
                self._finish(entry.id, picked)
                return
            work = picked
        if work.batch is not None:
            batches.setdefault(work.batch, (work, []))[1].append(call)
        elif work.call is not None and self._threads is None:
            self._finish_all([call], [self._safely(work.call, call)])
        else:
            self._spawn(work, call)

    def _compute(self, work: Work, calls: list[Call]) -> None:
        size = min(filter(None, (work.max_batch, self._max_batch, len(calls))))
        for at in range(0, len(calls), size):
            part = calls[at : at + size]
            if self._threads is None:
                self._finish_all(part, self._batch(work, part))
            else:
                task = asyncio.ensure_future(self._batch_in_thread(self._threads, work, part))
                self._batches.add(task)  # of several requests: none of them may cancel it
                task.add_done_callback(self._batches.discard)

    def _batch(self, work: Work, calls: Sequence[Call]) -> Sequence[Reply | None]:
        """The answers; None: it may not be begun."""
        assert work.batch is not None
        claimed = [call for call in calls if self._claims.claim(call.number)]
        try:
            replies = work.batch(claimed) if claimed else []
        except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
            replies = [reply_for(fault, calls[0].id)] * len(claimed)
        if len(claimed) == len(calls):
            return replies
        found = {call.id: reply for call, reply in zip(claimed, replies, strict=True)}
        return [found.get(call.id) for call in calls]

    async def _batch_in_thread(self, threads: Threads, work: Work, calls: Sequence[Call]) -> None:
        self._finish_all(calls, await threads.run(self._batch, work, calls))
        self._outbox.flush_soon()

    def _finish_all(self, calls: Sequence[Call], replies: Sequence[Reply | None]) -> None:
        for call, reply in zip(calls, replies, strict=True):
            if reply is None:
                self._outbox.give_back(call.number, call.id)
            else:
                self._finish(call.id, reply)

    def _safely(self, work: Callable[[Call], Reply], call: Call) -> Reply | None:
        """The answer; None: it may not be begun."""
        if not self._claims.claim(call.number):
            return None
        try:
            return work(call)
        except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
            return reply_for(fault, call.id)

    def _finish(self, id: int, reply: Reply) -> None:
        """Give an answer, or begin to stream it."""
        if reply.stream is None:
            self._outbox.put(answer_of(id, reply))
            return
        pump = Pump(id, reply, self._outbox.put_soon, self._outbox.collect_soon, self._room)
        self._flows[id] = pump
        self._keep(id, pump.run())

    def _spawn(self, work: Work, call: Call) -> None:
        if work.tunnel is not None and call.head is not None and call.head.is_upgrade:
            self._flows[call.id] = Tunnel(call.id, self._outbox.put_soon, self._room, self._was_read)
            self._keep(call.id, self._talk(work.tunnel, call))
        else:
            self._keep(call.id, self._answer(work, call))

    def _was_read(self, id: int, size: int) -> None:
        if self._transport is not None:
            self._wire.send(Frame(Kind.FLOW, [Entry(id, rows=size)]))

    async def _talk(self, work: Callable[[Call, Line], Awaitable[None]], call: Call) -> None:
        """A whole connection in a task of its own."""
        if not self._claims.claim(call.number):
            self._outbox.give_back(call.number, call.id)
            return
        tunnel = self._flows[call.id]
        assert isinstance(tunnel, Tunnel)
        await tunnel.run(work, call)

    def _keep(self, id: int, course: Awaitable[None]) -> None:
        task = asyncio.ensure_future(course)
        self._tasks[id] = task
        task.add_done_callback(partial(self._forget, id))

    def _forget(self, id: int, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(id) is task:
            del self._tasks[id]
            self._flows.pop(id, None)
        was_left = task.cancelled() and id in self._left
        self._left.discard(id)
        if was_left:
            self._outbox.put_soon(Entry(id, status=499))
        elif (fault := _fault_of(task)) is not None:
            self._outbox.put_soon(answer_of(id, reply_for(fault, id)))

    async def _answer(self, work: Work, call: Call) -> None:
        """One request in a task of its own."""
        reply: Reply | None = None
        try:
            if work.answer is None:
                assert work.call is not None and self._threads is not None
                reply = await self._threads.run(self._safely, work.call, call)
            else:
                await self._pace.begin()
                if self._claims.claim(call.number):
                    reply = await work.answer(call)
        except asyncio.CancelledError:
            raise
        except BaseException as fault:  # noqa: BLE001  whatever a user's code raises, also that it wants to exit
            reply = reply_for(fault, call.id)
        if reply is None:
            self._outbox.give_back(call.number, call.id)
            return
        if reply.stream is None:
            self._outbox.put_soon(answer_of(call.id, reply))
            return
        pump = self._flows[call.id] = Pump(call.id, reply, self._outbox.put_soon, self._outbox.collect_soon, self._room)
        await pump.run()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _fault_of(task: "asyncio.Task[None]") -> BaseException | None:
    """What ended a task; a cancelling that nobody outside asked for is a fault of the handler."""
    if task.cancelled():
        return RuntimeError("the handler was cancelled from within: a task that it awaited was cancelled")
    return task.exception()
