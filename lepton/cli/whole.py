"""`lepton pool replay --table`: the whole table of a trace in one call, with fractions and speed where asked for."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lepton.cli.extra import array_code
from lepton.cli.output import Session

SEEDS = range(42, 52)
RUNS = 3
LARGE = (1_000_000, 10_000)
NODES, WAITING = (100, 1_000, 10_000, 100_000), (1_000, 10_000, 100_000)
OVERLOAD = 50.0
"""At which nearly all jobs of a trace wait at once."""
SIZES = ("1 GPU", "2-8 GPUs", "more than 8 GPUs")

Step = Callable[[str], None]


def show(session: Session, given: Any, options: Mapping[str, Any], step: Step) -> None:
    """Print all of it.

    Args:
        given: a `pool.table.Given`.
        options: `pods` and `machines`, files of fractions; `has_speed`.
    """
    found: dict[str, Any] = {"trace": given.trace.name, "table": array_code("lepton.pool.table").table(given, step)}
    if options["pods"]:
        found["fractions"] = fractions(options["pods"], options["machines"], step)
    if options["has_speed"]:
        found["speed"] = speed(given, step)
    if session.is_json:
        session.json(found)
        return
    for rows in tables(found):
        session.table(rows, None)
        session.say("", None)


def tables(found: Mapping[str, Any]) -> list[list[dict[str, str]]]:
    """What was found as tables of texts."""
    month = {label: each for label, each in found["table"].items() if isinstance(each, dict)}
    plain = {label: f"{each:.3f}" for label, each in found["table"].items() if not isinstance(each, dict)}
    said = [honesty(label, each) for label, each in month.items() if each.get("told", {}).get("jobs")]
    checks = [{"figure": label, "value": value} for label, value in plain.items()]
    checks += [row for label, each in month.items() if label.startswith("B,") for row in promised(label, each)]
    filled = found.get("fractions", {})
    fills = [
        {"GPUs that nobody gets, %": label, "mean": f"{each['mean']:.2f}", "CPU s a run": f"{each['cpu_s']:.1f}"}
        for label, each in filled.items()
    ]
    speeds = [
        {"speed": label, "CPU s, us where it says so": f"{each:.2f}"} for label, each in found.get("speed", {}).items()
    ]
    return [rows for rows in ([row_of(*each) for each in month.items()], checks, said, fills, speeds) if rows]


def row_of(label: str, each: Mapping[str, Any]) -> dict[str, str]:
    """One schedule."""
    return {
        "schedule": label,
        "mean JCT s": f"{each['mean_jct_s']:,.0f}",
        "mean queue s": f"{each['mean_queue_s']:,.0f}",
        "p99.9 queue s": f"{each['p999_queue_s']:,.0f}",
        "longest h": f"{each['longest_queue_h']:,.0f}",
    }


def honesty(label: str, each: Mapping[str, Any]) -> dict[str, str]:
    """How what waiting jobs were told held."""
    told = each["told"]
    inside = {size: told["inside_by_size"].get(size) for size in SIZES}
    usual = told["usual"]["winkler_s"]
    return {
        "told when they start": label,
        "waited": str(told["jobs"]),
        "inside %": f"{100 * told['inside']:.1f}",
        **{size: "" if share is None else f"{100 * share:.1f}" for size, share in inside.items()},
        "Winkler against usual": f"{told['winkler_s'] / usual:.2f}" if usual else "",
    }


def promised(label: str, each: Mapping[str, Any]) -> list[dict[str, str]]:
    """What one pool must hold to."""
    words = {
        "worst_queue_against_srtf_alone": "worst queue's JCT, alone under SRTF 1",
        "longest_wait_against_promise": "longest wait against max(24 h, 5 x run time)",
    }
    return [
        {"figure": f"{label}: {words[name]}", "value": f"{each[name]:.4f}"} for name in sorted(words) if name in each
    ]


def fractions(pods: Sequence[Path], machines: Path, step: Step) -> dict[str, Any]:
    """Devices that nobody gets when machines are filled, in percent, by list and policy."""
    files, filling = array_code("lepton.store.pods"), array_code("lepton.pool.fill")
    there, found = files.read_machines(machines), {}
    for path in pods:
        tasks, _ = files.read_pods(path)
        for how in filling.HOW:
            unused: list[float] = []

            def fill_all(how: str = how, tasks: Any = tasks, unused: list[float] = unused) -> None:
                unused.extend(100 * (1 - filling.fill(there, tasks, how, seed=seed).given) for seed in SEEDS)

            spent = cpu_s(fill_all) / len(SEEDS)
            name = path.name.partition(".")[0].removeprefix("openb_pod_list_")
            found[f"{name}, {how}"] = {"mean": statistics.fmean(unused), "runs": unused, "cpu_s": spent}
            step(f"{name}, {how}")
    return found


def speed(given: Any, step: Step) -> dict[str, float]:
    """Processor seconds of whole replays, and how they grow."""
    make = array_code("lepton.pool.made").made
    calm, rules = array_code("lepton.pool.policy").policy("lepton", may_preempt=False), array_code("lepton.pool.arrays")
    run, found = array_code("lepton.pool.replay").run, dict[str, float]()

    def note(label: str, replayed: tuple[Any, Any], times: float = 1.0) -> None:
        call = lambda: run(*replayed, calm, rules.Rules())  # noqa: E731
        found[label] = times * statistics.median(cpu_s(call) for _ in range(RUNS))
        step(label)

    found[given.trace.name] = statistics.median(cpu_s(lambda: given.run("lepton", rules.Rules())) for _ in range(RUNS))
    note(f"{LARGE[0]:,} jobs on {LARGE[1]:,} nodes", make(*LARGE))
    for nodes in NODES:
        note(f"us a job, 100,000 jobs on {nodes:,} nodes", make(100_000, nodes), 10.0)
    for jobs in WAITING:
        note(f"us a job, {jobs:,} waiting on 1,000 nodes", make(jobs, 1_000, load=OVERLOAD), 1e6 / jobs)
    return found


def cpu_s(call: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began
