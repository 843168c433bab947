"""A hundred tokens a request, as server-sent events."""

from collections.abc import AsyncIterator

from lepton.serve import Service, handler

TOKENS = [f"tok{number}" for number in range(100)]


class Stream(Service):
    """The cost of streaming alone."""

    @handler
    async def stream(self, n: int) -> AsyncIterator[dict[str, str]]:
        """`n` tokens, up to a hundred."""
        for token in TOKENS[:n]:
            yield {"token": token}
