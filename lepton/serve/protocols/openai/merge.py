"""Several texts that are generated at once, as one course of pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from lepton.serve.llm.runtime import Ask, Piece


async def merged(texts: Sequence[AsyncIterator[Piece | str]]) -> AsyncIterator[tuple[int, Piece]]:
    """What each of them yields, with its number, as it comes. Closing it closes all; the first fault ends all."""
    if len(texts) == 1:
        only = texts[0]
        try:
            async for piece in only:
                yield 0, piece if isinstance(piece, Piece) else Piece(piece)
        finally:
            await _close(only)
        return
    ready: asyncio.Queue[tuple[int, Piece | str] | Exception | None] = asyncio.Queue(64)
    tasks = [asyncio.ensure_future(_feed(number, text, ready)) for number, text in enumerate(texts)]
    left = len(tasks)
    try:
        while left:
            item = await ready.get()
            if item is None:
                left -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                number, piece = item
                yield number, piece if isinstance(piece, Piece) else Piece(piece)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echoed(run: Callable[[Ask], AsyncIterator[Piece | str]], ask: Ask) -> AsyncIterator[Piece | str]:
    """What a model says to a prompt of text, and before it the prompt; nothing if it fails before it has begun."""
    text = run(ask)
    try:
        first = await anext(text, None)
        yield str(ask.prompt)
        if first is not None:
            yield first
        async for piece in text:
            yield piece
    finally:
        await _close(text)


async def _feed(
    number: int, text: AsyncIterator[Piece | str], ready: "asyncio.Queue[tuple[int, Piece | str] | Exception | None]"
) -> None:
    try:
        async for piece in text:
            await ready.put((number, piece))
        await ready.put(None)
    except Exception as fault:  # noqa: BLE001  raised again where they are read
        await ready.put(fault)
    finally:
        await _close(text)


async def _close(text: AsyncIterator[Piece | str]) -> None:
    close = getattr(text, "aclose", None)
    if close is not None:
        await close()
