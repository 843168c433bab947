"""The pool from Python: its nodes, and who is entitled to how much of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from lepton.sdk.http import Http, part
from lepton.sdk.options import Priority
from lepton.sdk.portal import Blocking, blocking

Fields = dict[str, Any]


class QueueOptions(TypedDict, total=False):
    """What a queue is. Amounts are thousandths of `gpu_milli`, `tpu_milli`, `fpga_milli`, `cpu_milli`; or
    `memory_bytes`."""

    parent: str
    """Name of the queue above it; none unless given."""
    guarantee: Mapping[str, int]
    """Up to this it goes before whoever is above theirs, and takes back what they have borrowed."""
    limit: Mapping[str, int]
    """It never holds more; what is not named has no limit."""
    weight: float
    """Its share of what is borrowed; 1 unless given."""
    workspaces: Sequence[str]
    """Who may use it; all unless given."""
    max_priority: Priority | Literal[""]
    """The highest that its jobs, and those of queues below it, may have; any unless given."""
    max_grace_s: float | None
    """What its jobs get to end at most when they are stopped for others; None: as the queue above says, or 60."""


class QuotaOptions(TypedDict, total=False):
    """What a user or a workspace may have."""

    limit: Mapping[str, int]
    """Device -> the most that may be held, in thousandths or bytes: `{"gpu_milli": 4000}`."""
    max_priority: Priority | Literal[""]
    """The highest that its jobs may have; any unless given."""


class AsyncPool:
    """The machines, and how they are shared."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def look(self) -> Fields:
        """The whole pool at a glance: devices, nodes, jobs, queues, quotas, and what was decided last."""
        found: Fields = await self._http.get("/pool")
        return found

    async def nodes(self, *, state: str = "", limit: int = 100_000) -> list[Fields]:
        """Nodes by name, each with what it has, what of it is free, and how many jobs run there.

        Args:
            state: only those in it: up, cordoned, draining or failed.
            limit: how many at most.
        """
        found: list[Fields] = (await self._http.get("/pool/nodes", state=state, limit=limit))["items"]
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

    async def label(self, name: str, labels: Mapping[str, str | None]) -> Fields:
        """Give a node labels beside its engine's, and before them (administrators of the platform).

        Args:
            name: of the node.
            labels: `{"rack": "r1"}`; None takes a label away that was given so.
        Raises:
            InvalidError: one that is to go is its engine's.
        """
        node: Fields = await self._http.post(f"/pool/nodes/{part(name)}/labels", {"labels": dict(labels)})
        return node

    async def remove(self, name: str) -> None:
        """Forget a node that has failed, with its labels and what was wished of it (administrators of the platform).

        Should its engine show it again, it is a new one.

        Raises:
            ConflictError: it has not failed, or jobs hold places there.
        """
        await self._http.delete(f"/pool/nodes/{part(name)}")

    async def queues(self) -> list[Fields]:
        """Every queue, with what it holds and who waits in it."""
        found: list[Fields] = (await self._http.get("/pool/queues"))["items"]
        return found

    async def queue(self, name: str) -> Fields:
        """One queue: `name`, `spec`, `status` and `revision`.

        Raises:
            NotFoundError: there is none of that name.
        """
        found: Fields = await self._http.get(f"/pool/queues/{part(name)}")
        return found

    async def set_queue(self, name: str, *, revision: int = 0, **options: Unpack[QueueOptions]) -> Fields:
        """Make a queue, or change it whole (administrators of the platform).

        Args:
            name: what it is called; `default` is that of jobs which name none.
            revision: change only what is still at this revision; 0: whatever is there.
            options: see `QueueOptions`; what is left out is as in a new queue.
        Returns:
            The queue, with `warnings`: what cannot be kept at present.
        Raises:
            InvalidError: it cannot stand among the others.
            StaleError: it has changed since it was read.
        """
        made: Fields = await self._http.put(f"/pool/queues/{part(name)}", options, revision=revision)
        return made

    async def delete_queue(self, name: str) -> None:
        """End a queue (administrators of the platform).

        Raises:
            ConflictError: jobs live in it, or queues stand below it.
        """
        await self._http.delete(f"/pool/queues/{part(name)}")

    async def quotas(self) -> list[Fields]:
        """Every quota, with how much of it is used."""
        found: list[Fields] = (await self._http.get("/pool/quotas"))["items"]
        return found

    async def quota(self, of: str, who: str) -> Fields:
        """One quota: `name`, `spec`, `status` and `revision`.

        Raises:
            NotFoundError: there is none.
        """
        found: Fields = await self._http.get(f"/pool/quotas/{part(of)}/{part(who)}")
        return found

    async def set_quota(self, of: str, who: str, *, revision: int = 0, **options: Unpack[QuotaOptions]) -> Fields:
        """Limit a user or a workspace whole, whatever queues it uses (administrators of the platform).

        Args:
            of: `user` or `workspace`.
            who: its name.
            revision: change only what is still at this revision; 0: whatever is there.
            options: see `QuotaOptions`; what is left out is not limited.
        Raises:
            NotFoundError: there is no such user or workspace.
            StaleError: it has changed since it was read.
        """
        made: Fields = await self._http.put(f"/pool/quotas/{part(of)}/{part(who)}", options, revision=revision)
        return made

    async def delete_quota(self, of: str, who: str) -> None:
        """Take the limit of a user or a workspace away (administrators of the platform).

        Raises:
            NotFoundError: it has none.
        """
        await self._http.delete(f"/pool/quotas/{part(of)}/{part(who)}")


class Pool(Blocking[AsyncPool]):
    """The machines, and how they are shared."""

    look = blocking(AsyncPool.look)
    nodes = blocking(AsyncPool.nodes)
    node = blocking(AsyncPool.node)
    queues = blocking(AsyncPool.queues)
    queue = blocking(AsyncPool.queue)
    set_queue = blocking(AsyncPool.set_queue)
    delete_queue = blocking(AsyncPool.delete_queue)
    quotas = blocking(AsyncPool.quotas)
    quota = blocking(AsyncPool.quota)
    set_quota = blocking(AsyncPool.set_quota)
    delete_quota = blocking(AsyncPool.delete_quota)
    cordon = blocking(AsyncPool.cordon)
    drain = blocking(AsyncPool.drain)
    uncordon = blocking(AsyncPool.uncordon)
    label = blocking(AsyncPool.label)
    remove = blocking(AsyncPool.remove)
