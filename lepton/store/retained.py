"""Which versions a retention rule has let go of, and what it is decided by."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from lepton.store.database import Tx
from lepton.vault.store.state import Move
from lepton.vault.store.versions import let_go_error

BATCH = 500


def let_go(tx: Tx, domain: bytes, versions: Collection[bytes]) -> dict[bytes, int]:
    """Which of these were let go, and when."""
    found, rest = dict[bytes, int](), iter(versions)
    while some := list(islice(rest, BATCH)):
        marks = ", ".join("?" * len(some))
        sql = f"SELECT version, at FROM vault_let_go WHERE domain = ? AND version IN ({marks})"
        found |= {bytes(row[0]): int(row[1]) for row in tx.rows(sql, (domain, *some))}
    return found


def check_kept(tx: Tx, domain: bytes, version: bytes) -> None:
    """Refuse a version that was let go.

    Raises:
        LetGoError: it was.
    """
    if found := let_go(tx, domain, [version]):
        raise let_go_error(version, found[version])


def moves_of(tx: Tx, domain: bytes) -> Mapping[str, Sequence[Move]]:
    """Every branch and tag that ever was, and its steps, oldest first."""
    found: dict[str, list[Move]] = {}
    sql = "SELECT name, epoch, version, at FROM vault_moves WHERE domain = ? ORDER BY name, epoch"
    for name, epoch, version, at in tx.rows(sql, (domain,)):
        found.setdefault(name, []).append(Move(name, epoch, bytes(version), at))
    return found


def add(tx: Tx, domain: bytes, versions: Collection[bytes], at: int) -> list[bytes]:
    """Let versions go, save those at which a branch or tag stands now; return which."""
    rows = tx.rows("SELECT version FROM vault_heads WHERE domain = ? AND is_deleted = 0", (domain,))
    heads = {bytes(row[0]) for row in rows}
    gone_now = [version for version in versions if version not in heads]
    sql = "INSERT INTO vault_let_go (domain, version, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    for version in gone_now:
        tx.execute(sql, (domain, version, at))
    return gone_now
