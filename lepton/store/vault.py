"""The state of a vault in SQL: sealed keys, packs, branches. `lepton.vault.store.state` says what it promises."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from lepton.core.clock import AHEAD_S, from_micros
from lepton.core.errors import StaleError
from lepton.core.event import Event
from lepton.store import domains, events, retained, storage
from lepton.store.database import Database, Row, Tx
from lepton.store.retained import check_kept
from lepton.vault.store.keyring import SealedKey
from lepton.vault.store.sealing import ROOT, Kind, Place
from lepton.vault.store.state import Move, Pack

T = TypeVar("T")
KEY = "kind, owner, holder, holder_version, version, sealed"
PACK = "pack, size_bytes, chunks, seq, is_gone, marked_at"
MOVE = "name, epoch, version, at"
PACK_ROW = "pack, size_bytes, chunks, marked_at, is_gone"
HOLDERS = (Kind.TENANT, Kind.DOMAIN)
PUT_KEY = (
    f"INSERT INTO vault_keys ({KEY}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, kind) DO UPDATE SET "
    "holder = excluded.holder, holder_version = excluded.holder_version, version = excluded.version, "
    "sealed = excluded.sealed"
)
BATCH = 500


class SqlState:
    """Over one database, shared with everything else that lies in it.

    Args:
        storage: id of the storage whose packs are named here; empty: it is the only one.
    """

    def __init__(self, database: Database, *, storage: str = "") -> None:
        self._database, self._storage = database, storage

    def find(self, kind: Kind, owner: bytes) -> SealedKey | None:
        """One sealed key."""
        return self._read(lambda tx: TxKeys(tx).find(kind, owner))

    def under(self, holder: bytes) -> Iterable[SealedKey]:
        """All keys that lie under one."""
        return self._read(lambda tx: TxKeys(tx).under(holder))

    def put(self, rows: Sequence[SealedKey], gone: Sequence[tuple[Kind, bytes]] = ()) -> None:
        """Write and forget keys, all of it or nothing."""
        self._database.write(lambda tx: _put_keys(tx, rows, gone))

    def add_pack(self, domain: bytes, pack: Pack, key: SealedKey) -> int:
        """Register a pack and its key."""

        def work(tx: Tx) -> int:
            if self._storage:
                storage.check(tx, self._storage)
            _put_keys(tx, [key], ())
            seq = _next_seq(tx, domain)
            values = (domain, seq, pack.id, pack.size_bytes, pack.chunks, pack.marked_at, 0)
            tx.execute(f"INSERT INTO vault_packs (domain, seq, {PACK_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            return seq

        return self._database.write(work)

    def packs(self, domain: bytes, *, after: int = 0, limit: int = 1000) -> Sequence[Pack]:
        """Packs that came or went."""
        sql = f"SELECT {PACK} FROM vault_packs WHERE domain = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [_pack(row) for row in self._rows(sql, (domain, after, limit))]

    def mark_packs(self, domain: bytes, packs: Collection[bytes], *, at: int) -> None:
        """Mark live and fresh packs, and those that were marked before the clock was set back."""

        def work(tx: Tx) -> None:
            for part in _batches(packs):
                which = f"(marked_at <= 0 OR marked_at > ?) AND is_gone = 0 AND pack IN ({_marks(part)})"
                values = (at, domain, at + AHEAD_S * 1_000_000, *part)
                tx.execute(f"UPDATE vault_packs SET marked_at = ? WHERE domain = ? AND {which}", values)

        self._database.write(work)

    def steps(self, domain: bytes) -> int:
        """Steps of all branches."""
        return self._read(lambda tx: _steps(tx, domain))

    def drop_packs(self, domain: bytes, packs: Collection[bytes], *, marked_before: int, steps: int) -> Sequence[bytes]:
        """Let marked packs go."""

        def work(tx: Tx) -> Sequence[bytes]:
            _lock(tx, domain)
            if _steps(tx, domain) != steps:
                raise StaleError("A branch has moved while unused content was looked for", fix="Prune again.")
            which = f"marked_at > 0 AND marked_at < {int(marked_before)}"
            return _drop(tx, domain, packs, which)

        return self._database.write(work)

    def take_back(self, domain: bytes, packs: Collection[bytes]) -> Sequence[bytes]:
        """Let packs go that nobody has named."""

        def work(tx: Tx) -> Sequence[bytes]:
            _lock(tx, domain)
            return _drop(tx, domain, packs, "marked_at <> 0")

        return self._database.write(work)

    def head(self, domain: bytes, name: str) -> Move | None:
        """Where a branch stands."""
        sql = f"SELECT {MOVE} FROM vault_heads WHERE domain = ? AND name = ?"
        return self._move(sql, (domain, name))

    def heads(self, domain: bytes, *, after: str = "", limit: int = 1000) -> Sequence[Move]:
        """Branches and tags."""
        which = "domain = ? AND is_deleted = 0 AND name > ?"
        sql = f"SELECT {MOVE} FROM vault_heads WHERE {which} ORDER BY name LIMIT ?"
        return [_step(row) for row in self._rows(sql, (domain, after, limit))]

    def moves(self, domain: bytes, name: str, *, before: int = 0, limit: int = 100) -> Sequence[Move]:
        """Steps of a branch."""
        which = "domain = ? AND name = ? AND epoch < ?"
        sql = f"SELECT {MOVE} FROM vault_moves WHERE {which} ORDER BY epoch DESC LIMIT ?"
        return [_step(row) for row in self._rows(sql, (domain, name, before or 1 << 62, limit))]

    def move_at(self, domain: bytes, name: str, at: int) -> Move | None:
        """Where a branch stood."""
        which = "domain = ? AND name = ? AND at <= ?"
        return self._move(
            f"SELECT {MOVE} FROM vault_moves WHERE {which} ORDER BY at DESC, epoch DESC LIMIT 1", (domain, name, at)
        )

    def move(self, domain: bytes, step: Move, *, uses: Collection[bytes] = ()) -> None:
        """Take the next step of a branch."""

        def work(tx: Tx) -> None:
            use_packs(tx, domain, uses)
            if step.version:
                check_kept(tx, domain, step.version)
            _step_on(tx, domain, step)

        self._database.write(work)

    def let_go(self, domain: bytes, versions: Collection[bytes]) -> Mapping[bytes, int]:
        """Which retention let go of."""
        return self._read(lambda tx: retained.let_go(tx, domain, versions))

    def _read(self, work: Callable[[Tx], T]) -> T:
        return self._database.read(work)

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Row]:
        return self._database.read(lambda tx: tx.rows(sql, values))

    def _move(self, sql: str, values: Sequence[Any]) -> Move | None:
        row = self._read(lambda tx: tx.row(sql, values))
        return _step(row) if row else None


class TxKeys:
    """The sealed keys, in a transaction that changes more than them."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def find(self, kind: Kind, owner: bytes) -> SealedKey | None:
        """One sealed key."""
        row = self._tx.row(f"SELECT {KEY} FROM vault_keys WHERE owner = ? AND kind = ?", (owner, int(kind)))
        return _key(row) if row else None

    def under(self, holder: bytes) -> Iterable[SealedKey]:
        """All keys that lie under one."""
        return [_key(row) for row in self._tx.rows(f"SELECT {KEY} FROM vault_keys WHERE holder = ?", (holder,))]

    def put(self, rows: Sequence[SealedKey], gone: Sequence[tuple[Kind, bytes]] = ()) -> None:
        """Write and forget keys."""
        _put_keys(self._tx, rows, gone)


