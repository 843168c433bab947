"""Where the packs of the platform's vault lie, as its database remembers it: one fact."""

import json
from dataclasses import dataclass, field, replace
from time import time_ns

from lepton.core.errors import UnavailableError
from lepton.store import facts
from lepton.store.database import Tx

FACT, NEXT, CLOSED = "storage", "storage next", "storage closed"


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


def close(tx: Tx, *, until: int) -> None:
    """Let nobody name new packs until a time, in microseconds since 1970, or until packs lie elsewhere; 0: let them."""
    facts.put(tx, CLOSED, str(until))


def put(tx: Tx, kept: Kept) -> None:
    """Say where packs lie from now on."""
    facts.put(tx, FACT, _text(kept))
    facts.put(tx, NEXT, "")
    facts.put(tx, CLOSED, "0")


def check(tx: Tx, id: str) -> None:
    """Refuse to name a pack that was written elsewhere, or while the last are moved.

    Raises:
        UnavailableError: packs lie in another storage by now, or soon will.
    """
    kept = find(tx)
    if kept and kept.id != id:
        raise UnavailableError("The vault was moved to another storage", fix="Start the server again.")
    if int(facts.get(tx, CLOSED) or 0) > time_ns() // 1000:
        raise UnavailableError("The vault is being moved to another storage", fix="Try again in a minute.")


def _read(text: str) -> Kept:
    told = json.loads(text)
    return Kept(id=told["id"], address=told["address"], credentials=bytes.fromhex(told["credentials"]))


def _text(kept: Kept) -> str:
    return json.dumps({"id": kept.id, "address": kept.address, "credentials": kept.credentials.hex()})
