"""What an endpoint's code is told of its caller: who it is, never the token that proved it. Pure.

A front takes the headers below from no client, whatever their letters, and with `_` for `-` too, as WSGI knows no
difference. It sets them itself, once it has judged the token; a token that it has judged goes no further.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from lepton.security.identity import USER_PREFIX, WORKER_PREFIX

USER, ISSUER, SUBJECT, CLAIMS = b"x-lepton-user", b"x-lepton-issuer", b"x-lepton-subject", b"x-lepton-claims"
WITHHELD = frozenset((b"authorization", USER, ISSUER, SUBJECT, CLAIMS))
"""Headers of a request that its code does not see as they came."""
PLAIN = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What, beside letters and digits, stands for itself in a name; anything else is escaped as in a URL."""
PLATFORMS = b"urn:lepton:"
"""How every platform's name of itself begins, as issuer of signed tokens."""
MARKS = (USER_PREFIX.encode(), WORKER_PREFIX.encode(), PLATFORMS)
"""In each token of the platform, as it is or in base64."""
LAYERS = 2
"""Of base64 round each other that are looked into."""
WORD = re.compile(rb"[A-Za-z0-9_+/-]{12,}")
"""That may hold a token; a real one has more than forty letters."""
URLSAFE = bytes.maketrans(b"+/", b"-_")


def passed_on(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a request that its code may see."""
    return [pair for pair in lines if not is_withheld(pair[0])]


@lru_cache(1024)  # clients use few names, and each of their requests has ten
def is_withheld(name: bytes) -> bool:
    """Whether code does not see a header of this name."""
    return name.lower().replace(b"_", b"-") in WITHHELD


def owner_of(subject: str, issuer: str = "") -> bytes:
    """Whose requests count together: all of one user of the platform, or of one subject of another issuer.

    Returns:
        A digest; empty: nobody is named.
    """
    return sha256(f"{issuer}\n{subject}".encode()).digest() if subject else b""


def of_user(name: str) -> bytes:
    """What is told of a user of the platform."""
    return b"%b: %b\r\n" % (USER, _plain(name)) if name else b""


def of_outside(issuer: str, subject: str) -> bytes:
    """What is told of somebody whom another issuer vouches for."""
    return b"%b: %b\r\n%b: %b\r\n" % (ISSUER, _plain(issuer), SUBJECT, _plain(subject))


def with_claims(authorization: bytes) -> bytes:
    """What a signed token says: its middle part, which proves nothing to anybody else."""
    return b"%b: %b\r\n" % (CLAIMS, authorization.split(b".")[1])


def is_platforms(authorization: bytes) -> bool:
    """Whether a header holds, or may hold, a token of the platform: code must not see it, judged or not, whatever the
    scheme, so wherever it stands: in base64 too, as with Basic, whose password may be a signed token in turn."""
    return _holds_mark(authorization, LAYERS)


def _holds_mark(text: bytes, layers: int) -> bool:
    if any(mark in text for mark in MARKS):
        return True
    words = WORD.findall(text) if layers else []
    return any(_holds_mark(_decoded(word), layers - 1) for word in words)


def _decoded(word: bytes) -> bytes:
    """What a word means in base64 of either kind; empty: nothing."""
    word = word.translate(URLSAFE)
    with suppress(ValueError):
        return urlsafe_b64decode(word + b"=" * (-len(word) % 4))
    return b""


def _plain(text: str) -> bytes:
    return quote(text, safe=PLAIN).encode()