def _put_keys(tx: Tx, rows: Sequence[SealedKey], gone: Sequence[tuple[Kind, bytes]]) -> None:
    held = {row.place.owner: row.version for row in rows if row.place.kind in HOLDERS}
    for holder, version in {(row.place.holder, row.place.version) for row in rows if row.place.holder != ROOT}:
        if held.get(holder, version) != version or (holder not in held and _lock(tx, holder) != version):
            raise StaleError(f"The key of {holder.hex()} was rotated or erased meanwhile", fix="Try again.")
    for kind, owner in gone:
        tx.execute("DELETE FROM vault_keys WHERE owner = ? AND kind = ?", (owner, int(kind)))
    for row in rows:
        place = row.place
        values = (int(place.kind), place.owner, place.holder, place.version, row.version, row.sealed)
        tx.execute(PUT_KEY, values)
    for holder, version in held.items():
        if tx.row("SELECT 1 FROM vault_keys WHERE holder = ? AND holder_version < ? LIMIT 1", (holder, version)):
            raise StaleError(f"A key was made under {holder.hex()} while it was rotated", fix="Try again.")


def _lock(tx: Tx, holder: bytes) -> int:
    """Keep other transactions from rotating or adding under a tenant or domain; the version of its key, 0: none."""
    which = "owner = ? AND kind IN (?, ?)"
    values = (holder, *map(int, HOLDERS))
    tx.execute(f"UPDATE vault_keys SET version = version WHERE {which}", values)
    row = tx.row(f"SELECT version FROM vault_keys WHERE {which}", values)
    return int(row[0]) if row else 0


