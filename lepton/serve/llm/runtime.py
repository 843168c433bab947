"""What a language model is to its callers, whichever runtime computes it; a service may be one too. Light to import.

A model has `chat`, `complete` and `embed`, or some of them: each is found by its name.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from lepton.core.errors import InvalidError, LeptonError

Json = Any


class ContextLengthError(InvalidError):
    """Prompt and answer do not fit into the model's context."""

    code = "context_length_exceeded"


class AskError(InvalidError):
    """A request that cannot be met; `param` names the field of the API that it is about."""

    def __init__(self, message: str, param: str | None = None, *, fix: str = "See the API's reference.") -> None:
        super().__init__(message, fix=fix)
        self.param = param


class RuntimeFaultError(LeptonError):
    """The runtime failed on a request that was in order."""

    code = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One text to be generated."""

    messages: Sequence[Mapping[str, Json]] = ()
    """For `chat`, as the OpenAI API has them."""
    prompt: str | Sequence[int] = ""
    """For `complete`: text or token ids."""
    max_tokens: int | None = None
    """None: until the model ends by itself, or its context is full."""
    temperature: float | None = None
    """None, here and below: what the runtime thinks best."""
    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: Sequence[str] = ()
    """The text ends before the first of these."""
    logprobs: int | None = None
    """How many likely tokens to tell in each place; 0: only the chosen one; None: no probabilities."""
    logit_bias: Mapping[str, float] = field(default_factory=dict)
    schema: Mapping[str, Json] | None = None
    """JSON schema that the text must follow."""
    tools: Sequence[Mapping[str, Json]] = ()
    """What it may call: functions, as the OpenAI API has them; empty: nothing."""
    tool_choice: str | None = None
    """`required`: it must call one; `auto` or None: it may."""
    is_parallel: bool | None = None
    """Whether it may call several at once; None: what the runtime thinks best."""


class Likely(NamedTuple):
    """A token and its probability."""

    text: str
    id: int
    logprob: float
    others: Sequence["Likely"] = ()
    """The most likely tokens in its place."""


class Usage(NamedTuple):
    """Tokens of one request."""

    prompt: int
    completion: int = 0
    cached: int = 0
    """Of the prompt, found in the runtime's cache."""


class Piece(NamedTuple):
    """What a runtime has to say at one moment; most often one token."""

    text: str = ""
    likely: Sequence[Likely] = ()
    """Its tokens with their probabilities, if they were asked for."""
    calls: Sequence[Mapping[str, Json]] = ()
    """Parts of tool calls, as the OpenAI API streams them."""
    reasoning: str = ""
    finish: str = ""
    """Why the text ended: `stop`, `length`, `tool_calls`; empty: it goes on."""
    usage: Usage | None = None
    """Until now; with the last piece, or after it. With the others too, what is left early counts as well."""


class Vectors(NamedTuple):
    """Embeddings of several texts."""

    vectors: Sequence[Sequence[float]]
    usage: Usage


class Model(Protocol):
    """A language model. Closing an iterator early ends its generation and frees what it holds.

    One that takes more than text in messages says so by an attribute `parts`, for example `("text", "image_url")`.
    """

    def chat(self, ask: Ask) -> AsyncIterator[Piece | str]:
        """The answer to `ask.messages`.

        Raises:
            InvalidError: the request cannot be met.
        """
        ...

    def complete(self, ask: Ask) -> AsyncIterator[Piece | str]:
        """How `ask.prompt` goes on."""
        ...

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        """A vector for each text."""
        ...


class Runtime(Model, Protocol):
    """A model that this process has loaded."""

    room: int
    """Requests that it works on at a time."""
    context: int
    """Tokens of prompt and answer together."""

    async def start(self) -> None:
        """Get ready, in the loop that will ask."""
        ...

    async def close(self) -> None:
        """End what runs, and let go of the model."""
        ...

    def is_healthy(self) -> bool:
        """Whether it still computes."""
        ...
