"""Messages and tools of a chat: what the OpenAI API lets them be, and whether the model that is asked can take them."""

from collections.abc import Collection, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lepton.core.errors import clip
from lepton.serve.llm.runtime import AskError

TEXT = "text"
NONE, AUTO, REQUIRED = "none", "auto", "required"


class Strict(BaseModel):
    """What holds nothing beside its fields."""

    model_config = ConfigDict(extra="forbid")


class Called(Strict):
    """The function that an assistant called."""

    name: str
    arguments: str
    parsed_arguments: Any = None
    """Of the client's own making, as `parsed` of a message."""


class ToolCall(Strict):
    """One call of an assistant."""

    id: str
    type: Literal["function"] = "function"
    function: Called
    index: int | None = None


class Message(Strict):
    """One turn of a conversation. The fields at the end come with answers that are sent back, and hold nothing."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    audio: None = None
    function_call: None = None
    annotations: list[Any] | None = None
    parsed: Any = None

    def told(self, place: str, parts: Collection[str]) -> dict[str, Any]:
        """As a model is told it.

        Args:
            place: names the message.
            parts: kinds of content that the model takes.

        Raises:
            AskError: it is none that the model can take.
        """
        found = self.model_dump(exclude_none=True, exclude={"refusal", "annotations", "parsed"})
        for call in found.get("tool_calls", ()):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        if self.role == "tool" and not self.tool_call_id:
            raise AskError(f"{place}.tool_call_id is missing", param=place)
        content = self.content
        if content is None and self.role == "assistant":
            content = None if self.tool_calls else self.refusal or ""
        elif content is None:
            raise AskError(f"{place}.content is null, which only an assistant's can be", param=f"{place}.content")
        if isinstance(content, list):
            content = [_part(one, f"{place}.content.[{at}]", parts) for at, one in enumerate(content)]
        return found if content is None else {**found, "content": content}


def _part(part: dict[str, Any], place: str, parts: Collection[str]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": TEXT, "text": part["refusal"]}
    if kind not in parts:
        shown = clip(repr(kind), 40) if kind is not None else "missing"
        raise AskError(f"This model takes {', '.join(parts)} only; the type of {place} is {shown}", param=place)
    if kind == TEXT and not isinstance(part.get("text"), str):
        raise AskError(f"{place}.text is no text", param=place)
    return part


class Function(BaseModel):
    """What a tool is, as a model is told it."""

    model_config = ConfigDict(extra="forbid")
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """Something that a model may call."""

    type: Literal["function"]
    function: Function


class Named(Strict):
    """A function by its name."""

    name: str


class Choice(Strict):
    """That one tool is to be called."""

    type: Literal["function"]
    function: Named


def chosen(tools: Sequence[Tool], choice: str | Choice | None) -> tuple[list[dict[str, Any]], str | None]:
    """The tools that a model is told, and whether it must call one (`required`) or may (`auto`).

    Raises:
        AskError: the choice is none of them.
    """
    if choice is not None and choice != NONE and not tools:
        raise AskError("tool_choice is given, but there are no tools", param="tool_choice")
    wanted = choice.function.name if isinstance(choice, Choice) else None
    if wanted is None and choice not in (None, NONE, AUTO, REQUIRED):
        raise AskError(f"{clip(repr(choice), 40)} is no tool_choice", param="tool_choice")
    told = [tool.model_dump(exclude_none=True) for tool in tools if wanted in (None, tool.function.name)]
    if wanted is not None and not told:
        raise AskError(f"tool_choice names {clip(repr(wanted), 80)}, which is none of the tools", param="tool_choice")
    if choice == NONE or not tools:
        return [], None
    return told, REQUIRED if wanted is not None else choice if isinstance(choice, str) else None
