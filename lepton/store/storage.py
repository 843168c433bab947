"""Where the packs of the platform's vault lie, as its database remembers it: one fact."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import time_ns

from lepton.core.clock import believed
from lepton.core.errors import UnavailableError
from lepton.store import facts
from lepton.store.database import Tx

FACT, NEXT, CLOSED, LEFT = "storage", "storage next", "storage closed", "storage left"
CLOSED_S = 600
"""Nobody says that a storage is closed for longer than this from then on."""
TOKENS, LEFT_TOKENS = "storage tokens", "storage left tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A storage of packs."""

    id: str
    """As it stands in the storage itself too."""
    address: str = ""
    """Empty: the data directory's own."""
    credentials: bytes = field(default=b"", repr=False)
    """Sealed; empty: the server's own."""


def find(tx: Tx) -> Kept | None:
    """Where packs lie; None: no server has said so yet."""
    text = facts.get(tx, FACT)
    return _read(text) if text else None


def settle(tx: Tx, kept: Kept) -> Kept:
    """Say where packs lie, unless it was said before; return where they do."""
    return _read(facts.settle(tx, FACT, _text(kept)))


def begin(tx: Tx, kept: Kept) -> Kept:
    """Say where packs are being moved to; a move to the same address goes on under its id."""
    text = facts.get(tx, NEXT)
    found = _read(text) if text else None
    if found and found.address == kept.address:
        kept = replace(kept, id=found.id)
    facts.put(tx, NEXT, _text(kept))
    return kept


def forget_next(tx: Tx) -> None:
    """Packs are moved nowhere: the place was refused."""
    facts.put(tx, NEXT, "")


def close(tx: Tx, *, until: int) -> None:
    """Let nobody name new packs until a time, in microseconds since 1970, or until packs lie elsewhere; 0: let them."""
    facts.put(tx, CLOSED, str(until))


def put(tx: Tx, kept: Kept) -> None:
    """Say where packs lie from now on."""
    facts.put(tx, FACT, _text(kept))
    facts.put(tx, NEXT, "")
    facts.put(tx, CLOSED, "0")


def switch(tx: Tx, kept: Kept) -> None:
    """Say where packs lie from now on, after a move: the mark of the old place is still to be removed."""
    facts.put(tx, LEFT, facts.get(tx, FACT))
    facts.put(tx, LEFT_TOKENS, facts.get(tx, TOKENS))
    put(tx, kept)


def left(tx: Tx) -> Kept | None:
    """The place that packs were moved from, while its mark may still be there."""
    text = facts.get(tx, LEFT)
    return _read(text) if text else None


def forget_left(tx: Tx) -> None:
    """The mark of the old place is gone, or is another's."""
    facts.put(tx, LEFT, "")
    facts.put(tx, LEFT_TOKENS, "[]")


def tokens(tx: Tx) -> list[str]:
    """Those that the database gave its storage, the newest first."""
    return [str(token) for token in json.loads(facts.get(tx, TOKENS) or "[]")]


def left_tokens(tx: Tx) -> list[str]:
    """Those of the place that packs were moved from."""
    return [str(token) for token in json.loads(facts.get(tx, LEFT_TOKENS) or "[]")]


def put_tokens(tx: Tx, wanted: Sequence[str]) -> None:
    """Say which they are."""
    facts.put(tx, TOKENS, json.dumps(list(wanted)))


def reseal(tx: Tx, again: Callable[[str, bytes], bytes]) -> int:
    """Seal credentials anew, of all places of packs that are remembered; return how many that were."""
    count = 0
    for fact in (FACT, NEXT, LEFT):
        kept = _read(text) if (text := facts.get(tx, fact)) else None
        if kept and kept.credentials:
            facts.put(tx, fact, _text(replace(kept, credentials=again(kept.address, kept.credentials))))
            count += 1
    return count


def check(tx: Tx, id: str) -> None:
    """Refuse to name a pack that was written elsewhere, or while the last are moved.

    Raises:
        UnavailableError: packs lie in another storage by now, or soon will.
    """
    kept = find(tx)
    if kept and kept.id != id:
        raise UnavailableError("The vault was moved to another storage", fix="Start the server again.")
    now = time_ns() // 1000
    if now < believed(int(facts.get(tx, CLOSED) or 0), now + CLOSED_S * 1_000_000):
        raise UnavailableError("The vault is being moved to another storage", fix="Try again in a minute.")


def _read(text: str) -> Kept:
    told = json.loads(text)
    return Kept(id=told["id"], address=told["address"], credentials=bytes.fromhex(told["credentials"]))


def _text(kept: Kept) -> str:
    return json.dumps({"id": kept.id, "address": kept.address, "credentials": kept.credentials.hex()})
