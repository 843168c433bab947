"""Services that offer language models of their own through the OpenAI API."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from lepton.core.errors import InvalidError
from lepton.serve import Service, handler
from lepton.serve.llm.runtime import Ask, ContextLengthError, Piece, Usage, Vectors


class Painter:
    """Tells which kinds of content it was shown, or what it may call."""

    parts = ("text", "image_url")

    async def chat(self, ask: Ask) -> AsyncIterator[Piece | str]:
        if ask.tools:
            names = " ".join(tool["function"]["name"] for tool in ask.tools)
            yield f"{names} {ask.tool_choice} {ask.is_parallel}"
        else:
            yield " ".join(part["type"] for part in ask.messages[-1]["content"])


class Parrot(Service):
    """Says the last message again, word by word."""

    def init(self) -> None:
        self.running = 0

    def models(self) -> dict[str, object]:
        return {"parrot": self, "painter": Painter()}

    async def chat(self, ask: Ask) -> AsyncIterator[Piece | str]:
        self.running += 1
        try:
            text = str(ask.messages[-1]["content"])
            if text == "too long":
                raise ContextLengthError("This does not fit", fix="Say less.")
            for number, word in enumerate(text.split(" ")):
                if word == "BREAK":
                    raise InvalidError("The word BREAK breaks it")
                if word == "CRASH":
                    raise RuntimeError("a fault of its own")
                if word == "WAIT":
                    await asyncio.Event().wait()
                yield f" {word}" if number else word
            yield Piece(finish="stop", usage=Usage(7, number + 1))
        finally:
            self.running -= 1

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        return Vectors([[float(len(text)), 0.5] for text in texts], Usage(len(texts)))

    @handler(method="GET")
    async def busy(self) -> int:
        return self.running
