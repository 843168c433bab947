"""Requests of the OpenAI API: from their JSON to what a model is asked. Pure."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lepton.core.errors import InvalidError, clip
from lepton.serve.llm.runtime import Ask

MOST_CHOICES = 16
MOST_TEXTS = 2048
DEFAULT_TOKENS = 16
"""Of a completion whose request names no number, as the API has it."""
OBJECT = {"type": "object"}
"""What `json_object` asks for."""
Kind = TypeVar("Kind", bound=BaseModel)
Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class RequestError(InvalidError):
    """A request that the API does not know; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message, fix="See the API's reference.")
        self.param = param


class Part(BaseModel):
    """A tool, a format, a part of a message: what it holds beyond its type is for the runtime to judge."""

    model_config = ConfigDict(extra="allow")


class StreamOptions(BaseModel):
    """What else a stream tells."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class Message(Part):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class Format(Part):
    """How the text shall look."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class Body(BaseModel):
    """Fields that both ways of generating share. Those at the end are taken and mean nothing here."""

    model_config = ConfigDict(extra="forbid")

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    response_format: Format | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    def common(self) -> dict[str, Any]:
        """What an `Ask` has of these fields."""
        names = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return {
            **{name: getattr(self, name) for name in names},
            "stop": tuple(word for word in stop if word),
            "logit_bias": self.logit_bias or {},
            "schema": self.schema_of(),
        }

    def schema_of(self) -> Mapping[str, Any] | None:
        """The JSON schema that the text must follow."""
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return OBJECT
        schema = (form.json_schema or {}).get("schema")
        if not isinstance(schema, dict):
            raise RequestError("response_format.json_schema.schema is missing", "response_format")
        return schema


class Chat(Body):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Part] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None

    def asks(self) -> list[Ask]:
        """What the model is asked; several times for several choices."""
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError("top_logprobs is given, but logprobs is not true", "top_logprobs")
        return several(
            self.n,
            messages=[message.model_dump(exclude_none=True) for message in self.messages],
            max_tokens=self.max_completion_tokens or self.max_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            tools=[tool.model_dump() for tool in self.tools or ()] if self.tool_choice != "none" else (),
            tool_choice=self.tool_choice,
            **self.common(),
        )


class Completion(Body):
    """`POST /v1/completions`."""

    prompt: str | Tokens | Annotated[list[str] | list[Tokens], Field(min_length=1, max_length=MOST_TEXTS)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def asks(self) -> list[Ask]:
        """What the model is asked: for each prompt in turn, for each choice."""
        if self.suffix:
            raise RequestError("suffix is not supported: a text is only gone on with, not filled in", "suffix")
        if self.echo and self.logprobs is not None:
            raise RequestError("echo and logprobs together are not supported: prompts have no probabilities", "echo")
        if self.echo and not all(isinstance(prompt, str) for prompt in self.prompts()):
            raise RequestError("echo is supported for prompts of text, not of tokens", "echo")
        if self.best_of not in (None, 1) and self.best_of != (self.n or 1):
            raise RequestError("best_of can only be n", "best_of")
        found = []
        for prompt in self.prompts():
            limit = self.max_tokens or DEFAULT_TOKENS
            found += several(self.n, prompt=prompt, max_tokens=limit, logprobs=self.logprobs, **self.common())
        return found

    def prompts(self) -> Sequence[str | Sequence[int]]:
        """All of them."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        return [self.prompt] if isinstance(self.prompt[0], int) else self.prompt


class Embedding(BaseModel):
    """`POST /v1/embeddings`."""

    model_config = ConfigDict(extra="forbid")

    model: str
    input: str | Tokens | Annotated[list[str] | list[Tokens], Field(min_length=1, max_length=MOST_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    def texts(self) -> Sequence[str | Sequence[int]]:
        """What shall be embedded."""
        if self.dimensions is not None:
            raise RequestError("dimensions cannot be chosen for this model", "dimensions")
        if isinstance(self.input, str):
            return [self.input]
        return [self.input] if isinstance(self.input[0], int) else self.input


def several(count: int | None, **fields: Any) -> list[Ask]:
    """One `Ask` for each choice; a seed gives each its own, so that they differ and can be had again."""
    seed = fields.pop("seed", None)
    return [Ask(seed=None if seed is None else seed + number, **fields) for number in range(count or 1)]


def read(kind: type[Kind], body: bytes) -> Kind:
    """A request from its bytes.

    Raises:
        RequestError: it is none; the message names the field.
    """
    try:
        orjson.loads(body)  # for its faults: pydantic would let NaN and infinities pass
    except ValueError as fault:
        raise RequestError(f"The body is no JSON: {fault}") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as fault:
        raise explain(fault) from None


def explain(fault: ValidationError) -> RequestError:
    """What was wrong, naming the field."""
    first = fault.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    name = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "extra_forbidden":
        return RequestError(f"Unrecognized request argument supplied: {clip(where, 80)}", name)
    if first["type"] == "missing":
        return RequestError(f"Missing required parameter: {where}", name)
    return RequestError(f"Invalid value for {where}: {first['msg']}", name)
