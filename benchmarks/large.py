"""One large object of seeded random bytes into a platform and out of it, by its commands: how much memory that takes.

    python benchmarks/large.py [--gb 20] [--folder DIR]

The bytes come through a pipe and leave through one, so that only the vault's own take room on the disk. Prints, for the
server and for the command, the most memory that each has held (`VmHWM`), before and after; writes raw/large.txt. What
comes out must have the SHA-256 of what went in.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

HERE = Path(__file__).parent
LEPTON = [sys.executable, "-m", "lepton.cli.main"]
OBJECT = "lepton://default/large.bin"
PIECE_BYTES = 8 << 20


@contextmanager
def platform(data: Path) -> Iterator[int]:
    """A server in `data`; gives its process."""
    os.environ["LEPTON_DATA"] = str(data)
    subprocess.run([*LEPTON, "up", "-d", "--port", "0"], check=True, capture_output=True)
    try:
        yield int(json.loads((data / "server.json").read_text())["pid"])
    finally:
        subprocess.run([*LEPTON, "down"], check=True, capture_output=True)


def most_mb(pid: int) -> float:
    """The most memory that a process has held."""
    told = Path(f"/proc/{pid}/status").read_text()
    return int(told.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def forget_most(pid: int) -> None:
    """From now on the most is counted anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def put(pieces: int, into: IO[bytes]) -> str:
    """Random bytes; returns their SHA-256."""
    chance, digest = np.random.default_rng(7), hashlib.sha256()
    for _ in range(pieces):
        body = chance.bytes(PIECE_BYTES)
        digest.update(body)
        into.write(body)
    return digest.hexdigest()


def take(out: IO[bytes], pid: int) -> tuple[str, float]:
    """The SHA-256 of what comes, and the most memory of who sends it, near its end."""
    digest, pieces, most = hashlib.sha256(), 0, 0.0
    while body := out.read(PIECE_BYTES):
        digest.update(body)
        pieces += 1
        if pieces % 10 == 1 and len(body) == PIECE_BYTES:
            most = most_mb(pid)
    return digest.hexdigest(), most


def way(name: str, server: int, pieces: int, *words: str) -> tuple[str, str]:
    """One way of the object; its SHA-256 and a line of what that took."""
    forget_most(server)
    began, before = time.perf_counter(), most_mb(server)
    process = subprocess.Popen([*LEPTON, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    if name == "in":
        digest = put(pieces, process.stdin)
        own = most_mb(process.pid)
        process.stdin.close()
    else:
        digest, own = take(process.stdout, process.pid)
    process.stdout.read()
    if process.wait():
        raise SystemExit(f"lepton {' '.join(words)} failed")
    took = time.perf_counter() - began
    after = most_mb(server)
    return digest, (
        f"{name}: {took:.0f} s, {pieces * PIECE_BYTES / 1e6 / took:.0f} MB/s; server {before:.0f} MB before, "
        f"{after:.0f} MB at most; command {own:.0f} MB at most"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lepton-large"))
    given = parser.parse_args()
    pieces = max(1, round(given.gb * 1e9 / PIECE_BYTES))
    shutil.rmtree(given.folder, ignore_errors=True)
    with platform(given.folder) as server:
        sent, went = way("in", server, pieces, "vault", "cp", "-", OBJECT)
        print(went, flush=True)
        came, out = way("out", server, pieces, "vault", "cat", OBJECT)
        print(out, flush=True)
    shutil.rmtree(given.folder)
    if sent != came:
        raise SystemExit("What came out is not what went in")
    (HERE / "raw").mkdir(exist_ok=True)
    (HERE / "raw" / "large.txt").write_text(f"{given.gb:g} GB of random bytes\n{went}\n{out}\n")


if __name__ == "__main__":
    main()
