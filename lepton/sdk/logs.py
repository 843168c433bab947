"""Read what a job's worker writes, over its restarts and the server's, each byte once."""

from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from lepton.core.errors import UnreachableError
from lepton.sdk.http import Http

STARTED_AGAIN = b"[lepton: started again, start "


class Followed(Protocol):
    """A job, as far as reading its log needs it."""

    id: str

    @property
    def generation(self) -> int:
        """How often it has been started again."""
        ...

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        ...

    async def refresh(self) -> Any:
        """Read it again."""
        ...


async def read_logs(http: Http, job: Followed, *, rank: int, follow: bool, begin: int) -> AsyncGenerator[str, None]:
    """The text in pieces as they come.

    Args:
        rank: which worker.
        follow: until the job has ended, whatever restarts.
        begin: how often it had been started again when the first start that is read began.
    """
    decoder, place = getincrementaldecoder("utf-8")("replace"), (begin, 0)
    while True:
        query: dict[str, Any] = {"rank": rank, "follow": str(follow).lower(), "start": place[0], "offset": place[1]}
        try:
            async for chunk in http.stream(f"/jobs/{job.id}/logs", **query):
                after = place_after(chunk, place)
                if after[0] != place[0] and after[0] > await _starts(job):
                    after = (place[0], place[1] + len(chunk))  # the job printed what only looks like our line
                place = after
                if piece := decoder.decode(chunk):
                    yield piece
        except UnreachableError:
            if not follow:
                raise
            await job.refresh()  # waits for the server
            continue
        if not follow or await _has_ended(job):
            break
    if rest := decoder.decode(b"", final=True):
        yield rest


async def _starts(job: Followed) -> int:
    await job.refresh()
    return job.generation


async def _has_ended(job: Followed) -> bool:
    await job.refresh()
    return job.is_final


def place_after(chunk: bytes, place: tuple[int, int]) -> tuple[int, int]:
    """(start of the gang, bytes seen of its log) after a piece; a line of the server tells of each new start."""
    _, marker, rest = chunk.rpartition(STARTED_AGAIN)
    if not marker:
        return place[0], place[1] + len(chunk)
    number, _, seen = rest.partition(b"]\n")
    return int(number) - 1, len(seen)
