"""Our server beside its peers: CPU of the server's whole process tree a request, on one core, the same work for all.

    export SERVING_BENCH=path/to/bench/serving VENVS=folder/of/the/peers
    python benchmarks/serving.py table [PART ...] [--repeats 3] [--seconds 3] [--peers NAME ...] [--first]
    python benchmarks/serving.py page
    python benchmarks/serving.py [WORK[:PEER,PEER...]] ...

`table` measures every row of the table of numbers and the growth of the costs (some ten minutes; or only the parts
that are named), keeps each run as a line in raw/serving-PART.jsonl, and writes SERVING.md and its picture; `page` only
writes them anew. The last form runs single works with that folder's own script:

The measuring script and the peers are that folder's own (its README says which virtual environments they want, and that
`wrk` is needed); ours is one entry more. A peer whose environment is not there is left out. Raw results go to
`benchmarks/results/serving.jsonl`, the table to standard output. Without arguments all of `WORKS` is run.
"""

import importlib
import os
import statistics
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
OURS = "lepton"
WORKS = {
    "echo": ["raw_proto", "fastapi", "mosec", "litserve"],
    "cnn-batch": ["raw_proto", "fastapi", "mosec", "litserve"],
    "cnn-batch-ort": ["raw_proto", "fastapi", "mosec"],
    "minilm-ort-batch": ["raw_proto", "mosec"],
    "stream": ["granian_rsgi", "raw_proto", "fastapi"],
}
FILES = {
    "echo": "echo.py",
    "cnn-batch": "cnn.py",
    "cnn-batch-ort": "cnn_ort.py",
    "minilm-ort-batch": "encoder.py",
    "stream": "stream.py",
}


def load_bench() -> ModuleType:
    """The measuring script, with our entry among its peers."""
    folder = os.environ.get("SERVING_BENCH", "")
    if not (Path(folder) / "bench.py").is_file():
        sys.exit("SERVING_BENCH is not the folder that holds bench.py")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    os.environ.setdefault("OUT", str(results / "serving.jsonl"))
    os.environ.setdefault("SECS", "4")
    sys.path.insert(0, folder)
    return importlib.import_module("bench")


def ours(work: str) -> dict[str, Any]:
    """Our entry for a work."""
    command = ["{py}", "-m", "lepton.cli.main", "serve", "run", str(HERE / "served" / FILES[work])]
    return {"cmd": [*command, "--port", "{port}", "--no-reload"], "path": str(HERE.parent)}


def figures(record: dict[str, Any]) -> dict[str, float] | None:
    """Medians of one peer's runs; None if it failed."""
    runs = [run for run in record.get("runs", ()) if "rps" in run]
    many, one = [run for run in runs if run["conns"] != 1], [run for run in runs if run["conns"] == 1]
    if not many or sum(sum(run["err"].values()) for run in runs):
        return None
    return {
        "cpu_us": statistics.median(run["cpu_us"] for run in many),
        "rps": statistics.median(run["rps"] for run in many),
        "p50_ms": statistics.median(run["p50"] for run in many),
        "p50_1_ms": statistics.median(run["p50"] for run in one) if one else float("nan"),
        "pss_mb": record["idle_pss_mb"],
        "cold_s": record["cold_s"],
    }


def main() -> None:
    """Run the works that were named, or all, and print a table of each."""
    if sys.argv[1:2] in (["table"], ["page"]):
        sys.path.insert(0, str(HERE.parent))
        whole = importlib.import_module("serving_all")
        whole.main(sys.argv[2:]) if sys.argv[1] == "table" else whole.write_page()
        return
    bench = load_bench()
    for asked in sys.argv[1:] or WORKS:
        work, _, names = asked.partition(":")
        bench.PEERS[OURS] = ours(work)
        peers = names.split(",") if names else WORKS[work]
        found: dict[str, dict[str, float]] = {}
        for peer in [OURS, *(name for name in peers if name != OURS)]:
            venv = bench.PEERS[peer].get("venv")
            if venv and not (Path(bench.VENVS) / venv / "bin" / "python").exists():
                continue
            row = figures(bench.run(work, peer))
            if row is not None:
                found[peer] = row
        print(table(work, found), flush=True)


def table(work: str, found: dict[str, dict[str, float]]) -> str:
    """The figures of one work as a table, with each peer's CPU as a multiple of ours."""
    own = found.get(OURS, {}).get("cpu_us", float("nan"))
    lines = [
        f"\n### {work}\n",
        "| server | CPU us | times ours | req/s | p50 ms, 32 conn. | p50 ms, 1 conn. | idle PSS MB | first answer s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for peer, row in sorted(found.items(), key=lambda pair: pair[1]["cpu_us"]):
        lines.append(
            f"| {peer} | {row['cpu_us']:.1f} | {row['cpu_us'] / own:.2f} | {row['rps']:,.0f} | {row['p50_ms']:.2f} "
            f"| {row['p50_1_ms']:.3f} | {row['pss_mb']:.0f} | {row['cold_s']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
