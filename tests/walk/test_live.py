"""The live show in its short form: machines fail and return and servers are killed, under load, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SHOW = Path(__file__).parents[2] / "benchmarks" / "live.py"
SHOW_S = 300


def show(*flags: str) -> dict[str, dict[str, float]]:
    """Act -> figures; fails if anything was wrong."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
    done = subprocess.run(
        [sys.executable, str(SHOW), "--short", "--json", *flags],
        env=plain,
        capture_output=True,
        text=True,
        timeout=SHOW_S,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["faults"] == [] and done.returncode == 0, (told["faults"][:20], done.stderr[-3000:])
    acts: dict[str, dict[str, float]] = told["acts"]
    return acts


def test_a_pool_under_load_outlives_failing_machines_and_kill_9_of_its_server() -> None:
    acts = show("--part", "alone")
    assert acts["machines fail"]["jobs lost"] > 0 and acts["machines return"]["machines"] == 4
    assert acts["busy: more jobs than room"]["GPUs in use"] > 0.5
    assert acts["kill -9 of the server"]["jobs that ended meanwhile"] > 0


def test_of_two_servers_with_one_fleet_the_other_goes_on_deciding(fresh_postgres: str) -> None:
    acts = show("--part", "pair", "--database", fresh_postgres)
    assert acts["kill -9 of the one that decides"]["s to the next start"] < 60
