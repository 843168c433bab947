"""GGUF models on llama.cpp, in this process through xllamacpp: its slots, continuous batching and prefix cache.

Each request waits in a thread of its own, outside the interpreter's lock, until llama.cpp has a token for it. All
tokens of all requests that are ready reach the event loop by one wake-up.
"""

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import xllamacpp

from lepton.core.errors import InvalidError, UnavailableError
from lepton.serve.llm.runtime import Ask, AskError, ContextLengthError, Likely, Piece, RuntimeFaultError, Usage, Vectors
from lepton.serve.llm.schema import unfollowed
from lepton.serve.threads import Threads

SLOTS = 8
"""Requests computed together."""
SLOT_TOKENS = 4096
"""Context of one request, at most; less if the model was trained for less."""
THREADS = 4 * SLOTS
CLOSE_S = 3.0
"""For what still runs when it closes. llama.cpp reads a prompt to its end, though nobody listens any more."""
DONE = b""
FIELDS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
RANDOM_SEED = 2**32 - 1
"""Which llama.cpp takes for none."""
Run = Callable[[bytes, Callable[[bytes], bool]], None]


class Stream:
    """What llama.cpp says to one request, on its way from a thread to the loop."""

    def __init__(self) -> None:
        self.chunks: deque[bytes | Exception] = deque()
        self.is_left = False
        """Nobody listens: the thread ends the request at its next token."""
        self.ready = asyncio.Event()


