"""A live pool of pretend machines under load, and what happens to it: failing, returning, kill -9, takeover.

python benchmarks/live.py [--short] [--nodes 200] [--seed 1] [--part alone|pair] [--database postgresql://...] [--json]

A real `lepton up --engine fleet` on a temporary folder; four teams submit a mixed load over the SDK. Each act is
followed by a look, from outside, whether any machine was ever given more than it has and whether any job was lost or
started twice (`live_books`). Figures go to standard output, what happens to standard error; the exit code is 1 if
anything was wrong. To watch it: `LEPTON_DATA=DIR lepton pool top`, with the folder that it names.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory

from live_acts import back, busy, calm, cordon, drain, fail, killed, reclaim, taken_over
from live_books import Books
from live_load import Load
from live_servers import HEARTBEAT_S, LEASE_S, Fleet, Server, postgres, serving
from live_stage import Plan, Stage, say

from lepton.core.errors import LeptonError

Act = Callable[[Stage], Awaitable[dict[str, float]]]
Figures = dict[str, dict[str, float]]
ALONE: Mapping[str, Act] = {
    "calm: more room than jobs": calm,
    "busy: more jobs than room": busy,
    "machines fail": fail,
    "machines return": back,
    "a rack is cordoned": cordon,
    "machines are drained": drain,
    "a guarantee is taken back": reclaim,
    "kill -9 of the server": killed,
}
PAIR: Mapping[str, Act] = {
    "two servers on one Postgres, more room than jobs": calm,
    "kill -9 of the one that decides": taken_over,
}


async def show(stage: Stage, acts: Mapping[str, Act]) -> None:
    """Take the acts one after the other under one load, then let everything end."""
    name = "the beginning"
    try:
        count = len(stage.fleet.all)
        await stage.until_up(lambda up: len(up) == count, "the machines are there")
        await stage.load.prepare()
        for name, act in acts.items():
            say(name)
            stage.figures[name] = await act(stage)
            for figure, value in stage.figures[name].items():
                say(f"  {value:10.3f}  {figure}")
            await stage.check(name)
            await stage.go_on(stage.plan.rest_s)
        await stage.lepton("pool", "top", "--once")
        say("everything runs to its end")
        await stage.finish()
    except (LeptonError, TimeoutError, IndexError) as fault:
        stage.faults += [f"{name}: {type(fault).__name__}: {fault}", *stage.load.refused]
    finally:
        say(f"  {len(stage.load.submitted)} jobs, {len(stage.faults) or 'nothing'} wrong")
        await stage.load.close()


def alone(folder: Path, plan: Plan) -> Stage:
    """One server on SQLite."""
    fleet = Fleet(folder / "fleet", plan.nodes)
    server = Server(folder / "one", fleet)
    with serving(server):
        server.up()
        say(f"watch it: LEPTON_DATA={server.data} lepton pool top")
        stage = asyncio.run(_stage(plan, fleet, [server], ALONE))
    return stage


def pair(folder: Path, plan: Plan, url: str) -> Stage:
    """Two servers on one Postgres with one fleet; the load asks the second, the first decides."""
    fleet = Fleet(folder / "fleet", plan.nodes)
    shared = {"LEPTON_DATABASE": url, "LEPTON_STORAGE": str(folder / "packs")}
    first, second = (Server(folder / name, fleet, **shared) for name in ("first", "second"))
    with serving(first, second):
        first.up()
        for name in ("key", "token"):
            copy(first.data / name, second.data / name)
        second.up()
        return asyncio.run(_stage(plan, fleet, [first, second], PAIR))


async def _stage(plan: Plan, fleet: Fleet, servers: list[Server], acts: Mapping[str, Act]) -> Stage:
    gpus = plan.nodes * 8
    load = Load(servers[-1].data, gpus=gpus, mean_s=plan.mean_s, largest=plan.largest, seed=plan.seed)
    stage = Stage(plan, fleet, servers, load, Books(load.clients))
    load.is_flooded = stage.is_flooded
    await show(stage, acts)
    return stage


def main() -> int:
    """Take the whole show; 1 if anything was wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--short", action="store_true", help="20 machines, some seconds of load")
    options.add_argument("--nodes", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--database", default="", help="an empty Postgres for two servers; else one is started")
    options.add_argument("--part", choices=("alone", "pair"), help="one server, or two; else both")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    small = {"nodes": 20, "mean_s": 1.6, "calm_s": 1.5, "rest_s": 0.2, "fails": 4, "largest": 4}
    large = {"nodes": 200, "mean_s": 12.0, "calm_s": 20.0, "rest_s": 2.0, "fails": 20, "largest": 8}
    plan = Plan(
        **{**(small if given.short else large), **({"nodes": given.nodes} if given.nodes else {}), "seed": given.seed}
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server outlives the show
    begin, stages = time.monotonic(), []
    with TemporaryDirectory(prefix="lepton-live-") as folder:
        if given.part != "pair":
            stages.append(alone(Path(folder) / "alone", plan))
        if given.part != "alone":
            with nullcontext(given.database) if given.database else postgres() as url:
                if url:
                    stages.append(pair(Path(folder) / "pair", plan, url))
                else:
                    say("two servers are left out, for Postgres is not installed")
    figures = {name: found for stage in stages for name, found in stage.figures.items()}
    faults = [fault for stage in stages for fault in stage.faults]
    tell(figures, faults, plan, time.monotonic() - begin, is_json=given.json)
    return 1 if faults else 0


def tell(figures: Figures, faults: list[str], plan: Plan, took_s: float, *, is_json: bool) -> None:
    """Everything that was measured, and everything that was wrong: as JSON, or as the page `LIVE.md`."""
    if is_json:
        found = {"nodes": plan.nodes, "seed": plan.seed, "s": round(took_s, 1), "acts": figures, "faults": faults}
        print(json.dumps(found))
        return
    print("# A live pool under load\n\nMade by `python benchmarks/live.py`; see its docstring.\n")
    print(
        f"{plan.nodes} pretend machines of 8 GPUs in 4 racks, seed {plan.seed}. Servers, engine, load and checks share"
    )
    print(f"{os.cpu_count()} cores; heartbeats of {HEARTBEAT_S:g} s, leases of {LEASE_S:g} s. {took_s:.0f} s in all.")
    for name, found in figures.items():
        print(f"\n| {name} | |\n| --- | ---: |")
        for figure, value in found.items():
            print(f"| {figure} | {value:,.{0 if value == int(value) or value >= 100 else 2}f} |")
    print(f"\nWrong: {len(faults) or 'nothing'}.")
    for fault in faults[:50]:
        print(f"- {fault}")


if __name__ == "__main__":
    sys.exit(main())
