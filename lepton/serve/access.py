"""Who may use an endpoint: asks the server once for each token, and remembers the answer for a while.

A signed token is checked here, once, and holds until it ends or is taken back. Only SHA-256 digests of tokens are kept.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import NamedTuple

from lepton.core.errors import UnavailableError
from lepton.security.revoked import Grant
from lepton.serve.answers import BAD_TOKEN, BUSY, FORBIDDEN, HIDDEN, NO_ACCESS_CHECK, NO_TOKEN, Refusal
from lepton.serve.callers import of_user, owner_of, with_claims
from lepton.serve.server import Server
from lepton.serve.signed import Judged, Signed, is_signed

FRESH_S = 30.0
STALE_S = 600.0
"""While the server does not answer, a verdict this old still counts."""
PAUSE_S = 5.0
"""After the server did not answer, it is asked again about the same token only then; a signed token that was refused
is looked at again only then."""
MAX_KNOWN = 10_000
MAX_ASKING = 256
MAX_CHECKING = 8192
VERDICTS: dict[int, Refusal | None] = {200: None, 401: BAD_TOKEN, 403: FORBIDDEN, 404: HIDDEN}

Verdict = Refusal | None
"""None: come in."""


def bearer(authorization: bytes | None) -> bytes | None:
    """The token of an Authorization header; None if it has none."""
    scheme, _, token = (authorization or b"").partition(b" ")
    token = token.strip()
    return token if scheme.lower() == b"bearer" and token else None


def token_digest(authorization: bytes | None) -> bytes:
    """SHA-256 of the token of an Authorization header; empty if it has none."""
    token = bearer(authorization)
    return sha256(token).digest() if token is not None else b""


class Known(NamedTuple):
    """What is known of one token."""

    verdict: Verdict
    checked_at: float
    fresh_until: float
    grant: Grant | None = None
    """Of a signed token that may be taken back."""
    owner: bytes = b""
    """Whose requests count together; empty: those with this token."""
    told: bytes = b""
    """Header lines that tell the code of the endpoint whose it is."""
    has_claims: bool = False
    """What it says is told, too."""


class Gate:
    """Verdicts about the tokens of an endpoint's callers, cached; equal questions at one time are asked once.

    Args:
        signed: checks signed tokens; None: the server is asked about them as about others.
    """

    def __init__(self, server: Server, endpoint: str, clock: Callable[[], float], signed: Signed | None = None) -> None:
        self._server = server
        self._path = f"/security/access?endpoint={endpoint}"
        self._clock = clock
        self._signed = signed
        self._allowed: dict[bytes, Known] = {}
        self._refused: dict[bytes, Known] = {}
        """Apart, so that a flood of wrong tokens pushes no good one out."""
        self._asking: dict[bytes, asyncio.Task[Verdict]] = {}
        self._checking: dict[bytes, asyncio.Task[Verdict]] = {}
        """Apart, so that a flood of signed tokens lets others be asked about."""
        if signed is not None:
            signed.authority.on_news(self._review)

    def close(self) -> None:
        """Hear of no more revocations."""
        if self._signed is not None:
            self._signed.authority.off_news(self._review)

    def doubt(self, authorization: bytes | None) -> Verdict:
        """What is known at once against a request with this header."""
        token = bearer(authorization)
        return NO_TOKEN if token is None else self.look(token)[1]

    def look(self, token: bytes) -> tuple[bool, Verdict]:
        """Whether a fresh verdict is known, and it."""
        return self.recall(sha256(token).digest())

    def recall(self, digest: bytes) -> tuple[bool, Verdict]:
        """The same, by the SHA-256 of the token."""
        known = self._allowed.get(digest) or self._refused.get(digest)
        if known is not None and known.fresh_until > self._clock():
            return True, known.verdict
        return False, None

    def owner(self, digest: bytes) -> bytes:
        """With whose requests those with this token count."""
        known = self._allowed.get(digest)
        return digest if known is None else known.owner or digest

    def told(self, digest: bytes, authorization: bytes) -> bytes:
        """Header lines that tell the code of the endpoint who bears the token of that header, and not the token."""
        known = self._allowed.get(digest)
        if known is None:
            return b""
        return known.told + with_claims(authorization) if known.has_claims else known.told

    def ask(self, token: bytes, then: Callable[[Verdict], None], client: bytes = b"") -> None:
        """Get a verdict and call `then` with it, soon.

        Args:
            client: address of who sent it: addresses take turns.
        """
        digest = sha256(token).digest()
        signed = self._signed
        if signed is not None and is_signed(token):
            if digest not in self._checking and len(self._checking) >= MAX_CHECKING:
                then(BUSY)
                return
            self._once(self._checking, digest, then, lambda: self._check(signed, token, client))
        elif digest not in self._asking and len(self._asking) >= MAX_ASKING:
            then(NO_ACCESS_CHECK)
        else:
            self._once(self._asking, digest, then, lambda: self._judge(token, digest))

    def _once(
        self,
        table: dict[bytes, "asyncio.Task[Verdict]"],
        digest: bytes,
        then: Callable[[Verdict], None],
        course: Callable[[], Coroutine[None, None, Verdict]],
    ) -> None:
        asked = table.get(digest)
        if asked is None:
            asked = table[digest] = asyncio.ensure_future(course())
            asked.add_done_callback(lambda _: table.pop(digest, None))
        asked.add_done_callback(lambda done: then(NO_ACCESS_CHECK if done.cancelled() else done.result()))

    async def _judge(self, token: bytes, digest: bytes) -> Verdict:
        try:
            status, body = await self._server.get(self._path, token)
        except UnavailableError:
            status, body = 0, b""
        now = self._clock()
        if status in VERDICTS:
            name = _name(body) if status == 200 else ""
            known = Known(VERDICTS[status], now, now + FRESH_S, owner=owner_of(name), told=of_user(name))
            return self._remember(digest, known)
        past = self._allowed.get(digest) or self._refused.get(digest)
        if past is not None and past.checked_at + STALE_S > now:
            return self._remember(digest, past._replace(fresh_until=now + PAUSE_S))
        return NO_ACCESS_CHECK

    async def _check(self, signed: Signed, token: bytes, client: bytes) -> Verdict:
        judged: Judged = await signed.judge(token, client)
        if judged.is_passing:
            return judged.verdict
        now = self._clock()
        fresh_s = judged.fresh_s if judged.verdict is None else PAUSE_S
        known = Known(judged.verdict, now, now + fresh_s, judged.grant, judged.owner, judged.told, judged.is_of_outside)
        return self._remember(sha256(token).digest(), known)

    def _review(self) -> None:
        """Forget what has been taken back."""
        assert self._signed is not None
        refuses = self._signed.authority.refuses
        for digest, known in list(self._allowed.items()):
            if known.grant is not None and refuses(known.grant):
                del self._allowed[digest]

    def _remember(self, digest: bytes, known: Known) -> Verdict:
        self._allowed.pop(digest, None)
        self._refused.pop(digest, None)
        table = self._allowed if known.verdict is None else self._refused
        if len(table) >= MAX_KNOWN:
            table.pop(next(iter(table)))
        table[digest] = known
        return known.verdict


def _name(body: bytes) -> str:
    """Of the user, in what the server said; empty: it said none."""
    try:
        return str(json.loads(body)["name"])
    except (ValueError, TypeError, KeyError):
        return ""