def _next_seq(tx: Tx, domain: bytes) -> int:
    """One more than any; whoever asks has the domain's lock."""
    row = tx.row("SELECT coalesce(max(seq), 0) + 1 FROM vault_packs WHERE domain = ?", (domain,))
    return int(row[0]) if row else 1


def _steps(tx: Tx, domain: bytes) -> int:
    row = tx.row("SELECT coalesce(sum(epoch), 0) FROM vault_heads WHERE domain = ?", (domain,))
    return int(row[0]) if row else 0


def _drop(tx: Tx, domain: bytes, packs: Collection[bytes], which: str) -> Sequence[bytes]:
    """Let those of the packs go, with their keys, for which this holds; whoever asks has the domain's lock."""
    found = list[bytes]()
    for part in _batches(packs):
        sql = f"SELECT pack FROM vault_packs WHERE domain = ? AND is_gone = 0 AND {which} AND pack IN ({_marks(part)})"
        found += [bytes(row[0]) for row in tx.rows(f"{sql} ORDER BY seq", (domain, *part))]
    for pack in found:
        values = (_next_seq(tx, domain), pack)
        tx.execute("UPDATE vault_packs SET is_gone = 1, seq = ? WHERE pack = ?", values)
    _put_keys(tx, (), [(Kind.PACK, pack) for pack in found])
    return found


def use_packs(tx: Tx, domain: bytes, packs: Iterable[bytes]) -> None:
    """Keep packs that something relies on from now on: marked ones are live again.

    Raises:
        StaleError: one is gone.
    """
    _lock(tx, domain)
    for part in _batches(packs):
        which = f"domain = ? AND is_gone = 0 AND pack IN ({_marks(part)})"
        if tx.execute(f"UPDATE vault_packs SET marked_at = 0 WHERE {which}", (domain, *part)) != len(part):
            raise StaleError("Content that was to be shared has been pruned meanwhile", fix="Store it again.")


def forget_domain(tx: Tx, tenant: bytes, domain: bytes) -> int:
    """Forget the keys of a domain and of its tenant, its packs and its branches; return how many keys are gone."""
    _lock(tx, domain)
    keys = tx.execute("DELETE FROM vault_keys WHERE holder IN (?, ?) OR owner IN (?, ?)", (tenant, domain) * 2)
    for table in ("vault_packs", "vault_moves", "vault_heads", "vault_let_go"):
        tx.execute(f"DELETE FROM {table} WHERE domain = ?", (domain,))
    return keys


