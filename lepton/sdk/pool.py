"""The pool from Python: its nodes, and who is entitled to how much of them."""

from typing import Any

from lepton.sdk.http import Http, part
from lepton.sdk.portal import Blocking, blocking

Fields = dict[str, Any]


class AsyncPool:
    """The machines, and how they are shared."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def nodes(self) -> list[Fields]:
        """Every node, with what it has, what of it is free, and how many jobs run there."""
        found: list[Fields] = (await self._http.get("/pool/nodes"))["items"]
        return found

    async def node(self, name: str) -> Fields:
        """One node.

        Raises:
            NotFoundError: there is none of that name.
        """
        found: Fields = await self._http.get(f"/pool/nodes/{part(name)}")
        return found

    async def cordon(self, name: str) -> Fields:
        """Let no new work go to a node; what runs there stays (administrators of the platform)."""
        node: Fields = await self._http.post(f"/pool/nodes/{part(name)}/cordon", {})
        return node

    async def drain(self, name: str) -> Fields:
        """Let no new work go to a node, and move away what runs there (administrators of the platform).

        It returns at once; `node(name)["status"]["jobs"]` is 0 when nothing runs there any more.
        """
        node: Fields = await self._http.post(f"/pool/nodes/{part(name)}/drain", {})
        return node

    async def uncordon(self, name: str) -> Fields:
        """Let work go to a node again (administrators of the platform)."""
        node: Fields = await self._http.post(f"/pool/nodes/{part(name)}/uncordon", {})
        return node

    async def queues(self) -> list[Fields]:
        """Every queue, with what it holds and who waits in it."""
        found: list[Fields] = (await self._http.get("/pool/queues"))["items"]
        return found


class Pool(Blocking[AsyncPool]):
    """The machines, and how they are shared."""

    nodes = blocking(AsyncPool.nodes)
    node = blocking(AsyncPool.node)
    queues = blocking(AsyncPool.queues)
    cordon = blocking(AsyncPool.cordon)
    drain = blocking(AsyncPool.drain)
    uncordon = blocking(AsyncPool.uncordon)
