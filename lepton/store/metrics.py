"""Numbers that jobs report, and how far each worker's reports have been taken in."""

from collections.abc import Mapping

from lepton.store.database import Tx


def add(tx: Tx, job: str, *, step: int, worker: int, at: int, values: Mapping[str, float]) -> None:
    """Store the numbers of one step of one worker; a step that is reported again replaces the old value."""
    for name, value in values.items():
        tx.execute(
            "INSERT INTO metrics (job, name, step, worker, at, value) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (job, name, step, worker) DO UPDATE SET at = excluded.at, value = excluded.value",
            (job, name, step, worker, at, value),
        )


def series(tx: Tx, job: str, *, name: str = "", limit: int = 10_000) -> dict[str, list[tuple[int, float]]]:
    """Name -> [(step, value)], by step; the mean over workers."""
    among = " AND name = ?" if name else ""
    rows = tx.rows(
        f"SELECT name, step, avg(value) FROM metrics WHERE job = ?{among} "
        "GROUP BY name, step ORDER BY name, step LIMIT ?",
        (job, name, limit) if name else (job, limit),
    )
    found: dict[str, list[tuple[int, float]]] = {}
    for metric, step, value in rows:
        found.setdefault(metric, []).append((int(step), float(value)))
    return found


def taken(tx: Tx, job: str, generation: int, worker: int) -> int:
    """How many items of this worker's report have been taken in."""
    row = tx.row("SELECT taken FROM reports WHERE job = ? AND generation = ? AND worker = ?", (job, generation, worker))
    return int(row[0]) if row else 0


def set_taken(tx: Tx, job: str, generation: int, *, worker: int, count: int) -> None:
    """Remember how many have been."""
    tx.execute(
        "INSERT INTO reports (job, generation, worker, taken) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (job, generation, worker) DO UPDATE SET taken = excluded.taken",
        (job, generation, worker, count),
    )
