"""An issuer of signed tokens that is not the platform: its name, for whom its tokens must be, and its public keys.

Keys are read from a file or fetched, when a token needs them: the first time, when one names a key that is not known,
and when they have grown old. Between two fetches there is a floor, whatever tokens name. What was fetched last counts
until a fetch succeeds again.
"""

import asyncio
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import httpx

from lepton.core.errors import InvalidError, clip

if TYPE_CHECKING:
    from lepton.security.jwts import Keys

FLOOR_S, RETRY_S = 30.0, 5.0
"""Between two fetches; after one that failed."""
OLD_S = 600.0
"""Keys older than this are fetched again; also how long a verdict about such a token holds."""
TIMEOUT_S, LONGEST_S = 3.0, 5.0
"""For one step of a fetch, and for all of it: requests wait for it."""
MAX_BYTES = 1 << 20


class Outside:
    """An issuer whose tokens an endpoint takes.

    Args:
        audience: that its tokens must name.
        place: of its JWKS: a path, or a URL.
    """

    def __init__(self, issuer: str, audience: str, place: str, clock: Callable[[], float] = monotonic) -> None:
        self.issuer = issuer
        self.audience = audience
        self.keys: Keys | None = None
        """None: never fetched."""
        self._place = place
        self._clock = clock
        self._fetched_at = -OLD_S
        self._not_before = 0.0
        self._fetching: asyncio.Task[bool] | None = None

    @property
    def is_old(self) -> bool:
        """Whether its keys should be fetched again."""
        return self._clock() - self._fetched_at >= OLD_S

    async def fetch(self, library: "type[Keys]") -> bool:
        """Get its keys, unless that was tried just now; whether there are new ones.

        Who asks while it is under way waits for it.
        """
        if self._fetching is None:
            if self._clock() < self._not_before:
                return False
            self._fetching = asyncio.ensure_future(self._fetch(library))
        return await asyncio.shield(self._fetching)

    async def _fetch(self, library: "type[Keys]") -> bool:
        self._not_before = self._clock() + RETRY_S
        try:
            self.keys = library.read(await load(self._place))
        except (OSError, ValueError, InvalidError) as fault:
            sys.stderr.write(f"serve: the keys of {self.issuer} at {self._place} cannot be had: {clip(str(fault))}\n")
            return False
        finally:
            self._fetching = None
        self._fetched_at = self._clock()
        self._not_before = self._fetched_at + FLOOR_S
        return True


async def load(place: str, longest_s: float = LONGEST_S) -> bytes:
    """What is at a path or URL; it leads nowhere else.

    Raises:
        OSError: it cannot be had, or has not come whole within `longest_s`, however it drips.
    """
    if "://" not in place:
        text = await asyncio.get_running_loop().run_in_executor(None, _read, Path(place))
    else:
        try:
            async with asyncio.timeout(longest_s):
                text = await _download(place)
        except TimeoutError:
            raise OSError(f"it has not come whole within {longest_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise OSError(str(fault) or type(fault).__name__) from fault
    if len(text) > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES} bytes")
    return text


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


async def _download(url: str) -> bytes:
    """At most a little more than may be."""
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "lepton"}
    async with (
        httpx.AsyncClient(verify=ssl.create_default_context(), timeout=TIMEOUT_S, headers=headers) as client,
        client.stream("GET", url) as answer,
    ):
        answer.raise_for_status()
        found = b""
        async for piece in answer.aiter_raw():
            found += piece
            if len(found) > MAX_BYTES:
                break
        return found
