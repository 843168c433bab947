"""What one step of the vault costs, against how much there is already: chunks, objects, versions, tenants.

    python benchmarks/vault_growth.py [--folder /dev/shm/lepton-growth]

CPU time (user and system) of this process for each step, the median of 31; nothing is asked of the disk's speed. Prints
a table, and writes VAULT-GROWTH.md and vault-growth.svg. A line that is flat scans nothing that it does not return.
"""

import argparse
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from time import process_time

from lepton.core.clock import SystemClock
from lepton.store import holdings
from lepton.store.database import Database, Tx
from lepton.store.open import open_database
from lepton.store.vault import SqlState
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.objects import Objects
from lepton.vault.plain import PlainObjects
from lepton.vault.store.blobs import write
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.pages import Entry
from lepton.vault.vault import Vault

HERE = Path(__file__).parent
TENANT, DOMAIN = b"t" * 16, b"d" * 16
TIMES = 31
Rows = list[tuple[str, str, int, float]]
"""What there is, what is done, how many there are, microseconds."""


class Place:
    """A vault with its database."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        clock = SystemClock()
        self.database: Database = open_database("", folder=folder, clock=clock)
        state, driver = SqlState(self.database), LocalDriver(folder / "vault")
        self.vault = Vault(driver, state, KeyRing(state, bytes(32)), indexes=folder / "index", clock=clock)
        self.objects = Objects(self.vault, PlainObjects(driver))
        self.vault.make(DOMAIN, tenant=TENANT)
        self.domain = self.vault.domain(DOMAIN)

    def close(self) -> None:
        """Let go of it."""
        self.vault.close()
        self.database.close()


def cost(step: Callable[[], object]) -> float:
    """Microseconds of CPU time, the median."""
    found = []
    for _ in range(TIMES):
        begun = process_time()
        step()
        found.append(process_time() - begun)
    return median(found) * 1e6


def read_next(place: Place, ids: Iterator[bytes]) -> None:
    """Read the chunk that comes next."""
    place.domain.chunks.get(next(ids))


def put_one(place: Place, domain: bytes) -> None:
    """Put a chunk, durable."""
    fresh = place.vault.domain(domain).chunks.writing()
    fresh.put(os.urandom(100))
    fresh.finish()


def put_next(place: Place, domains: Iterator[bytes]) -> None:
    """Put a chunk into the domain that comes next."""
    put_one(place, next(domains))


def chunks(place: Place, sizes: list[int]) -> Iterator[tuple[str, int, float]]:
    """Find one chunk, and put one, where there are so many."""
    ids: list[bytes] = []
    for size in sizes:
        batch = place.domain.chunks.writing()
        ids += [batch.put(os.urandom(100)) for _ in range(size - len(ids))]
        batch.finish()
        some = iter(random.Random(size).choices(ids, k=TIMES))
        yield "read a chunk", size, cost(partial(read_next, place, some))
        yield "put a chunk", size, cost(partial(put_one, place, DOMAIN))


def insert(tx: Tx, rows: list[tuple[str, str, bytes, bytes]]) -> None:
    """Let a workspace hold objects."""
    for row in rows:
        tx.execute("INSERT INTO holdings (digest, workspace, domain, blob) VALUES (?, ?, ?, ?)", row)


def objects(place: Place, sizes: list[int]) -> Iterator[tuple[str, int, float]]:
    """Put and get an object through the database, where a workspace holds so many."""
    digests: list[str] = []
    for size in sizes:
        rows = [(sha256(os.urandom(8)).hexdigest(), "w", DOMAIN, bytes(73)) for _ in range(size - len(digests))]
        digests += [row[0] for row in rows]
        place.database.write(partial(insert, rows=rows))

        def put() -> None:
            body = os.urandom(100)
            stored = place.objects.put(place.domain, [body], sha256(body).hexdigest())
            place.database.write(lambda tx: holdings.keep(tx, "w", stored))

        def find(digest: str) -> None:
            place.database.read(lambda tx: holdings.find(tx, [digest], workspaces=["w"]))

        yield "put an object", size, cost(put)
        yield "look an object up", size, cost(partial(find, digests[size // 2]))


def versions(place: Place, sizes: list[int]) -> Iterator[tuple[str, int, float]]:
    """Commit to a branch, and look into its past, where it has so many versions."""
    branches, made = place.domain.branches, 0
    batch = place.domain.chunks.writing()
    blob = write(batch, place.domain.cutter, [b"x"])
    batch.finish()

    def commit() -> None:
        nonlocal made
        made += 1
        edits: Mapping[str, Entry | None] = {f"n{made % 100}": Entry(blob)}
        branches.commit(MAIN, edits, place.domain.chunks.writing(), Author(by="benchmark"))

    for size in sizes:
        while made < size:
            commit()
        yield "commit a version", size, cost(commit)
        moves = place.vault.state.moves(DOMAIN, MAIN, before=size // 2 + 1, limit=1)
        yield "travel in time", size, cost(partial(branches.past, MAIN, moves[0].at))


def tenants(place: Place, sizes: list[int]) -> Iterator[tuple[str, int, float]]:
    """Write to one domain after the other, where there are so many, and how many files that keeps open."""
    domains: list[bytes] = []
    for size in sizes:
        while len(domains) < size:
            domains.append(os.urandom(16))
            place.vault.make(domains[-1], tenant=os.urandom(16))
            place.vault.domain(domains[-1])
        some = iter(random.Random(size).choices(domains, k=TIMES))
        yield "put a chunk into one of the domains", size, cost(partial(put_next, place, some))
        yield "open files (a count, not a time)", size, len(os.listdir("/proc/self/fd"))


KINDS = {
    "chunks": (chunks, [1000, 10_000, 100_000]),
    "objects": (objects, [1000, 10_000, 100_000]),
    "versions": (versions, [30, 100, 300, 1000]),
    "tenants": (tenants, [10, 100, 500]),
}


def plot(rows: Rows, path: Path) -> None:
    """One panel for each kind, both axes logarithmic."""
    import matplotlib.pyplot as plt  # noqa: PLC0415  only the plot needs it

    figure, axes = plt.subplots(1, len(KINDS), figsize=(15, 3.4))
    for panel, kind in zip(axes, KINDS, strict=True):
        for step in dict.fromkeys(row[1] for row in rows if row[0] == kind):
            points = [(row[2], row[3]) for row in rows if row[:2] == (kind, step)]
            panel.plot(*zip(*points, strict=True), marker="o", label=step)
        panel.set(xscale="log", yscale="log", xlabel=kind, ylabel="us of CPU")
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/lepton-growth"))
    folder, rows = parser.parse_args().folder, Rows()
    for kind, (work, sizes) in KINDS.items():
        place = Place(folder)
        try:
            for step, size, value in work(place, sizes):
                rows.append((kind, step, size, value))
                print(f"{kind:10} {size:8} {step:40} {value:10.0f}", flush=True)
        finally:
            place.close()
            shutil.rmtree(folder, ignore_errors=True)
    lines = [f"| {kind} | {size:,} | {step} | {value:,.0f} |" for kind, step, size, value in rows]
    head = f"""# What a step of the vault costs, against how much there is

Made by `vault_growth.py`: microseconds of CPU time, medians of {TIMES}.

![growth](vault-growth.svg)

| of | there are | step | us |
| --- | --- | --- | --- |
"""
    (HERE / "VAULT-GROWTH.md").write_text(head + "\n".join(lines) + "\n")
    plot(rows, HERE / "vault-growth.svg")


if __name__ == "__main__":
    main()
