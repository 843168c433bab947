"""Which workspace holds which object of the vault: by an upload to it, or by a version in it."""

from collections.abc import Iterable, Iterator, Sequence

from lepton.store.database import Tx

BATCH = 500


def hold(tx: Tx, workspace: str, digests: Iterable[str]) -> None:
    """Note that a workspace holds these objects; noting it again does nothing."""
    for part in _batches(missing(tx, digests, workspaces=[workspace])):
        marks = ", ".join("(?, ?)" for _ in part)
        values = [value for digest in part for value in (digest, workspace)]
        tx.execute(f"INSERT INTO holdings (digest, workspace) VALUES {marks} ON CONFLICT DO NOTHING", values)


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
