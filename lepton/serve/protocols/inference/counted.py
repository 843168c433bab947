"""The statistics of the models of an endpoint: what its replicas have counted, asked of each and told as one."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import orjson

from lepton.serve.calls import Call
from lepton.serve.frames import Media
from lepton.serve.program import Reply, Work
from lepton.serve.protocols.inference import operations
from lepton.serve.protocols.inference.statistics import Tally, dump, read_path, summed
from lepton.serve.routes import Operation
from lepton.serve.siblings import of_gang

if TYPE_CHECKING:
    from lepton.serve.protocols.inference.dialect import Dialect, Models

TOPIC = "models"
STATS = "stats"
"""As the name of a model it has the path at which else all statistics are asked."""


class Statistics:
    """What is asked of them, over REST and gRPC.

    Args:
        models: those of this replica; None: they are not loaded yet.
    """

    def __init__(self, models: "Callable[[], Models | None]") -> None:
        self._models = models
        self._siblings = of_gang({TOPIC: self._own})

    async def start(self) -> None:
        """Let other replicas ask."""
        await self._siblings.start()

    async def close(self) -> None:
        """Let nobody ask any more."""
        await self._siblings.close()

    def _own(self) -> bytes:
        models = self._models()
        return dump(models.tallies) if models is not None else b"{}"

    async def all(self, models: "Models") -> Mapping[str, Tally]:
        """Model -> what all replicas have counted of it."""
        return summed((await self._siblings.ask(TOPIC)).values(), models.tallies)

    def work(self, models: "Models", dialect: "Dialect", operation: Operation) -> Work:
        """How a replica answers one of `operations.COUNTED`."""

        async def answer(call: Call) -> Reply:
            try:
                if call.operation == operations.RPC:
                    return await self._rpc(models, call)
                name, version = read_path(call.head.path if call.head else "")
                if not name and STATS in models.tallies:
                    found = dialect.read(call, models)
                    assert isinstance(found, Reply)
                    return found
                return await self._rest(models, name, version)
            except Exception as fault:  # noqa: BLE001  whatever is wrong with it
                return dialect.refuse(fault)

        return Work(operation=operation, answer=answer)

    async def _rpc(self, models: "Models", call: Call) -> Reply:
        from lepton.serve.protocols.inference import protobuf  # noqa: PLC0415  only where it is installed

        asked = protobuf.read_message("ModelStatisticsRequest", call.body)
        told = models.about(asked.name, await self.all(models), asked.version)
        body = protobuf.write("ModelStatisticsResponse", {"model_stats": told})
        return Reply(body, media=Media.OCTETS, rows=0)

    async def _rest(self, models: "Models", name: str, version: str) -> Reply:
        told = models.about(name, await self.all(models), version)
        return Reply(orjson.dumps({"model_stats": told}), rows=0)
