"""Requests of the OpenAI API: from their JSON to what a model is asked. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lepton.core.errors import clip
from lepton.serve.llm.runtime import Ask, AskError
from lepton.serve.misfits import explain
from lepton.serve.protocols.openai.messages import TEXT, Message, Strict, Tool, chosen
from lepton.serve.protocols.openai.messages import Choice as ToolChoice

MOST_CHOICES = 16
MOST_TEXTS = 2048
DEFAULT_TOKENS = 16
"""Of a completion whose request names no number, as the API has it."""
OBJECT = {"type": "object"}
"""What `json_object` asks for."""
Kind = TypeVar("Kind", bound=BaseModel)
Token = Annotated[str, Field(pattern="^[0-9]+$")]
"""Its number."""
Tokens = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]


class StreamOptions(Strict):
    """What else a stream tells."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Format(BaseModel):
    """How the text shall look."""

    model_config = ConfigDict(extra="allow")
    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class Body(BaseModel):
    """Fields that both ways of generating share. Those at the end are taken, and change no answer."""

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
    logit_bias: dict[Token, Annotated[float, Field(ge=-100, le=100)]] | None = None
    response_format: Format | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def has_usage(self) -> bool:
        """Whether a stream shall tell its tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def common(self) -> dict[str, Any]:
        """What an `Ask` has of these fields.

        Raises:
            AskError: two of them contradict each other.
        """
        if self.stream_options is not None and not self.stream:
            raise AskError("stream_options is given, but stream is not true", "stream_options")
        if "" in ([self.stop] if isinstance(self.stop, str) else self.stop or ()):
            raise AskError("stop has an empty text, which would end every answer before it begins", "stop")
        names = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return {
            **{name: getattr(self, name) for name in names},
            "stop": tuple(stop),
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
            raise AskError("response_format.json_schema.schema is missing", "response_format")
        return schema


class Chat(Body):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    verbosity: Literal["medium"] | None = None

    def asks(self, parts: Collection[str] = (TEXT,)) -> list[Ask]:
        """What the model is asked; several times for several choices.

        Args:
            parts: kinds of content that the model takes.
        """
        if self.top_logprobs is not None and not self.logprobs:
            raise AskError("top_logprobs is given, but logprobs is not true", "top_logprobs")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise AskError("max_tokens and max_completion_tokens are both given", "max_tokens")
        tools, choice = chosen(self.tools or (), self.tool_choice)
        return several(
            self.n,
            messages=[message.told(f"messages.[{at}]", parts) for at, message in enumerate(self.messages)],
            max_tokens=self.max_completion_tokens or self.max_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            tools=tools,
            tool_choice=choice,
            is_parallel=self.parallel_tool_calls,
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
        if not all(self.prompts()):
            raise AskError("A prompt is empty", "prompt")
        if self.suffix:
            raise AskError("suffix is not supported: a text is only gone on with, not filled in", "suffix")
        if self.echo and self.logprobs is not None:
            raise AskError("echo and logprobs together are not supported: prompts have no probabilities", "echo")
        if self.echo and not all(isinstance(prompt, str) for prompt in self.prompts()):
            raise AskError("echo is supported for prompts of text, not of tokens", "echo")
        if self.best_of not in (None, 1) and self.best_of != (self.n or 1):
            raise AskError("best_of can only be n", "best_of")
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
        alone = isinstance(self.input, str) or isinstance(self.input[0], int)
        found: Any = [self.input] if alone else self.input
        if not all(found):
            raise AskError("An input is empty", "input")
        return found  # type: ignore[no-any-return]

    def check_size(self, size: int) -> None:
        """See that vectors of this size are what was asked for.

        Raises:
            AskError: they are not.
        """
        if self.dimensions not in (None, size):
            raise AskError(f"This model gives vectors of {size} dimensions, and of no other number", "dimensions")


def several(count: int | None, **fields: Any) -> list[Ask]:
    """One `Ask` for each choice; a seed gives each its own, so that they differ and can be had again."""
    seed = fields.pop("seed", None)
    return [Ask(seed=None if seed is None else seed + number, **fields) for number in range(count or 1)]


def read(kind: type[Kind], body: bytes) -> Kind:
    """A request from its bytes.

    Raises:
        AskError: it is none; the message names the field.
    """
    try:
        sent = orjson.loads(body)  # for its faults: pydantic would let NaN and infinities pass
    except ValueError as fault:
        raise AskError(f"The body is no JSON: {fault}") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as fault:
        raise _misfit(fault, sent, kind) from None


def _misfit(fault: ValidationError, sent: Any, kind: type[BaseModel]) -> AskError:
    """What was wrong, naming the field."""
    first = fault.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    name = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "extra_forbidden":
        return AskError(f"Unrecognized request argument supplied: {clip(where, 80)}", name)
    told = explain(fault, sent, kind).message
    if not where:  # of all of it
        return AskError(told)
    if told.startswith(f"{where}: is missing"):
        return AskError(f"Missing required parameter: {where}", name)
    return AskError(f"Invalid value for {told}", name)