def packs_present(tx: Tx) -> dict[bytes, list[tuple[bytes, int]]]:
    """Domain -> id and bytes of its packs that are not gone, in their order."""
    packs: dict[bytes, list[tuple[bytes, int]]] = {}
    sql = "SELECT domain, pack, size_bytes FROM vault_packs WHERE is_gone = 0 ORDER BY domain, seq"
    for domain, pack, size in tx.rows(sql):
        packs.setdefault(bytes(domain), []).append((bytes(pack), int(size)))
    return packs


def bytes_of(tx: Tx, domain: bytes, *, besides: Collection[bytes] = ()) -> int:
    """Bytes of a domain's packs, but for some."""
    others = f" AND pack NOT IN ({_marks([*besides])})" if besides else ""
    which = f"domain = ? AND is_gone = 0{others}"
    row = tx.row(f"SELECT coalesce(sum(size_bytes), 0) FROM vault_packs WHERE {which}", (domain, *besides))
    return int(row[0]) if row else 0


def versions_named(tx: Tx, domain: bytes, *, heads_only: bool) -> list[bytes]:
    """Versions that branches and tags stand at, or (unless `heads_only`) ever stood at."""
    table = "vault_heads" if heads_only else "vault_moves"
    rows = tx.rows(f"SELECT DISTINCT version FROM {table} WHERE domain = ?", (domain,))
    return [bytes(row[0]) for row in rows if row[0]]


def _step_on(tx: Tx, domain: bytes, step: Move) -> None:
    """The step, in both tables.

    Raises:
        StaleError: the head is not where it was.
    """
    values = (step.epoch, step.version, step.at, int(not step.version), domain, step.name)
    if step.epoch == 1:
        sql = "INSERT INTO vault_heads (epoch, version, at, is_deleted, domain, name) VALUES (?, ?, ?, ?, ?, ?)"
        moved = tx.execute(f"{sql} ON CONFLICT DO NOTHING", values)
    else:
        sql = "UPDATE vault_heads SET epoch = ?, version = ?, at = ?, is_deleted = ? WHERE domain = ? AND name = ?"
        moved = tx.execute(f"{sql} AND epoch = ?", (*values, step.epoch - 1))
    if moved != 1:
        raise StaleError(f"{step.name!r} has moved since it was read", fix="Read it again and repeat the change.")
    tx.execute(
        f"INSERT INTO vault_moves (domain, {MOVE}) VALUES (?, ?, ?, ?, ?)",
        (domain, step.name, step.epoch, step.version, step.at),
    )
    if step.by:
        _tell(tx, domain, step)


def _tell(tx: Tx, domain: bytes, step: Move) -> None:
    """The step's event, in the same transaction."""
    workspace = domains.workspace_of(tx, domain)
    verb = "moved" if step.version and step.epoch > 1 else "made" if step.version else "deleted"
    subject, data = f"{workspace}@{step.name}", {"version": step.version.hex()}
    at = from_micros(step.at)
    events.append(
        tx,
        Event(
            subject=subject,
            kind="branch",
            workspace=workspace,
            verb=verb,
            why=step.why,
            actor=step.by,
            at=at,
            data=data,
        ),
    )


def _key(row: Row) -> SealedKey:
    kind, owner, holder, holder_version, version, sealed = row
    place = Place(kind=Kind(kind), owner=bytes(owner), holder=bytes(holder), version=holder_version)
    return SealedKey(place, bytes(sealed), version)


def _pack(row: Row) -> Pack:
    id, size_bytes, chunks, seq, is_gone, marked_at = row
    return Pack(bytes(id), size_bytes, chunks, seq, bool(is_gone), marked_at)


def _step(row: Row) -> Move:
    name, epoch, version, at = row
    return Move(name, epoch, bytes(version), at)


def _batches(values: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    rest = iter(values)
    while part := list(islice(rest, BATCH)):
        yield part


def _marks(values: Sequence[bytes]) -> str:
    return ", ".join("?" * len(values))