class Post:
    """Carries chunks from threads to the loop, which is woken once for all that are there."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bag: deque[tuple[Stream, bytes | Exception]] = deque()
        self._is_called = False

    def put(self, stream: Stream, chunk: bytes | Exception) -> None:
        """From any thread."""
        self._bag.append((stream, chunk))
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._is_called = False  # before the look: who puts from now on calls again
        while self._bag:
            stream, chunk = self._bag.popleft()
            stream.chunks.append(chunk)
            stream.ready.set()


class XLlama:
    """`runtime.Runtime` of one GGUF file.

    Args:
        path: of the file.
        threads: that compute.
        context: tokens that the model was trained for.
        has_tools: whether its chat template knows tools.
        vocabulary: how many tokens it knows; 0: not told.

    Raises:
        RuntimeFaultError: it cannot be loaded.
    """

    room = SLOTS

    def __init__(self, path: Path, *, threads: int, context: int, has_tools: bool, vocabulary: int = 0) -> None:
        self.context = min(context, SLOT_TOKENS)
        self._path = path
        self._cores = threads
        self._has_tools = has_tools
        self._vocabulary = vocabulary
        self._folder = tempfile.TemporaryDirectory(prefix="lepton-llm-")
        self._server = self._open("chat.sock")
        self._embedder: Any = None
        self._opening = asyncio.Lock()
        self._streams: set[Stream] = set()
        self._threads: Threads | None = None
        self._post: Post | None = None

    def _open(self, socket: str, *, is_embedding: bool = False) -> Any:
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_parallel = SLOTS
        params.n_ctx = self.context * SLOTS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._cores
        params.verbosity = 0
        params.hostnames = [f"{self._folder.name}/{socket}"]  # it insists on a server of its own: let none reach it
        params.ui = params.endpoint_slots = False
        params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_AUTO
        if is_embedding:
            params.embedding = True
            params.n_ubatch = params.n_batch = self.context
            params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        try:
            return xllamacpp.Server(params)
        except RuntimeError as fault:
            raise RuntimeFaultError(f"{self._path.name} cannot be loaded: {fault}", fix="See the log.") from fault

    async def start(self) -> None:
        """Get ready, in the loop that will ask."""
        self._post, self._threads = Post(), Threads(THREADS)

    async def close(self) -> None:
        """End what runs, and let go of the model, unless a prompt is still being read after a while: then its thread
        has it, until the process ends."""
        for stream in self._streams:
            stream.is_left = True
        if self._threads is None or await self._threads.ended(CLOSE_S):
            self._server = self._embedder = None
        if self._threads is not None:
            self._threads.close()
        self._folder.cleanup()

    def is_healthy(self) -> bool:
        """llama.cpp ends the process where it fails."""
        return True

    # generating

    async def chat(self, ask: Ask) -> AsyncIterator[Piece]:
        """The answer to its messages."""
        if ask.tools and not self._has_tools:
            raise AskError(
                "This model's chat template has no place for tools",
                "tools",
                fix="Leave out `tools`, or serve another model.",
            )
        body = {**self._body(ask), "messages": list(map(_message, ask.messages))}
        if ask.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": max(1, ask.logprobs)}  # for 0 it tells of no token at all
        check_tools(ask.tools)
        if ask.schema is not None:
            check(ask.schema, "response_format")
            body["response_format"] = {"type": "json_schema", "json_schema": {"schema": ask.schema}}
        if ask.tools:
            body |= {"tools": ask.tools, "tool_choice": ask.tool_choice or "auto", "parse_tool_calls": True}
            body |= {} if ask.is_parallel is None else {"parallel_tool_calls": ask.is_parallel}
        async for piece in self._run(self._server.handle_chat_completions, body):
            if ask.logprobs == 0:
                piece = piece._replace(likely=[one._replace(others=()) for one in piece.likely])
            yield piece

    async def complete(self, ask: Ask) -> AsyncIterator[Piece]:
        """How its prompt goes on."""
        body = {**self._body(ask), "prompt": ask.prompt}
        if ask.logprobs is not None:
            body["logprobs"] = max(1, ask.logprobs)
        if not isinstance(ask.prompt, str):
            self._check_tokens(ask.prompt, "prompt")
        if ask.schema is not None:
            check(ask.schema, "response_format")
            body["json_schema"] = ask.schema
        async for piece in self._run(self._server.handle_completions, body):
            yield piece

    def _check_tokens(self, tokens: Sequence[int], param: str) -> None:
        worst = max(tokens, default=0)
        if self._vocabulary and worst >= self._vocabulary:
            raise AskError(f"The model has {self._vocabulary} tokens; {worst} is none of them", param)

    def _body(self, ask: Ask) -> dict[str, Any]:
        """What both ways of asking share."""
        body: dict[str, Any] = {name: value for name in FIELDS if (value := getattr(ask, name)) is not None}
        if ask.max_tokens is not None:
            body["max_tokens"] = min(ask.max_tokens, self.context)
        if ask.seed is not None:
            body["seed"] = ask.seed % RANDOM_SEED
        if ask.stop:
            body["stop"] = ask.stop
        if ask.logit_bias:
            body["logit_bias"] = ask.logit_bias
        for token in ask.logit_bias:
            if self._vocabulary and int(token) >= self._vocabulary:
                raise AskError(f"The model has {self._vocabulary} tokens; {token} is none of them", "logit_bias")
        return {**body, "stream": True, "stream_options": {"include_usage": True}, "timings_per_token": True}

    async def _run(self, run: Run, body: Mapping[str, Any]) -> AsyncIterator[Piece]:
        assert self._threads is not None
        stream = Stream()
        self._streams.add(stream)
        self._threads.run(self._wait, run, orjson.dumps(body), stream)
        try:
            while True:
                stream.ready.clear()
                while stream.chunks:
                    chunk = stream.chunks.popleft()
                    if chunk is DONE:
                        return
                    if isinstance(chunk, Exception):
                        raise in_our_words(chunk)
                    yield read_chunk(orjson.loads(chunk))
                await stream.ready.wait()
        finally:
            stream.is_left = True
            self._streams.discard(stream)

    def _wait(self, run: Run, body: bytes, stream: Stream) -> None:
        """In a thread: from the request to its last token, or until nobody listens any more."""
        post = self._post
        assert post is not None

        def take(chunk: bytes) -> bool:
            if not stream.is_left:
                post.put(stream, chunk)
            return stream.is_left

        try:
            if not stream.is_left:
                run(body, take)
            post.put(stream, DONE)
        except Exception as fault:  # noqa: BLE001  raised again where the stream is read
            post.put(stream, fault)

    # embedding

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        """A vector for each text: the mean over its tokens, of length 1. The first call opens a second context."""
        for text in texts:
            if not isinstance(text, str):
                self._check_tokens(text, "input")
        async with self._opening:
            if self._embedder is None:
                self._embedder = await asyncio.to_thread(self._open, "embed.sock", is_embedding=True)
        body = orjson.dumps({"input": texts, "encoding_format": "float"})
        assert self._threads is not None
        found = orjson.loads(await self._threads.run(self._embedder.handle_embeddings, body))
        if "error" in found:
            raise fault_of(found["error"])
        rows = sorted(found["data"], key=lambda row: int(row["index"]))
        return Vectors([row["embedding"] for row in rows], Usage(found["usage"]["prompt_tokens"]))


def check(schema: Any, param: str) -> None:
    """See that a grammar can follow a JSON schema.

    Raises:
        AskError: it would leave a part of it out; the message names the keyword.
    """
    found = next(unfollowed(schema), "")
    if found:
        keyword = found.rpartition("/")[2]
        raise AskError(
            f"The JSON schema cannot be followed: {keyword!r} at {found[:200]} is not supported as it is given",
            param,
            fix="Leave it out, or check the answer yourself.",
        )


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    """See that a grammar can follow what the strict ones of these tools take.

    Raises:
        AskError: it would leave a part of it out.
    """
    for tool in tools:
        if tool["function"].get("strict"):
            check(tool["function"].get("parameters"), "tools")


def _message(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message as chat templates know it: who develops is to them the system."""
    return {**told, "role": "system"} if told["role"] == "developer" else told


