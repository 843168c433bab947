"""Answers of the OpenAI API: whole ones, the events of streamed ones, and errors. Pure."""

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from lepton.core.errors import LeptonError
from lepton.serve.answers import openai_error
from lepton.serve.faults import refusal
from lepton.serve.llm.runtime import Likely, Piece, Usage, Vectors
from lepton.serve.program import Reply

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Choice:
    """One text, as it grows."""

    index: int
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    likely: list[Likely] = field(default_factory=list)
    finish: str = ""
    size: int = 0
    """Characters so far: where the next token begins."""

    def add(self, piece: Piece) -> None:
        """A further piece."""
        if piece.text:
            self.text.append(piece.text)
        if piece.reasoning:
            self.reasoning.append(piece.reasoning)
        for call in piece.calls:
            self._add_call(call)
        self.likely += piece.likely
        self.finish = piece.finish or self.finish

    def _add_call(self, part: Mapping[str, Any]) -> None:
        call = self.calls.setdefault(part.get("index", 0), {"id": "", "type": "function", "function": {}})
        call["id"] = part.get("id") or call["id"]
        for name, text in (part.get("function") or {}).items():
            call["function"][name] = call["function"].get(name, "") + (text or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One answer's outer form.

    Args:
        id: of the answer.
        created: when, in Unix seconds.
        model: as the client called it.
        is_chat: chat, else completion.
        has_likely: whether probabilities were asked for.
    """

    id: str
    created: int
    model: str
    is_chat: bool
    has_likely: bool

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that all answers begin with."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    # streams

    def quick(self, index: int) -> tuple[bytes, bytes]:
        """What stands before and after a plain piece of text in its event."""
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        head = orjson.dumps(self.head(kind))[:-1]
        if self.is_chat:
            return (
                b'data: %b,"choices":[{"index":%d,"delta":{"content":' % (head, index),
                b'},"logprobs":null,"finish_reason":null}]}\n\n',
            )
        return (
            b'data: %b,"choices":[{"index":%d,"text":' % (head, index),
            b',"logprobs":null,"finish_reason":null}]}\n\n',
        )

    def opening(self, index: int) -> bytes:
        """The first event of a choice; of a completion none."""
        if not self.is_chat:
            return b""
        return self._event([{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def event(self, piece: Piece, choice: Choice) -> bytes:
        """The event of a piece that is more than plain text."""
        found: dict[str, Any] = {"index": choice.index, "finish_reason": piece.finish or None}
        if self.has_likely and piece.likely:
            found["logprobs"] = self._likely(piece.likely, choice)
        if not self.is_chat:
            return self._event([{**found, "text": piece.text}])
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.reasoning:
            delta["reasoning_content"] = piece.reasoning
        if piece.calls:
            delta["tool_calls"] = list(piece.calls)
        return self._event([{**found, "delta": delta}])

    def usage_event(self, usage: Usage) -> bytes:
        """The last event, if usage was asked for."""
        return self._event([], usage=usage_of(usage))

    def _event(self, choices: Sequence[Mapping[str, Any]], **more: Any) -> bytes:
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return b"data: %b\n\n" % orjson.dumps({**self.head(kind), "choices": choices, **more})

    # whole answers

    def whole(self, choices: Iterable[Choice], usage: Usage) -> bytes:
        """The answer that does not stream."""
        kind = "chat.completion" if self.is_chat else "text_completion"
        told = [self._choice(choice) for choice in choices]
        return orjson.dumps({**self.head(kind), "choices": told, "usage": usage_of(usage)})

    def _choice(self, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        found: dict[str, Any] = {"index": choice.index, "finish_reason": choice.finish or "stop", "logprobs": None}
        if self.has_likely:
            found["logprobs"] = self._likely(choice.likely, choice)
        if not self.is_chat:
            return {**found, "text": text}
        calls = [choice.calls[key] for key in sorted(choice.calls)]
        message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text}
        if calls:
            message["tool_calls"] = calls
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        return {**found, "message": message}

    def _likely(self, told: Sequence[Likely], choice: Choice) -> dict[str, Any]:
        if self.is_chat:
            return {"content": [{**_token(one), "top_logprobs": [_token(o) for o in one.others]} for one in told]}
        offsets = []
        for one in told:
            offsets.append(choice.size)
            choice.size += len(one.text)
        return {
            "tokens": [one.text for one in told],
            "token_logprobs": [one.logprob for one in told],
            "top_logprobs": [{other.text: other.logprob for other in one.others} for one in told],
            "text_offset": offsets,
        }


def _token(one: Likely) -> dict[str, Any]:
    return {"token": one.text, "logprob": one.logprob, "bytes": list(one.text.encode())}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens as the API tells them."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def embeddings(found: Vectors, *, model: str, is_packed: bool) -> bytes:
    """The answer to a request for embeddings."""
    data = []
    for index, vector in enumerate(found.vectors):
        told: Any = list(map(float, vector))
        if is_packed:
            told = base64.b64encode(struct.pack(f"<{len(told)}f", *told)).decode()
        data.append({"object": "embedding", "index": index, "embedding": told})
    usage = {"prompt_tokens": found.usage.prompt, "total_tokens": found.usage.prompt}
    return orjson.dumps({"object": "list", "data": data, "model": model, "usage": usage})


def error_reply(fault: LeptonError) -> Reply:
    """An error in the form of the API; what is malformed is 400 there."""
    reply = refusal(fault)
    reply.status = 400 if reply.status == 422 else reply.status
    reply.body = error_body(fault)
    return reply


def error_body(fault: LeptonError) -> bytes:
    """The JSON object of an error."""
    status = 400 if fault.status == 422 else fault.status
    message = f"{fault.message}. {fault.fix}".strip() if fault.fix else fault.message
    code = None if fault.code == "invalid" else fault.code
    return orjson.dumps({"error": openai_error(status, message, code, getattr(fault, "param", None))})
