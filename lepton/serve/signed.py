"""Signed tokens at a front: each is checked once, without asking anybody, in a bounded share of the loop's time.

The libraries for it are loaded with the first such token: a front that sees none stays as small as it is.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from importlib import import_module
from time import time
from typing import TYPE_CHECKING, NamedTuple, cast

from lepton.core.errors import clip
from lepton.security.claims import LEEWAY_S, BadJwtError, check, read
from lepton.security.revoked import Grant
from lepton.serve.answers import BUSY, JWT_REVOKED, NO_ACCESS_CHECK, Refusal, bad_jwt
from lepton.serve.authority import Authority
from lepton.serve.turns import Turns

if TYPE_CHECKING:
    from lepton.security.jwts import Keys

LIBRARY = "lepton.security.jwts"
PREFIX = b"ey"
"""How the first part of every signed token begins: it is a JSON object in base64."""


class Judged(NamedTuple):
    """What became of a check."""

    verdict: Refusal | None
    """None: come in."""
    fresh_s: float = 0.0
    """How long a good verdict holds."""
    grant: Grant | None = None
    owner: bytes = b""
    is_passing: bool = False
    """It is about us, not about the token: not to be remembered."""


def is_signed(token: bytes) -> bool:
    """Whether a token is a JWT, or is meant to be one."""
    return token.startswith(PREFIX) and b"." in token


class Prover:
    """What all endpoints of a front share to check tokens with.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, authority: Authority, clock: Callable[[], float] = time) -> None:
        self.authority = authority
        self.clock = clock
        self.turns = Turns()
        self._library: asyncio.Future[type[Keys]] | None = None
        self._keys: Keys | None = None
        self._told: object = None
        """Of what the keys were made."""

    async def keys(self) -> "Keys":
        """The platform's, as they are now. The first call loads what it takes, in a thread: the loop goes on."""
        if self._library is None:
            self._library = asyncio.ensure_future(_load())
        library = await asyncio.shield(self._library)
        if self._keys is None or self._told is not self.authority.keys:
            self._told = self.authority.keys
            self._keys = library(self.authority.keys)
        return self._keys


async def _load() -> "type[Keys]":
    loop = asyncio.get_running_loop()
    return cast("type[Keys]", (await loop.run_in_executor(None, import_module, LIBRARY)).Keys)


class Signed:
    """Checks signed tokens for one endpoint.

    Args:
        endpoint: its id.
    """

    def __init__(self, prover: Prover, endpoint: str) -> None:
        self.authority = prover.authority
        self._prover = prover
        self._audiences = frozenset((endpoint, f"workspace:{self.authority.workspace}"))

    async def judge(self, token: bytes, client: bytes) -> Judged:
        """Whether to let the bearer of a token in.

        Args:
            client: address of who sent it.
        """
        if not await self.authority.known():
            return Judged(NO_ACCESS_CHECK, is_passing=True)
        keys = await self._prover.keys()
        done: asyncio.Future[Judged] = asyncio.get_running_loop().create_future()
        if not self._prover.turns.add(client, partial(self._settle, token, keys, done)):
            return Judged(BUSY, is_passing=True)
        judged = await done
        if judged.grant is not None and self.authority.refuses(judged.grant):  # it may have been taken back just now
            return Judged(JWT_REVOKED)
        return judged

    def _settle(self, token: bytes, keys: "Keys", done: "asyncio.Future[Judged]") -> None:
        if not done.done():
            done.set_result(self._check(token, keys))

    def _check(self, token: bytes, keys: "Keys") -> Judged:
        now = self._prover.clock()
        try:
            claims = read(token)
            if claims.issuer != self.authority.issuer:
                return Judged(bad_jwt(f"The JWT is of {clip(claims.issuer, 80)!r}, whom nobody here trusts"))
            check(claims, audiences=self._audiences, now=now)
            keys.prove(token, claims)
        except BadJwtError as fault:
            return Judged(bad_jwt(fault.message, fault.fix))
        owner = sha256(f"{claims.issuer}\n{claims.subject}".encode()).digest()
        return Judged(None, claims.expires_at + LEEWAY_S - now, claims.grant, owner)
