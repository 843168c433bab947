"""The routes of the OpenAI API, answered by models in this process."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from os import urandom
from time import monotonic, time
from typing import Any
from urllib.parse import unquote

import orjson

from lepton.core.errors import LeptonError, NotFoundError, clip
from lepton.serve.answers import OPENAI_FORM
from lepton.serve.calls import Call
from lepton.serve.faults import note, wording
from lepton.serve.frames import Media
from lepton.serve.llm.runtime import Ask, AskError, Piece, RuntimeFaultError, Usage
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.openai import answers
from lepton.serve.protocols.openai.answers import Choice, Form
from lepton.serve.protocols.openai.merge import echoed, merged
from lepton.serve.protocols.openai.messages import TEXT
from lepton.serve.protocols.openai.pages import openai_paths
from lepton.serve.protocols.openai.requests import Body, Chat, Completion, Embedding, read
from lepton.serve.routes import Operation
from lepton.serve.streams import TURN_S

NOTHING = Usage(0)
TIMEOUT_S = 600.0
"""For a whole answer, or the first token of one that streams."""
Ready = Callable[[Call], Awaitable[Reply]]


class ModelNotFoundError(NotFoundError):
    """The endpoint serves no model of that name."""

    code = "model_not_found"


@dataclass(slots=True)
class Course:
    """One request that generates, on its way."""

    form: Form
    choices: list[Choice]
    pieces: AsyncIterator[tuple[int, Piece]]
    told: dict[int, Usage] = field(default_factory=dict)
    """Choice -> its tokens until now, not yet counted."""
    usage: Usage = NOTHING
    """Of all choices: each has its own tokens, and several share a prompt."""

    def hear(self, number: int, piece: Piece) -> None:
        """Keep what a choice has cost until now."""
        if piece.usage is not None:
            self.told[number] = piece.usage


class OpenAI:
    """The API over some models.

    Args:
        models: name -> an object that has `chat`, `complete` or `embed` of `llm.runtime.Model`.
        first: number of its first operation.
    """

    def __init__(self, models: Mapping[str, Any], *, first: int) -> None:
        self._models = models
        self._first = first
        self._created = int(time())
        self._prefix = urandom(6).hex()
        self._numbers = count(1)
        self.counters: Counter[str] = Counter()
        """Tokens and requests since the start."""

    def works(self) -> list[Work]:
        """Its routes; only what some model can do."""
        routes: list[tuple[str, str, Ready]] = [
            ("GET", "/v1/models", self._list),
            ("GET", "/v1/models/{model:path}", self._get),
            ("POST", "/v1/chat/completions", self._chat),
            ("POST", "/v1/completions", self._complete),
            ("POST", "/v1/embeddings", self._embed),
        ]
        return [
            Work(operation=self._operation(number, method, path), answer=self._guarded(answer))
            for number, (method, path, answer) in enumerate(routes)
        ]

    def described(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Its paths and schemas as OpenAPI has them."""
        return openai_paths(self._models)

    def _operation(self, number: int, method: str, path: str) -> Operation:
        is_get = method == "GET"
        return Operation(
            id=self._first + number,
            path=path,
            methods=(method,),
            is_headed="{" in path,
            is_repeatable=is_get,
            has_body=not is_get,
            timeout_s=0.0 if is_get else TIMEOUT_S,
            form=OPENAI_FORM,
        )

    def _guarded(self, answer: Ready) -> Ready:
        async def guarded(call: Call) -> Reply:
            try:
                return await answer(call)
            except Exception as fault:  # noqa: BLE001  whatever a model raises
                return answers.error_reply(known(fault, call.id))

        return guarded

    # models

    async def _list(self, call: Call) -> Reply:
        return Reply(orjson.dumps({"object": "list", "data": [self._about(name) for name in self._models]}))

    async def _get(self, call: Call) -> Reply:
        assert call.head is not None
        name = unquote(call.head.path.removeprefix("/v1/models/"))
        self._find(name, "")
        return Reply(orjson.dumps(self._about(name)))

    def _about(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "lepton"}

    def _find(self, name: str, way: str) -> Any:
        model = self._models.get(name)
        if model is None:
            raise ModelNotFoundError(
                f"The model {clip(name, 80)!r} does not exist", fix=f"Use one of {', '.join(self._models)}."
            )
        if way and not hasattr(model, way):
            raise AskError(f"The model {name!r} cannot {way}", "model")
        return getattr(model, way) if way else model

    # generating

    async def _chat(self, call: Call) -> Reply:
        body = read(Chat, call.body)
        run = self._find(body.model, "chat")
        parts = getattr(self._models[body.model], "parts", (TEXT,))
        return await self._generate(body, body.asks(parts), run, is_chat=True)

    async def _complete(self, call: Call) -> Reply:
        body = read(Completion, call.body)
        run = self._find(body.model, "complete")
        return await self._generate(body, body.asks(), partial(echoed, run) if body.echo else run, is_chat=False)

    async def _generate(
        self, body: Body, asks: Sequence[Ask], run: Callable[[Ask], AsyncIterator[Piece | str]], *, is_chat: bool
    ) -> Reply:
        form = Form(
            id=f"{'chatcmpl' if is_chat else 'cmpl'}-{self._prefix}{next(self._numbers):x}",
            created=int(time()),
            model=body.model,
            is_chat=is_chat,
            has_likely=asks[0].logprobs is not None,
        )
        pieces = merged([run(ask) for ask in asks])
        course = Course(form, [Choice(number) for number in range(len(asks))], pieces)
        self.counters["generations"] += 1
        if not body.stream:
            return Reply(await self._whole(course, asks), media=Media.JSON)
        first = await anext(pieces, None)  # so that a fault before it has a status of its own
        return Reply(stream=self._events(course, first, asks, has_usage=body.has_usage), media=Media.SSE)

    async def _whole(self, course: Course, asks: Sequence[Ask]) -> bytes:
        since = monotonic()
        try:
            async for number, piece in course.pieces:
                course.choices[number].add(piece)
                course.hear(number, piece)
                if monotonic() - since >= TURN_S:  # a model may never wait
                    await asyncio.sleep(0)
                    since = monotonic()
        finally:
            self._meter(course, asks)
        return course.form.whole(course.choices, course.usage)

    async def _events(
        self, course: Course, first: tuple[int, Piece] | None, asks: Sequence[Ask], *, has_usage: bool
    ) -> AsyncIterator[bytes]:
        form = course.form
        quick = [form.quick(choice.index) for choice in course.choices]
        try:
            yield b"".join([form.opening(choice.index) for choice in course.choices])
            current = first
            while current is not None:
                number, piece = current
                if piece.text and not (piece.likely or piece.calls or piece.finish or piece.reasoning):
                    before, after = quick[number]
                    yield before + orjson.dumps(piece.text) + after
                elif piece.text or piece.calls or piece.finish or piece.reasoning:
                    yield form.event(piece, course.choices[number])
                course.hear(number, piece)
                current = await anext(course.pieces, None)
            self._meter(course, asks)
            if has_usage:
                yield form.usage_event(course.usage)
            yield answers.DONE
        except Exception as fault:  # noqa: BLE001  the status is gone: the stream tells it
            yield b"data: %b\n\n" % answers.error_body(known(fault))
        finally:
            self._meter(course, asks)
            await course.pieces.aclose()  # type: ignore[attr-defined]

    def _meter(self, course: Course, asks: Sequence[Ask]) -> None:
        """Count the tokens, also of one that is left early; a prompt of several choices counts once for the client."""
        for number, told in sorted(course.told.items()):
            sum = course.usage
            is_shared = number > 0 and asks[number].prompt == asks[number - 1].prompt
            prompt, cached = (0, 0) if is_shared else (told.prompt, min(told.cached, told.prompt))
            course.usage = Usage(sum.prompt + prompt, sum.completion + told.completion, sum.cached + cached)
            self.counters["prompt_tokens"] += told.prompt
            self.counters["cached_tokens"] += told.cached
            self.counters["completion_tokens"] += told.completion
        course.told.clear()

    async def _embed(self, call: Call) -> Reply:
        body = read(Embedding, call.body)
        found = await self._find(body.model, "embed")(body.texts())
        for vector in found.vectors[:1]:
            body.check_size(len(vector))
        self.counters["embeddings"] += len(found.vectors)
        self.counters["prompt_tokens"] += found.usage.prompt
        return Reply(answers.embeddings(found, model=body.model, is_packed=body.encoding_format == "base64"))


def known(fault: Exception, request: int = 0) -> LeptonError:
    """The fault in words for a client; what nobody meant for it goes to the log."""
    if isinstance(fault, LeptonError):
        return fault
    if isinstance(fault, asyncio.TimeoutError):
        return RuntimeFaultError("The model took too long", fix="Ask for less.")
    note(fault, request)
    return RuntimeFaultError(wording(fault, request), fix="The endpoint's log has the traceback.")
