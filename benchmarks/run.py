"""Measure everything and write the table in benchmarks/README.md.

    DSTACK=.../dstack RAY=.../ray python benchmarks/run.py [--largest 1000000]

The peers are left out where their commands are not given. Run it on a machine that does nothing else.
"""

import argparse
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import growth
import house
import peers
import starts

HERE = Path(__file__).parent
Figures = dict[str, float]
GOALS = {
    "import lepton, CPU s": "< 0.1",
    "lepton --help, CPU s": "< 0.2",
    "up to first answer, s": "< 2",
    "resident, MB": "< 150",
    "idle, cores": "< 0.01",
    "submit to running Python, ms": "< 100",
    "submissions a second": ">= 500",
    "API at 200/s, p99 ms": "< 25",
    "train: warm start to run() entered, ms": "< 100",
    "serve: warm start to run() entered, ms": "< 100",
    "of 1000 log followers, with every byte": "1000",
    "listing 100 of 1,000,000 finished jobs, ms": "< 20",
}
RATIOS = (
    (
        "start to first answer, s",
        "up to first answer, s",
        ("dstack: start to first answer, s", "Ray: start to first answer, s"),
    ),
    ("CPU to start, s", "up, CPU s", ("dstack: CPU to start, s", "Ray: CPU to start, s")),
    ("resident, MB", "resident, MB", ("dstack: resident, MB", "Ray: resident, MB")),
    ("submit to acknowledgement, ms", "submit to acknowledgement, ms", ("dstack: submit to acknowledgement, ms", "")),
    ("`echo`-sized job, submit to done seen, ms", "submit to done seen, ms", ("", "Ray: submit to done seen, ms")),
)


def shown(value: float) -> str:
    """A figure with three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def own_table(figures: Figures) -> list[str]:
    """Our figures beside their goals."""
    rows = [f"| {name} | {GOALS.get(name, '')} | {shown(value)} |" for name, value in figures.items()]
    return ["| what | goal | measured |", "| --- | --- | --- |", *rows]


def ratio_table(figures: Figures, versions: dict[str, str]) -> list[str]:
    """Our figures beside the peers', as measured and as a ratio."""
    names = [f"{peer} {versions[peer]}" if peer in versions else peer for peer in ("dstack", "Ray")]
    lines = [f"| what | Lepton | {names[0]} | {names[1]} |", "| --- | --- | --- | --- |"]
    for what, own, theirs in RATIOS:
        cells = [_against(figures, own, peer) for peer in theirs]
        lines.append(f"| {what} | {shown(figures[own])} | {' | '.join(cells)} |")
    return lines


def _against(figures: Figures, own: str, peer: str) -> str:
    if peer not in figures:
        return "-"
    return f"{shown(figures[peer])} ({figures[peer] / figures[own]:.1f}x)"


def growth_table(rows: dict[int, Figures], what: str) -> list[str]:
    """One row a number of jobs."""
    columns = list(next(iter(rows.values())))
    head = [f"| {what} | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    return head + [f"| {count:,} | {' | '.join(shown(row[name]) for name in columns)} |" for count, row in rows.items()]


def main() -> None:
    """Measure, write, plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=growth.STORED[-1])
    options = parser.parse_args()
    figures: Figures = {}
    versions: dict[str, str] = {}
    for part in (*house.ALL, *starts.ALL):
        print(part.__name__, flush=True)
        figures |= part()
    for name, variable, peer in (("dstack", "DSTACK", peers.dstack), ("Ray", "RAY", peers.ray)):
        if variable in os.environ:
            print(name, flush=True)
            versions[name] = peers.version(os.environ[variable])
            figures |= peer(os.environ[variable])
    by_running = {count: growth.simulated(count) for count in growth.RUNNING}
    by_stored = {}
    for count in (count for count in growth.STORED if count <= options.largest):
        print(f"{count} stored", flush=True)
        by_stored[count] = growth.stored(count)
    if 1_000_000 in by_stored:
        figures["listing 100 of 1,000,000 finished jobs, ms"] = by_stored[1_000_000]["list 100 ms"]
    growth.plot(HERE / "growth.svg", by_stored, by_running)
    own = {name: value for name, value in figures.items() if not name.startswith(("dstack", "Ray"))}
    tables = {
        "OWN": own_table(own),
        "PEERS": ratio_table(figures, versions),
        "STORED": growth_table(by_stored, "finished jobs stored"),
        "RUNNING": growth_table(by_running, "jobs running (simulated)"),
        "WHERE": [where()],
    }
    text = (HERE / "README.template.md").read_text()
    for mark, lines in tables.items():
        text = text.replace(f"<!-- {mark} -->", "\n".join(lines))
    (HERE / "README.md").write_text(text)


def where() -> str:
    """The machine, the commit and the day."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True, cwd=HERE
    )
    load = os.getloadavg()[2]
    cores = len(os.sched_getaffinity(0))
    day = datetime.now(UTC).date().isoformat()
    return (
        f"Measured {day} at commit {commit.stdout.strip()}: {cores} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, load average over the last 15 minutes {load:.1f}."
    )


if __name__ == "__main__":
    main()