def read_chunk(chunk: Mapping[str, Any]) -> Piece:
    """What one chunk of llama.cpp says.

    Raises:
        InvalidError, RuntimeFaultError: that it failed.
    """
    if "error" in chunk:
        raise fault_of(chunk["error"])
    usage = usage_of(chunk)
    if not chunk["choices"]:
        return Piece(usage=usage)
    choice = chunk["choices"][0]
    delta = choice.get("delta") or choice
    told = (choice.get("logprobs") or {}).get("content") or ()
    return Piece(
        text=delta.get("text") or delta.get("content") or "",
        likely=[read_likely(one) for one in told] if told else (),
        calls=delta.get("tool_calls") or (),
        reasoning=delta.get("reasoning_content") or "",
        finish=choice.get("finish_reason") or "",
        usage=usage,
    )


def read_likely(plain: Mapping[str, Any]) -> Likely:
    """A token and those that were likely in its place."""
    others = [read_likely(one) for one in plain.get("top_logprobs") or ()]
    return Likely(plain["token"], plain["id"], plain["logprob"], others)


def usage_of(chunk: Mapping[str, Any]) -> Usage | None:
    """What its request has cost until now, if it tells."""
    if chunk.get("usage"):
        return read_usage(chunk["usage"])
    if (timings := chunk.get("timings")) is None:
        return None
    cached = timings["cache_n"]
    return Usage(timings["prompt_n"] + cached, timings["predicted_n"], cached)


def read_usage(plain: Mapping[str, Any]) -> Usage:
    """Tokens of one request."""
    cached = (plain.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Usage(plain["prompt_tokens"], plain["completion_tokens"], cached)


def in_our_words(fault: Exception) -> Exception:
    """What the runtime raised; a schema that it cannot follow is the asker's fault."""
    message = str(fault)
    if isinstance(fault, ValueError) and ("parser for this template" in message or "schema" in message.lower()):
        return AskError(
            f"The JSON schema cannot be followed: {message[:300]}",
            "response_format",
            fix="Resolve $ref; see the message.",
        )
    return fault


def fault_of(error: Mapping[str, Any]) -> Exception:
    """An error of llama.cpp in our words."""
    message = str(error.get("message", error))[:500]
    kind = error.get("type")
    if kind == "exceed_context_size_error" or "too large to process" in message or "context size" in message:
        return ContextLengthError(message, fix="Send less text.")
    if kind == "unavailable_error":
        return UnavailableError(message, fix="Try again.")
    if kind == "invalid_request_error":
        return InvalidError(message, fix="See the message.")
    return RuntimeFaultError(message, fix="See the endpoint's log.")
