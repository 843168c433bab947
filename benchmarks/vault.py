"""The vault beside restic and borg: first backup, second pass, an edit, restore, of one mixture of data.

    python benchmarks/vault.py [--folder /dev/shm/lepton-vault]

Needs `restic` and `borg` (Debian: apt install restic borgbackup). Every step is a process of its own on one core; its
CPU seconds (user and system, its start included) are counted. Prints a table, and writes VAULT.md and raw/vault.json.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zstandard

from lepton.core.clock import SystemClock
from lepton.store.open import open_database
from lepton.store.vault import SqlState
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.store.blobs import read, write
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.folders import files_below, store_files, write_files
from lepton.vault.store.keyring import KeyRing
from lepton.vault.vault import Domain, Vault

HERE = Path(__file__).parent
TENANT, DOMAIN = b"t" * 16, b"d" * 16
SECRETS = {"RESTIC_PASSWORD": "p", "BORG_PASSPHRASE": "p", "GOMAXPROCS": "1", "OPENBLAS_NUM_THREADS": "1"}
STEPS = ("first", "second", "edited", "restored")


def make(folder: Path) -> None:
    """About 380 MB: text, float32 weights twice, CSV, compressed columns, 2,000 files of noise."""
    chance = np.random.default_rng(1)
    words = [bytes(word) for word in chance.integers(97, 123, (20_000, 7), dtype=np.uint8)]
    text = b" ".join(words[at] for at in chance.zipf(1.3, 12_000_000) % 20_000)
    (folder / "weights").mkdir(parents=True)
    (folder / "text.txt").write_bytes(text[:80_000_000])
    weights = (chance.standard_normal(20_000_000) * 0.02).astype("f4").tobytes()
    for name in ("a.bin", "b.bin"):
        (folder / "weights" / name).write_bytes(weights)
    count = 900_000
    at, fare = 1_600_000_000 + np.cumsum(chance.integers(1, 60, count)), np.round(chance.gamma(2, 6, count), 2)
    zones = chance.integers(1, 264, (count, 2))
    with (folder / "rides.csv").open("w") as file:
        for row in range(count):
            file.write(
                f"{at[row]},{at[row] + 900},{zones[row, 0]},{zones[row, 1]},{fare[row]},{fare[row] * 1.2:.2f},N\n"
            )
    with (folder / "columns.zst").open("wb") as file:
        for _ in range(31):
            part = np.concatenate([chance.standard_normal(131_072), np.round(chance.gamma(2, 6, 131_072), 2)])
            file.write(zstandard.ZstdCompressor(3).compress(part.tobytes()))
    (folder / "images").mkdir()
    for number in range(2000):
        (folder / "images" / f"{number:05}.jpg").write_bytes(chance.bytes(20_000))


def edit(folder: Path) -> None:
    """20 inserts into the text, 30 lines out of the CSV, 137 bytes before and 4 MB within weights, a rename."""
    chance = random.Random(2)
    text = bytearray((folder / "text.txt").read_bytes())
    for at in sorted((chance.randrange(len(text)) for _ in range(20)), reverse=True):
        text[at:at] = b"an inserted sentence "
    (folder / "text.txt").write_bytes(text)
    lines = (folder / "rides.csv").read_bytes().splitlines(keepends=True)
    for at in sorted((chance.randrange(len(lines)) for _ in range(30)), reverse=True):
        del lines[at]
    (folder / "rides.csv").write_bytes(b"".join(lines))
    weights = bytearray((folder / "weights" / "b.bin").read_bytes())
    weights[40_000_000:44_000_000] = chance.randbytes(4_000_000)
    (folder / "weights" / "b.bin").write_bytes(chance.randbytes(137) + weights)
    (folder / "images").rename(folder / "pictures")


def opened(folder: Path) -> tuple[Domain, Callable[[], None]]:
    """A vault with one domain, and what closes it."""
    folder.mkdir(exist_ok=True)
    database = open_database("", folder=folder, clock=SystemClock())
    state = SqlState(database)
    vault = Vault(
        LocalDriver(folder / "vault"), state, KeyRing(state, bytes(32)), indexes=folder / "index", clock=SystemClock()
    )
    vault.make(DOMAIN, tenant=TENANT)

    def close() -> None:
        vault.close()
        database.close()

    return vault.domain(DOMAIN), close


def ours(step: str, folder: Path, data: Path, out: Path) -> None:
    """One step of ours, in this process."""
    domain, close = opened(folder)
    if step == "restored":
        tree = domain.branches.tree(domain.branches.head(MAIN))
        write_files(domain.chunks, tree.scan(), out)
    else:
        batch = domain.chunks.writing()
        tree = domain.branches.tree(domain.branches.head(MAIN) if domain.branches.names() else b"")
        names = {name: None for name, _ in tree.scan()}
        found = store_files(batch, domain.cutter, files_below(data), known=tree.find)
        edits = {**names, **dict(found)}
        domain.branches.commit(MAIN, edits, batch, Author(by="benchmark"))
    close()


def commands(tool: str, step: str, folder: Path, data: Path, out: Path) -> list[list[str]]:
    """What runs for a step, the first of them before the clock."""
    store = str(folder / "repository")
    if tool == "lepton":
        return [[], [sys.executable, __file__, "--step", step, str(folder), str(data), str(out)]]
    if tool == "restic":
        begin = ["restic", "init", "-q", "-r", store, "--repository-version", "2"] if step == "first" else []
        if step == "restored":
            return [begin, ["restic", "restore", "-q", "-r", store, "latest", "--target", str(out)]]
        return [begin, ["restic", "backup", "-q", "--force", "-r", store, "."]]
    begin = ["borg", "init", "-e", "repokey-blake2", store] if step == "first" else []
    if step == "restored":
        return [begin, ["borg", "extract", f"{store}::edited"]]
    return [begin, ["borg", "create", "-C", "zstd,3", "--files-cache=disabled", f"{store}::{step}", "."]]


def cpu(command: list[str], where: Path, environment: Mapping[str, str]) -> float:
    """CPU seconds of a command on one core."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["taskset", "-c", "0", *command], check=True, cwd=where, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(tool: str, folder: Path, data: Path) -> dict[str, float]:
    """CPU seconds of each step, and what was stored."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    environment = {**os.environ, **SECRETS, "BORG_BASE_DIR": str(folder / "b"), "RESTIC_CACHE_DIR": str(folder / "c")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    environment |= {"PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    kept = folder / ("vault" if tool == "lepton" else "repository")
    found: dict[str, float] = {}
    for step in STEPS:
        out = folder / "out"
        out.mkdir(exist_ok=True)
        where = out if step == "restored" else (data / "edited" if step == "edited" else data / "first")
        begin, command = commands(tool, step, folder, where, out)
        if begin:
            subprocess.run(begin, check=True, env=environment, capture_output=True)
        before = size_of(kept) if kept.exists() else 0
        found[step] = cpu(command, where, environment)
        found[f"{step}_stored"] = size_of(kept) - before
    subprocess.run(["diff", "-r", str(data / "edited"), str(_restored(out))], check=True)
    shutil.rmtree(folder)
    return found


def _restored(out: Path) -> Path:
    """Where the files are: restic puts them below the path that they had."""
    while not (out / "text.txt").exists():
        (out,) = out.iterdir()
    return out


def reads(folder: Path) -> dict[str, float]:
    """Sequential read of noise and random reads of 4 KiB, through the library, in this process."""
    domain, close = opened(folder)
    body = np.random.default_rng(3).bytes(256 << 20)
    batch = domain.chunks.writing()
    blob = write(batch, domain.cutter, [body])
    batch.finish()
    begun = time.process_time()
    size = sum(len(piece) for piece in read(domain.chunks, blob))
    speed = size / (time.process_time() - begun) / 1e6
    chance, count = random.Random(4), 1000
    begun = time.process_time()
    for _ in range(count):
        at = chance.randrange(len(body) - 4096)
        b"".join(map(bytes, read(domain.chunks, blob, start=at, stop=at + 4096)))
    each_ms = (time.process_time() - begun) / count * 1000
    close()
    shutil.rmtree(folder)
    return {"sequential_mb_s": speed, "random_4k_ms": each_ms}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/lepton-vault"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--step", nargs=4)
    given = parser.parse_args()
    if given.step:
        step, folder, data, out = given.step
        ours(step, Path(folder), Path(data), Path(out))
        return
    data = given.folder / "data"
    shutil.rmtree(given.folder, ignore_errors=True)
    make(data / "first")
    shutil.copytree(data / "first", data / "edited")
    edit(data / "edited")
    runs: dict[str, list[dict[str, float]]] = {"lepton": [], "restic": [], "borg": []}
    for _ in range(given.runs):
        for tool, found in runs.items():
            found.append(measure(tool, given.folder / tool, data))
    size = size_of(data / "first")
    told = {"bytes": size, "runs": runs, "reads": reads(given.folder / "reads"), "load": os.getloadavg()}
    shutil.rmtree(given.folder)
    (HERE / "raw").mkdir(exist_ok=True)
    (HERE / "raw" / "vault.json").write_text(json.dumps(told, indent=1) + "\n")
    page = render(told) + (HERE / "VAULT.why.md").read_text()
    (HERE / "VAULT.md").write_text(page)
    print(page)


def render(told: Mapping[str, Any]) -> str:
    """The page."""
    half = {tool: {key: median(run[key] for run in found) for key in found[0]} for tool, found in told["runs"].items()}
    size, rows, tools = told["bytes"], [], ("lepton", "restic", "borg")
    names = {"first": "first backup", "second": "second pass", "edited": "after the edit", "restored": "restore"}
    for step, name in names.items():
        speeds = [size / 1e6 / half[tool][step] for tool in tools]
        rows.append(f"| {name}, MB/s | {_cells(speeds, 0)} | {speeds[0] / max(speeds[1:]):.2f} |")
    for key, name in (("first_stored", "stored, MB"), ("edited_stored", "added by the edit, MB")):
        stored = [half[tool][key] / 1e6 for tool in tools]
        rows.append(f"| {name} | {_cells(stored, 1)} | {stored[0] / min(stored[1:]):.2f} |")
    found = told["reads"]
    return PAGE.format(
        mb=f"{size / 1e6:.0f}",
        runs=len(told["runs"]["lepton"]),
        load=f"{told['load'][0]:.1f}",
        rows="\n".join(rows),
        row=f"{found['sequential_mb_s']:.0f}",
        random=f"{found['random_4k_ms']:.3f}",
    )


def _cells(values: list[float], digits: int) -> str:
    return " | ".join(f"{value:.{digits}f}" for value in values)


PAGE = """# The vault beside restic and borg

`python benchmarks/vault.py`: {mb} MB of text, weights (twice), CSV, compressed columns and 2,000 files of noise. MB for
each second of CPU (user and system, on one core, the start of the process included), medians of {runs} runs in turn;
load of the machine at the end {load}. What is restored is compared with `diff -r`. Raw: `raw/vault.json`.

| | Lepton | restic | borg | Lepton to the best peer |
| --- | --- | --- | --- | --- |
{rows}

Through the library: noise is read in a row at {row} MB/s of CPU with all ids computed again; 4 KiB at random take
{random} ms of CPU.
"""


if __name__ == "__main__":
    main()
