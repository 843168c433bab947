"""What each replica of an endpoint counts, any of them can tell for all: they ask each other.

Every replica listens at a Unix socket in the folder that its gang shares. A question is a topic and a line feed; the
answer is all that follows. A replica that is gone, or takes too long, is left out.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

LONGEST_S = 2.0
"""That an answer may take: a replica computes one batch after the other, and may be in one."""
MAX_TOPIC = 100
Topics = Mapping[str, Callable[[], bytes]]


class Siblings:
    """One replica among those of its gang.

    Args:
        topics: what may be asked -> what is answered.
        folder: of the gang; None: there is no gang.
        name: of this replica, no other's now.
    """

    def __init__(self, topics: Topics, folder: Path | None = None, name: str = "") -> None:
        self.name = name
        self._topics = topics
        self._folder = folder
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; where that cannot be, this replica tells of itself only."""
        if self._folder is None:
            return
        place = self._place(self.name)
        try:
            place.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._answer, str(place))
            place.chmod(0o600)
        except OSError as fault:
            sys.stderr.write(f"serve: other replicas cannot ask this one: {fault}\n")

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None and self._folder is not None:
            self._server.close()
            self._place(self.name).unlink(missing_ok=True)

    async def ask(self, topic: str) -> dict[str, bytes]:
        """Replica -> its answer, this one's included."""
        places = sorted(self._folder.glob("replica-*.ask")) if self._folder is not None else []
        others = [place for place in places if place.stem != f"replica-{self.name}"]
        answers = await asyncio.gather(*[_asked(place, topic) for place in others])
        found = {self.name: self._topics[topic]()}
        for place, answer in zip(others, answers, strict=True):
            if answer is not None:
                found[place.stem.removeprefix("replica-")] = answer
        return dict(sorted(found.items()))

    def _place(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"replica-{name}.ask"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            topic = (await asyncio.wait_for(reader.readline(), LONGEST_S))[:MAX_TOPIC].strip().decode()
            if topic in self._topics:
                writer.write(self._topics[topic]())
                await writer.drain()
        writer.close()


def of_gang(topics: Topics) -> Siblings:
    """This process among the replicas of its gang, as its environment tells."""
    folder = os.environ.get("LEPTON_GANG_FOLDER", "")
    name = os.environ.get("LEPTON_RANK") or str(os.getpid())
    return Siblings(topics, Path(folder) if folder else None, name)


async def _asked(place: Path, topic: str) -> bytes | None:
    """The answer of the replica that listens there; None: it gives none."""
    try:
        async with asyncio.timeout(LONGEST_S):
            reader, writer = await asyncio.open_unix_connection(str(place))
            try:
                writer.write(f"{topic}\n".encode())
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
