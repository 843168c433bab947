"""Signed tokens at a front: each is checked once, without asking anybody, in a bounded share of the loop's time.

The libraries for it are loaded with the first such token: a front that sees none stays as small as it is.
"""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from importlib import import_module
from time import time
from typing import TYPE_CHECKING, NamedTuple, cast

from lepton.core.errors import clip
from lepton.security.claims import LEEWAY_S, BadJwtError, Claims, UnknownKeyError, check, read
from lepton.security.revoked import Grant
from lepton.serve.answers import BUSY, JWT_REVOKED, NO_ACCESS_CHECK, Refusal, bad_jwt
from lepton.serve.authority import Authority
from lepton.serve.callers import of_outside, of_user, owner_of
from lepton.serve.turns import Turns

if TYPE_CHECKING:
    from lepton.security.jwts import Keys
    from lepton.serve.outside import Outside

LIBRARY = "lepton.security.jwts"
OUTSIDE_S = 600.0
"""A token of another issuer is checked anew after this long: its key may be there no more."""
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
    told: bytes = b""
    """Header lines that tell the code of the endpoint whose it is."""
    is_passing: bool = False
    """It is about us, not about the token: not to be remembered."""
    is_of_outside: bool = False
    """Of another issuer than the platform."""
    lacks_key: bool = False
    """The key that it names is not known."""


UNKNOWN = Judged(NO_ACCESS_CHECK, is_passing=True)


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

    async def library(self) -> "type[Keys]":
        """What proves signatures. The first call loads it, in a thread: the loop goes on."""
        if self._library is None:
            self._library = asyncio.ensure_future(_load())
        return await asyncio.shield(self._library)

    def keys(self, library: "type[Keys]") -> "Keys":
        """The platform's, as they are now."""
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
        outside: another issuer whose tokens it takes; None: only the platform's.
    """

    def __init__(self, prover: Prover, endpoint: str, outside: "Outside | None" = None) -> None:
        self.authority = prover.authority
        self._prover = prover
        self._outside = outside
        self._audiences = frozenset((endpoint, f"workspace:{self.authority.workspace}"))

    async def judge(self, token: bytes, client: bytes) -> Judged:
        """Whether to let the bearer of a token in.

        Args:
            client: address of who sent it.
        """
        is_known = await self.authority.known()
        if not is_known and self._outside is None:
            return UNKNOWN
        library = await self._prover.library()
        judged = await self._in_turn(token, client, library)
        if judged.is_of_outside and self._outside is not None and (judged.lacks_key or self._outside.is_old):
            has_news = await self._outside.fetch(library)
            if has_news or self._outside.keys is None:
                judged = await self._in_turn(token, client, library)
        if judged.grant is not None and self.authority.refuses(judged.grant):  # it may have been taken back just now
            return Judged(JWT_REVOKED)
        return judged

    async def _in_turn(self, token: bytes, client: bytes, library: "type[Keys]") -> Judged:
        done: asyncio.Future[Judged] = asyncio.get_running_loop().create_future()
        if not self._prover.turns.add(client, partial(self._settle, token, library, done)):
            return Judged(BUSY, is_passing=True)
        return await done

    def _settle(self, token: bytes, library: "type[Keys]", done: "asyncio.Future[Judged]") -> None:
        if not done.done():
            done.set_result(self._check(token, library))

    def _check(self, token: bytes, library: "type[Keys]") -> Judged:
        try:
            claims = read(token)
        except BadJwtError as fault:
            return Judged(bad_jwt(fault.message, fault.fix))
        if self._outside is not None and claims.issuer == self._outside.issuer:
            return self._check_outside(token, claims, self._outside)
        if claims.issuer != self.authority.issuer:
            why = f"The JWT is of {clip(claims.issuer, 80)!r}, whom nobody here trusts"
            return Judged(bad_jwt(why)) if self.authority.issuer else UNKNOWN
        judged = self._prove(token, claims, self._prover.keys(library), self._audiences)
        if judged.verdict is not None:
            return judged
        return judged._replace(grant=claims.grant, told=of_user(claims.subject))

    def _check_outside(self, token: bytes, claims: Claims, outside: "Outside") -> Judged:
        if outside.keys is None:
            return UNKNOWN._replace(is_of_outside=True, lacks_key=True)
        judged = self._prove(token, claims, outside.keys, (outside.audience,))
        told = of_outside(claims.issuer, claims.subject)
        return judged._replace(is_of_outside=True, fresh_s=min(judged.fresh_s, OUTSIDE_S), told=told)

    def _prove(self, token: bytes, claims: Claims, keys: "Keys", audiences: Collection[str]) -> Judged:
        now = self._prover.clock()
        try:
            check(claims, audiences=audiences, now=now)
            keys.prove(token, claims)
        except BadJwtError as fault:
            return Judged(bad_jwt(fault.message, fault.fix), lacks_key=isinstance(fault, UnknownKeyError))
        issuer = "" if claims.issuer == self.authority.issuer else claims.issuer
        return Judged(None, claims.expires_at + LEEWAY_S - now, owner=owner_of(claims.subject, issuer))
