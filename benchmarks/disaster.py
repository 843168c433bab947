"""A platform's files and models through changes, backups and the loss of the machine; everything is compared after.

    npm pack vega-datasets@3.2.1 && tar xzf vega-datasets-3.2.1.tgz package/data/flights-3m.parquet
    python benchmarks/disaster.py --flights package/data/flights-3m.parquet

Ingests 3,000,000 rows and 10,000 images; edits, branches, compares, looks back, rotates keys; backs up to a real SMB
share (Samba) and a real S3 bucket (SeaweedFS) under retention; kills the server and deletes its data directory. Then
restores with `tools/restore.py` alone from one, and with `lepton vault restore` from the other; compares all content by
SHA-256, and asks the restored platform's endpoint. Every step is what a user would type. Needs root, for Samba.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.backends.process import Storage  # noqa: E402  the servers that the tests use
from tests.backends.samba import samba  # noqa: E402
from tests.backends.seaweed import seaweed  # noqa: E402

LEPTON = [sys.executable, "-m", "lepton.cli.main"]
AT = "lepton://default"
EDITED_ROWS = 1000
KEPT = 2
LINES = list[str]()
"""Of what was printed, for the raw file."""


class Shell:
    """The commands of one platform, with the credentials of one storage."""

    def __init__(self, data: Path, storage: Storage | None = None) -> None:
        self.data = data
        named = storage.credentials.__dataclass_fields__ if storage else {}
        self._secrets = {
            f"LEPTON_STORAGE_{name.upper()}": str(value)
            for name in named
            if (value := getattr(storage.credentials, name))  # type: ignore[union-attr]
        }

    def __call__(self, *words: object, **extra: str) -> str:
        """What a command prints; one that fails ends all."""
        environment = {**os.environ, **self._secrets, **extra, "LEPTON_DATA": str(self.data)}
        done = subprocess.run([*LEPTON, *map(str, words)], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"lepton {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *words: object) -> Any:
        """What a command says as JSON."""
        return json.loads(self(*words, "--json"))

    def at(self, storage: Storage) -> "Shell":
        """The same platform, with what opens a storage."""
        return Shell(self.data, storage)


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """A line for each step, with its seconds."""
    said, began = list[str](), time.perf_counter()
    yield said.append
    line = f"{name:44} {time.perf_counter() - began:6.1f} s  {'; '.join(said)}"
    print(line, flush=True)
    LINES.append(line)


def tables(flights: Path, folder: Path) -> int:
    """The rows as one table of text, which is edited, and as the Parquet file that they came in."""
    frame = pandas.read_parquet(flights)
    folder.mkdir(parents=True)
    shutil.copy2(flights, folder / "flights.parquet")
    frame.to_csv(folder / "flights.csv", index=False)
    return len(frame)


def images(folder: Path) -> int:
    """The images of the examples' archive, each a file."""
    with tarfile.open(ROOT / "examples" / "mnist-raw.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return sum(1 for path in folder.rglob("*") if path.is_file())


def edit(table: Path) -> None:
    """Some rows in the middle say something else."""
    lines = table.read_text().splitlines(keepends=True)
    first = len(lines) // 2
    rows = list(csv.reader(lines[first : first + EDITED_ROWS]))
    lines[first : first + EDITED_ROWS] = [",".join([row[0], "9999", *row[2:]]) + "\n" for row in rows]
    table.write_text("".join(lines))


def digests(folder: Path) -> Mapping[str, str]:
    """Name -> SHA-256 of every file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def stored(shell: Shell, ref: str = "main") -> Mapping[str, str]:
    """Name -> SHA-256 of every file of a version, as the platform says."""
    return {item["name"]: item["sha256"] for item in shell.json("vault", "ls", "-R", f"lepton://default@{ref}/")}


def ask(shell: Shell, image: np.ndarray) -> Any:
    """The endpoint's answer, by the command line."""
    with TemporaryDirectory() as folder:
        Path(folder, "image.json").write_text(json.dumps(image.tolist()))
        return shell.json("serve", "call", "digits", f"@{folder}/image.json")["outputs"]


def kill(data: Path) -> None:
    """End the server without a word, and all that it started, as a fire would."""
    server = json.loads((data / "server.json").read_text())["pid"]
    os.kill(server, signal.SIGKILL)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if str(data).encode() in told and int(process.name) not in (os.getpid(), os.getppid()):
                os.kill(int(process.name), signal.SIGKILL)


def change(shell: Shell, here: Path) -> dict[str, Mapping[str, str]]:
    """Edits, branches, comparisons, looks into the past, new keys; return what each version must hold."""
    expected = {"v1": stored(shell)}
    with step("tag, branch, edit 1,000 rows there") as say:
        shell("vault", "tag", AT, "v1")
        shell("vault", "branch", AT, "cleaning")
        before = shell.json("vault", "quota", AT)["stored_bytes"]
        edit(here / "tables" / "flights.csv")
        shell("vault", "cp", here / "tables" / "flights.csv", f"{AT}@cleaning/tables/flights.csv", "-m", "delays")
        added = shell.json("vault", "quota", AT)["stored_bytes"] - before
        say(f"{added / 1e6:.2f} MB more are stored of {(here / 'tables' / 'flights.csv').stat().st_size / 1e6:.0f}")
    with step("remove a file on main, compare, merge") as say:
        shell("vault", "rm", f"{AT}/images/labels.csv", "-m", "fewer")
        differs = shell.json("vault", "diff", f"{AT}@cleaning", "main")
        assert {each["name"] for each in differs} == {"tables/flights.csv", "images/labels.csv"}, differs
        shell("vault", "merge", AT, "cleaning")
        expected["main"] = stored(shell)
        assert expected["main"]["tables/flights.csv"] == digests(here / "tables")["flights.csv"]
        assert "images/labels.csv" not in expected["main"]
        say(f"{len(differs)} files differ; {len(expected['main']):,} files on main")
    with step("look back: the tag is what it was") as say:
        assert stored(shell, "v1") == expected["v1"]
        version = shell.json("vault", "log", AT)[-1]["version"]
        assert shell("vault", "ls", f"{AT}@{version[:12]}/")
        say(f"{len(expected['v1']):,} files")
    with step("rotate all keys, beside the server"):
        shell("vault", "rotate-key", "--all")
        assert stored(shell) == expected["main"]
        shell("vault", "cp", f"{AT}/tables/flights.csv", here / "after-rotation.csv")
        assert digests(here)["after-rotation.csv"] == expected["main"]["tables/flights.csv"]
    return expected


def back_up(shell: Shell, storages: Mapping[str, Storage], key: Path) -> dict[str, Any]:
    """Three backups to each place, two of them kept; return what the last of each holds of main, and its number."""
    shell("vault", "recovery-key", "--out", key)
    held = dict[str, Any]()
    for name, storage in storages.items():
        there = shell.at(storage)
        for number in range(3):
            (key.parent / "note").write_text(f"before backup {number + 1} to {name}")
            shell("vault", "cp", key.parent / "note", f"{AT}/notes/{name}-{number}.txt")
            with step(f"backup {number + 1} to {name}") as say:
                new = ["--new"] if number == 0 else []
                told = there.json("vault", "backup", "--to", storage.url, *new)
                say(f"{told['new_bytes'] / 1e6:.1f} MB new of {told['size_bytes'] / 1e6:.1f}")
        held[name], held[f"{name} number"] = stored(shell), told["number"]
        with step(f"forget at {name}: keep the last {KEPT}") as say:
            there("vault", "forget", "--at", storage.url, "--keep-last", KEPT)
            say(f"{len(there.json('vault', 'backups', '--at', storage.url))} are left")
        with step(f"verify at {name}, every byte") as say:
            say(there("vault", "verify", "--at", storage.url).strip())
    shell("vault", "recovery-key", "--refresh", key)
    return held


def main() -> None:
    """The whole of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/lepton-disaster"))
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    with ExitStack() as stack:
        storages = {"SMB": stack.enter_context(samba()), "S3": stack.enter_context(seaweed())}
        stack.callback(shutil.rmtree, given.folder, ignore_errors=True)
        run(given.folder, given.flights, storages)
    print("everything is as it was")
    (ROOT / "benchmarks" / "raw" / "disaster.txt").write_text("\n".join([*LINES, "everything is as it was", ""]))


def run(folder: Path, flights: Path, storages: Mapping[str, Storage]) -> None:
    """One life, one death, two restorations."""
    here, first, second = folder / "here", folder / "first", folder / "second"
    shell, key = Shell(first), folder / "recovery.json"
    with step("the walk: data to a served model") as say:
        shell("up", "-d", "--port", 0)
        shell("walk", "--keep")
        say("endpoint digits")
    with step("ingest rows and images") as say:
        rows, count = tables(flights, here / "tables"), images(here / "images")
        shell("vault", "cp", "-r", here, AT, "-m", "ingest")
        say(f"{rows:,} rows, {count:,} files; {shell.json('vault', 'quota', AT)['stored_bytes'] / 1e6:.1f} MB stored")
    expected = change(shell, here)
    image = np.zeros((1, 28, 28), dtype=np.uint8) + np.arange(28, dtype=np.uint8) * 9
    answer = ask(shell, image)
    held = back_up(shell, storages, key)
    with step("the machine is lost: kill -9, rm -rf"):
        kill(first)
        shutil.rmtree(first)
    with step("tools/restore.py from the SMB share's folder") as say:
        share = storages["SMB"].folder / "share" / storages["SMB"].url.partition("/data/")[2].partition("?")[0]
        command = [sys.executable, "-I", ROOT / "tools" / "restore.py", "--from", share, "--recovery-key", key]
        command += ["--backup", held["SMB number"]]  # the key knows that the bucket has newer ones
        done = subprocess.run([*map(str, command), "--into", str(folder / "plain")], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        plain = folder / "plain" / "default" / "branches" / "main"
        assert digests(plain) == held["SMB"], "plain files differ"
        assert digests(plain.parent / "tags" / "v1") == expected["v1"], "tagged files differ"
        say(f"{len(held['SMB']):,} files of main and {len(expected['v1']):,} of v1 have the SHA-256 they had")
    again = Shell(second, storages["S3"])
    with step("lepton vault restore from S3") as say:
        url = storages["S3"].url
        say(again("vault", "restore", "--from", url, "--recovery-key", key, "--into", second).strip().splitlines()[0])
    with step("the restored platform: files, key, endpoint") as say:
        again("up", "-d", "--port", 0)
        assert stored(again) == held["S3"] and stored(again, "v1") == expected["v1"]
        again("vault", "cp", "-r", f"{AT}@v1/", folder / "out")
        assert digests(folder / "out") == expected["v1"], "files of the restored platform differ"
        assert np.allclose(np.asarray(flat(ask(again, image))), np.asarray(flat(answer)), atol=1e-4)
        say("the endpoint answers as it did")
    kill(second)


def flat(answer: Any) -> list[float]:
    """The numbers of an answer, in order."""
    if isinstance(answer, Mapping):
        return [number for name in sorted(answer) for number in flat(answer[name])]
    if isinstance(answer, list):
        return [number for item in answer for number in flat(item)]
    return [float(answer)] if isinstance(answer, int | float) or str(answer).isdigit() else []


if __name__ == "__main__":
    main()
