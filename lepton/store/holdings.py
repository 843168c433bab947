"""Which workspace holds which object of the vault: by an upload to it, or by a version in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lepton.store.database import Tx
from lepton.store.vault import use_packs
from lepton.vault.objects import Held, Stored

BATCH = 500


def hold(tx: Tx, workspace: str, digests: Iterable[str]) -> None:
    """Note that a workspace holds these objects; noting it again does nothing."""
    for part in _batches(missing(tx, digests, workspaces=[workspace])):
        marks = ", ".join("(?, ?)" for _ in part)
        values = [value for digest in part for value in (digest, workspace)]
        tx.execute(f"INSERT INTO holdings (digest, workspace) VALUES {marks} ON CONFLICT DO NOTHING", values)


def keep(tx: Tx, workspace: str, stored: Stored) -> None:
    """Note that a workspace holds an object that was stored in its domain.

    Raises:
        StaleError: a pack that it relies on was pruned meanwhile.
    """
    held = stored.held
    use_packs(tx, held.domain, stored.uses)
    tx.execute(
        "INSERT INTO holdings (digest, workspace, domain, blob) VALUES (?, ?, ?, ?) ON CONFLICT (digest, workspace) "
        "DO UPDATE SET domain = excluded.domain, blob = excluded.blob",
        (held.digest, workspace, held.domain, held.blob),
    )


def drop(tx: Tx, workspace: str) -> None:
    """Forget all objects that a workspace holds."""
    tx.execute("DELETE FROM holdings WHERE workspace = ?", (workspace,))


def find(tx: Tx, digests: Iterable[str], *, workspaces: Sequence[str] | None) -> Mapping[str, Held]:
    """Where objects lie that any of the workspaces holds; None: any workspace will do."""
    among = "" if workspaces is None else f" AND workspace IN ({_marks(workspaces)})"
    found: dict[str, Held] = {}
    for part in _batches(list(dict.fromkeys(digests)) if workspaces is None or workspaces else []):
        sql = f"SELECT digest, domain, blob FROM holdings WHERE digest IN ({_marks(part)}){among}"
        for digest, domain, blob in tx.rows(sql, (*part, *(workspaces or ()))):
            if digest not in found or domain:
                found[digest] = Held(digest=digest, domain=bytes(domain or b""), blob=bytes(blob or b""))
    return found


def plain(tx: Tx, *, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
    """(digest, workspace) of objects that are still kept in the clear, in that order, behind `after`."""
    which = "blob IS NULL AND (digest, workspace) > (?, ?)"
    sql = f"SELECT digest, workspace FROM holdings WHERE {which} ORDER BY digest, workspace LIMIT ?"
    return [(str(row[0]), str(row[1])) for row in tx.rows(sql, (*after, limit))]


def blobs(tx: Tx, domain: bytes) -> list[bytes]:
    """The blobs of all objects that are held in a domain."""
    return [bytes(row[0]) for row in tx.rows("SELECT DISTINCT blob FROM holdings WHERE domain = ?", (domain,))]


def is_plain(tx: Tx, digest: str) -> bool:
    """Whether any workspace's object is still kept in the clear."""
    return tx.row("SELECT 1 FROM holdings WHERE digest = ? AND blob IS NULL", (digest,)) is not None


def missing(tx: Tx, digests: Iterable[str], *, workspaces: Sequence[str] | None) -> list[str]:
    """Those of the objects that none of the workspaces holds; each once, in their order.

    Args:
        workspaces: None: any workspace will do.
    """
    wanted = list(dict.fromkeys(digests))
    if workspaces is not None and not workspaces:
        return wanted
    among = "" if workspaces is None else f" AND workspace IN ({_marks(workspaces)})"
    found = set()
    for part in _batches(wanted):
        sql = f"SELECT digest FROM holdings WHERE digest IN ({_marks(part)}){among}"
        found |= {row[0] for row in tx.rows(sql, (*part, *(workspaces or ())))}
    return [digest for digest in wanted if digest not in found]


def _batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(values), BATCH):
        yield values[first : first + BATCH]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
