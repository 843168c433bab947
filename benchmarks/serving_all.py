"""Measure all of serving, keep every run as a line in raw/, and make SERVING.md and its picture from them."""

import argparse
import json
import os
import platform as machine
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import serving_crowd as crowd
import serving_growth as growth
import serving_peers as peers
import wrk
from serving_first import first
from serving_models import prepare
from serving_ours import platform
from serving_page import page
from serving_replicas import idle, replicas
from serving_rows import ROWS, Record, Run

HERE = Path(__file__).parent
BUSY = 2.5
"""Load average, our own load included, above which somebody else was at work."""
RAW, PAGE, PICTURE = HERE / "raw", HERE / "SERVING.md", HERE / "serving-growth.svg"
CURVES = {**growth.CURVES, "endpoints": crowd.endpoints}
PARTS = (*ROWS, "replicas", "idle", *(f"growth-{name}" for name in CURVES))


def measure(options: argparse.Namespace) -> None:
    """Measure the parts that were asked for; each replaces its own file of raw records."""
    RAW.mkdir(exist_ok=True)
    for part in options.parts or PARTS:
        begun = monotonic()
        lines = [{"row": "meta", "part": part, "first": options.first, **surroundings()}]
        lines += _part(part, options)
        (RAW / f"serving-{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        say(f"{part}: {len(lines) - 1} records in {monotonic() - begun:.0f} s")


def _part(part: str, options: argparse.Namespace) -> list[Record]:
    """The records of one part; a fault in it costs the others nothing."""
    found: list[Record] = []
    try:
        for record in _records(part, options):
            found.append(record)
            say(f"  {part}: {json.dumps(record)}")
    except Exception as fault:  # noqa: BLE001  whatever went wrong is told on the page
        say(f"  {part}: {type(fault).__name__}: {fault}")
        found.append({"row": part, "server": "lepton", "absent": f"failed: {type(fault).__name__}: {str(fault)[:300]}"})
    return found


def _records(part: str, options: argparse.Namespace) -> Iterator[Record]:
    if part.startswith("growth-"):
        yield from CURVES[part.removeprefix("growth-")]()
        return
    with run_of(options) as run:
        measured = {"replicas": replicas, "idle": idle, **ROWS}[part]
        yield from measured(run)


@contextmanager
def run_of(options: argparse.Namespace) -> Iterator[Run]:
    """A folder and a platform for one part."""
    folder = Path(tempfile.mkdtemp(prefix="ls-", dir="/tmp"))
    try:
        for file in models(options):
            (folder / file.name).symlink_to(file)
        with platform(folder) as home:
            yield Run(folder, home, options.repeats, options.seconds, 32, tuple(options.peers))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def models(options: argparse.Namespace) -> Iterable[Path]:
    """The exported models, made once for all parts."""
    if not any(options.made.iterdir()):
        fault = prepare(options.made)
        if fault:
            say(f"  models: {fault}")
    return options.made.glob("*.onnx")


def surroundings() -> dict[str, Any]:
    """When and where."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short", "HEAD"),
        "cores": os.cpu_count(),
        "python": machine.python_version(),
        "load": os.getloadavg()[0],
    }


def git(*words: str) -> str:
    """What git says; empty outside a checkout."""
    done = subprocess.run(["git", "-C", str(HERE), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def write_page() -> None:
    """SERVING.md and the picture, from what is in raw/."""
    from serving_plot import plot  # noqa: PLC0415  matplotlib, only for the picture

    records: list[Record] = []
    for part in PARTS:
        file = RAW / f"serving-{part}.jsonl"
        if file.exists():
            records += map(json.loads, file.read_text().splitlines())
    PAGE.write_text(
        page(
            records, where(records), 1 + max((one.get("turn", 0) for one in records if one["row"] == "echo"), default=0)
        )
    )
    plot(records, PICTURE)
    say(f"wrote {PAGE.name} and {PICTURE.name}")


def where(records: list[Record]) -> str:
    """When and where the raw records were made, in one sentence."""
    told = [one for one in records if one["row"] == "meta"]
    commits = ", ".join(sorted({one["commit"] for one in told}))
    days = ", ".join(sorted({one["at"][:10] for one in told}))
    place = f"on {told[0]['cores']} cores, Python {told[0]['python']}"
    most = max(one["load"] for one in told)
    busy = f" Others used the machine too (load up to {most:.1f}): of these figures only ratios mean much."
    first = ", ".join(sorted({f"`{one['part']}`" for one in told if one.get("first")}))
    went = f" Of the parts {first} the servers and the load went before all others (`--first`)." if first else ""
    return f"Measured {days} at commit {commits} {place}.{busy + went if most > BUSY else ''}"


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def main(words: list[str]) -> None:
    """`table` measures and writes; `page` only writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="What to measure; nothing: all.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peers", nargs="*", default=[], help="Only these peers.")
    parser.add_argument("--first", action="store_true", help="Let what is measured go before all others; as root.")
    options = parser.parse_args(words)
    if not wrk.is_there():
        sys.exit("wrk is needed: apt install wrk")
    peers.spec()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running then either
    with ExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="lm-", dir="/tmp"))
        if options.first:
            stack.enter_context(first())
        options.made = Path(made)
        measure(options)
    write_page()
