"""A hundred tokens a request, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator

from lepton.serve import Service, handler

TOKENS = [f"tok{number}" for number in range(100)]


class Stream(Service):
    """The cost of streaming alone."""

    @handler
    async def stream(self, n: int, every: int = 0) -> AsyncIterator[dict[str, str]]:
        """`n` tokens, up to a hundred: so many in each turn of the loop; 0: all at once."""
        for number, token in enumerate(TOKENS[:n], 1):
            yield {"token": token}
            if every and number % every == 0:
                await asyncio.sleep(0)
