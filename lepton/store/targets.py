"""Where backups go: what is known of each place, and when the next backup is due there."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lepton.store import facts
from lepton.store.database import Row, Tx
from lepton.vault.backup.ranges import numbers_of, ranges
from lepton.vault.backup.retention import Keep

TOKENS, APPEND_ONLY, LOCKED = "place tokens", "append-only places", "places locked"
MADE = "backups made at "
"""A fact of each place, by its id: their numbers, and DOUBTED where others may have made more."""
DOUBTED = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place with backups; times in microseconds since 1970."""

    address: str
    id: str = ""
    """As it stands in the place itself; empty: no backup went there yet."""
    last_number: int = 0
    """Of the last backup that was made there."""
    last_at: int = 0
    every_s: int = 0
    """A backup is made so often; 0: only when it is asked for."""
    since: int = 0
    """When that was said."""
    keep: Keep = field(default_factory=Keep)
    credentials: bytes = field(default=b"", repr=False)
    """Sealed; empty: the server's own."""
    is_paused: bool = False
    tried_at: int = 0
    fault: str = ""
    """Why the last try failed; empty: it did not."""


COLUMNS = ", ".join(each.name for each in fields(Place))
HOLES = ", ".join("?" * len(fields(Place)))


def find(tx: Tx, address: str) -> Place | None:
    """What is known of a place."""
    row = tx.row(f"SELECT {COLUMNS} FROM backup_targets WHERE address = ?", (address,))
    return _read(row) if row else None


def every(tx: Tx) -> list[Place]:
    """All places, by address."""
    return [_read(row) for row in tx.rows(f"SELECT {COLUMNS} FROM backup_targets ORDER BY address")]


def put(tx: Tx, place: Place) -> None:
    """Say what is known of a place from now on."""
    told: Mapping[str, Any] = {
        **asdict(place),
        "keep": json.dumps(asdict(place.keep)),
        "credentials": place.credentials or None,
        "is_paused": int(place.is_paused),
    }
    new = ", ".join(f"{name} = excluded.{name}" for name in told if name != "address")
    tx.execute(
        f"INSERT INTO backup_targets ({COLUMNS}) VALUES ({HOLES}) ON CONFLICT (address) DO UPDATE SET {new}",
        [told[each.name] for each in fields(Place)],
    )


def is_append_only(tx: Tx, address: str) -> bool:
    """Whether backups are made there by themselves only while its storage is append-only."""
    return address in json.loads(facts.get(tx, APPEND_ONLY) or "[]")


def put_append_only(tx: Tx, address: str, is_wanted: bool) -> None:
    """Say whether they are."""
    known = {*json.loads(facts.get(tx, APPEND_ONLY) or "[]")} - {address}
    facts.put(tx, APPEND_ONLY, json.dumps(sorted(known | {address} if is_wanted else known)))


def locked_at(tx: Tx, id: str) -> int:
    """When all that lies in a place was locked for a whole period; 0: never."""
    return int(json.loads(facts.get(tx, LOCKED) or "{}").get(id, 0))


def put_locked_at(tx: Tx, id: str, at: int) -> None:
    """Say when it was."""
    facts.put(tx, LOCKED, json.dumps(json.loads(facts.get(tx, LOCKED) or "{}") | {id: at}))


def made(tx: Tx, id: str) -> set[int]:
    """Numbers of the backups that were made in a place and not let go of; none: an older version did not say."""
    return numbers_of(facts.get(tx, MADE + id).rstrip(DOUBTED)) if id else set()


def is_made_sure(tx: Tx, id: str) -> bool:
    """Whether those are surely all."""
    found = facts.get(tx, MADE + id) if id else ""
    return bool(found) and not found.endswith(DOUBTED)


def doubt_made(tx: Tx, id: str) -> None:
    """Another copy of the platform may have made more there: whatever lies there may be a backup, until the next."""
    facts.put(tx, MADE + id, facts.get(tx, MADE + id).rstrip(DOUBTED) + DOUBTED)


def drop_made(tx: Tx, id: str, gone: Collection[int]) -> None:
    """Some were let go of."""
    if id and (left := made(tx, id)) & {*gone}:
        is_sure = is_made_sure(tx, id)
        put_made(tx, id, left - {*gone})
        if not is_sure:
            doubt_made(tx, id)


def put_made(tx: Tx, id: str, numbers: Collection[int]) -> None:
    """Say which they are."""
    if id:
        facts.put(tx, MADE + id, ranges(numbers))


def pause_all(tx: Tx) -> None:
    """No backup is made by itself until somebody says so: of a platform that was restored, the first may still run."""
    tx.execute("UPDATE backup_targets SET is_paused = 1 WHERE every_s > 0")


def tokens(tx: Tx, id: str) -> list[str] | None:
    """Those that the database gave a place, the newest first; none: it was restored since; None: it never gave any."""
    return _tokens(tx).get(id)


def put_tokens(tx: Tx, id: str, wanted: Sequence[str]) -> None:
    """Say which they are."""
    facts.put(tx, TOKENS, json.dumps(_tokens(tx) | {id: list(wanted)}))


def disown(tx: Tx) -> None:
    """All places are the platform's that this database was restored from, as it may still run."""
    ids = {*_tokens(tx), *(place.id for place in every(tx) if place.id)}
    facts.put(tx, TOKENS, json.dumps({id: [] for id in sorted(ids)}))
    for id in sorted(ids):
        doubt_made(tx, id)


def _tokens(tx: Tx) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(facts.get(tx, TOKENS) or "{}")
    return found


def _read(row: Row) -> Place:
    told = dict(zip((each.name for each in fields(Place)), row, strict=True))
    told |= {
        "keep": Keep(**json.loads(str(told["keep"]))),
        "credentials": bytes(told["credentials"] or b""),
        "is_paused": bool(told["is_paused"]),
    }
    return Place(**told)
