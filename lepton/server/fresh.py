"""One read for all who ask for the same thing at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable

from lepton.core.resource import Resource
from lepton.server.hub import Hub
from lepton.store import resources
from lepton.store.database import Tx

Read = Callable[[Callable[[Tx], Resource]], Awaitable[Resource]]


class Fresh:
    """Resources as they are now. A thousand followers of a job that one event has woken cause one read."""

    def __init__(self, read: Read, hub: Hub) -> None:
        self._read = read
        self._hub = hub
        self._reads: dict[tuple[str, int], asyncio.Task[Resource]] = {}

    async def get(self, id: str) -> Resource:
        """The resource, no older than the last event heard of.

        Raises:
            NotFoundError: there is none.
        """
        asked = (id, self._hub.count)
        reading = self._reads.get(asked)
        if reading is None:
            reading = self._reads[asked] = asyncio.create_task(self._get(id))
            reading.add_done_callback(lambda _: self._reads.pop(asked, None))
        return await asyncio.shield(reading)

    async def _get(self, id: str) -> Resource:
        return await self._read(lambda tx: resources.get(tx, id))
