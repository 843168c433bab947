"""Which endpoints a front that many share has behind it, told by the server before a worker of theirs comes."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from lepton.core.errors import UnavailableError
from lepton.core.resource import Json
from lepton.serve.server import Server

WAIT_S = 50.0
"""A question waits this long at the server for another answer."""
PAUSE_S = 0.5
"""Between two questions at least: a thousand endpoints that are deployed in a row are told in few answers."""
AGAIN_S = 2.0
REFUSED_S = 30.0
"""After it did not tell: an older server."""

Told = Sequence[Mapping[str, Json]]


async def follow(server: Server, told: Callable[[Told], None]) -> None:
    """Ask for ever; `told` hears which there are, at first and whenever there are others."""
    token, known = os.environ.get("LEPTON_TOKEN", "").encode(), ""
    while True:
        begun, wait_s = monotonic(), WAIT_S if known else 0.0
        try:
            status, body = await server.get(f"/serve/behind?known={known}&wait_s={wait_s:g}", token, wait_s)
        except UnavailableError:
            await asyncio.sleep(AGAIN_S)
            continue
        answer = read(body) if status == 200 else None
        if answer is None:
            await asyncio.sleep(REFUSED_S)
            continue
        digest, items = answer
        if digest != known:
            known = digest
            told(items)
        await asyncio.sleep(max(0.0, begun + PAUSE_S - monotonic()))


def read(body: bytes) -> tuple[str, Told] | None:
    """What an answer says; None: it is none."""
    try:
        plain = json.loads(body)
        return str(plain["digest"]), [dict(one) for one in plain["items"]]
    except (ValueError, TypeError, KeyError):
        return None
