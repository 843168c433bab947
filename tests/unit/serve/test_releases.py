"""A front and a worker of different releases tell why they cannot work together."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from lepton.core.resource import Json
from lepton.serve.frames import HEAD, MAGIC, PROTOCOL, FrameError, Kind, ReleaseError
from lepton.serve.links import WorkerLink
from lepton.serve.program import Work
from lepton.serve.replica import Replica

OLD = HEAD.pack(MAGIC, PROTOCOL - 1, Kind.HELLO, 0, 0, 0)
SILENT_S = 0.5


class Idle:
    """A program that nobody asks."""

    room = threads = 0

    def works(self) -> list[Work]:
        return []

    def about(self) -> Mapping[str, Json]:
        return {}

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def is_healthy(self) -> bool:
        return True

    def tick(self) -> None:
        pass


async def meet(path: Path, word: bytes) -> int:
    """How often a replica has come to a front that says this to its hello and hangs up."""
    count, replica = 0, Replica(Idle(), path, hang_s=600)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await reader.read(HEAD.size)
        writer.write(word)
        writer.close()

    async with await asyncio.start_unix_server(refuse, path):
        asyncio.get_running_loop().call_later(SILENT_S, replica.stop)
        await replica.run()
    return count


def test_a_replica_whose_front_is_of_another_release_ends_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=f"version {PROTOCOL - 1} of its protocol, this end version {PROTOCOL}"):
        asyncio.run(meet(tmp_path / "s", OLD))


def test_a_front_that_hangs_up_without_a_word_is_asked_again_at_leisure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert 1 < asyncio.run(meet(tmp_path / "s", b"")) < 10
    assert capfd.readouterr().err.count("of another release") == 1


async def refuse_worker(path: Path) -> bytes:
    loop = asyncio.get_running_loop()
    async with await loop.create_unix_server(lambda: WorkerLink(None, 1), path):  # type: ignore[arg-type]
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(OLD)
        said = await reader.read()
        writer.close()
    return said


def test_a_front_tells_a_worker_of_another_release_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    said = asyncio.run(refuse_worker(tmp_path / "s"))
    assert HEAD.unpack(said)[:2] == (MAGIC, PROTOCOL)
    assert f"version {PROTOCOL - 1} of its protocol" in capfd.readouterr().err
    assert issubclass(ReleaseError, FrameError) and ReleaseError(1).fix.startswith("Run the same release")
