"""Which pages of other origins a browser lets read an endpoint's answers (Fetch standard, CORS). Standard library only.

A service's class declares it; its front answers, also what it refuses itself, and a preflight without a token.

class Shop(Service):
    cors = Cors(origins=["https://shop.example.com"], methods=["GET", "POST"])
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lepton.core.errors import ConfigError
from lepton.serve.answers import Refusal

ANY = "*"
ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/?#,\"]+")
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What a method or a header may be called; also `*`."""
SAFE = frozenset(("accept", "accept-language", "content-language", "content-type"))
"""Headers that any page may send; of `Content-Type` a browser asks if it is not a form's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """What a service allows pages of other origins.

    Raises:
        ConfigError: something that it names cannot be.
    """

    origins: Sequence[str]
    """`https://host[:port]` each; `*`: all."""
    methods: Sequence[str] = ("GET", "HEAD", "POST")
    """Or `*`: whatever is asked for."""
    headers: Sequence[str] = ("Authorization",)
    """That a request may have, beside the plainest; or `*`."""
    exposed: Sequence[str] = ()
    """Headers of answers that a page may read, beside the plainest."""
    allows_credentials: bool = False
    """Whether a browser sends cookies and client certificates along. Tokens in `Authorization` need it not."""
    max_age_s: int = 600
    """For how long a browser may remember what it was allowed."""

    def __post_init__(self) -> None:
        texts = {"origins": ORIGIN, "methods": NAME, "headers": NAME, "exposed": NAME}
        for name, pattern in texts.items():
            value: Any = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(one, str) and pattern.fullmatch(one) for one in value):
                raise ConfigError(
                    f"cors: {name} cannot be {value!r}", fix="Give a list; an origin is `https://host`, without a path."
                )

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """From a worker's hello.

        Raises:
            ConfigError: it is not as it must be.
            TypeError: it is none at all.
        """
        return cls(**told)

    def lines(self, origin: bytes) -> bytes:
        """Header lines of any answer to a request from that origin."""
        found = self._allow(origin)
        if found and self.exposed:
            found += b"access-control-expose-headers: %b\r\n" % ", ".join(self.exposed).encode()
        return found if self._is_for_all else found + b"vary: Origin\r\n"

    def preflight(self, origin: bytes, method: bytes, headers: bytes | None) -> Refusal:
        """The answer to a browser that asks what it may send.

        Args:
            headers: those that the request would have, if it would have any.
        """
        asked = [name.strip().lower() for name in (headers or b"").decode("latin-1").split(",") if name.strip()]
        allowed = SAFE.union(map(str.lower, self.headers))
        wrong = [] if self._allow(origin) else ["origin"]
        wrong += [] if ANY in self.methods or method.decode("latin-1") in self.methods else ["method"]
        wrong += [] if ANY in self.headers or allowed.issuperset(asked) else ["headers"]
        if wrong:
            return Refusal(400, "cors", f"Pages of that kind may not ask here: {', '.join(wrong)}", "See `cors`.")
        methods = method if ANY in self.methods else ", ".join(self.methods).encode()
        names = asked if ANY in self.headers else sorted(allowed)
        lines = b"access-control-allow-methods: %b\r\naccess-control-max-age: %d\r\n" % (methods, self.max_age_s)
        if names and all(map(NAME.fullmatch, names)):
            lines += b"access-control-allow-headers: %b\r\n" % ", ".join(names).encode()
        return Refusal(204, "ok", "", "", lines)

    @property
    def _is_for_all(self) -> bool:
        """Whether every origin gets the same answer."""
        return ANY in self.origins and not self.allows_credentials

    def _allow(self, origin: bytes) -> bytes:
        told = origin.decode("latin-1")
        if ANY not in self.origins and told not in self.origins:
            return b""
        if self.allows_credentials and not ORIGIN.fullmatch(told):
            return b""
        lines = b"access-control-allow-origin: %b\r\n" % (b"*" if self._is_for_all else origin)
        return lines + (b"access-control-allow-credentials: true\r\n" if self.allows_credentials else b"")
