"""`lepton pool replay`: what would have become of a trace, under our policy and others."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton.cli import fill, whole
from lepton.cli.extra import array_code
from lepton.cli.kinds import Number
from lepton.cli.moving import progress
from lepton.cli.output import Session, with_json
from lepton.core.errors import InvalidError

if TYPE_CHECKING:
    from lepton.pool.replay import Outcome
    from lepton.pool.trace import Cluster, Floats, Trace

INTERVAL_HEAD = ("job_id", "stated_s", "low_s", "high_s")
SEGMENT_HEAD = ("job_id", "start_s", "end_s", "node", "gpus")
BOOSTED = "boosted"
FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Input:
    """What is replayed."""

    trace: "Trace"
    cluster: "Cluster"
    faults: Sequence[str]
    predictions: "Floats | None"
    unread: Sequence[str] = ()
    """What was wrong with lines of the predictions."""


@click.command()
@click.argument("trace", type=FILE)
@click.option("--nodes", type=FILE, required=True, help="CSV file of `vc,num`: how many nodes each queue has.")
@click.option("--gpus-per-node", type=Number(1, 1024, is_whole=True), default=8, show_default=True, help="Of each.")
@click.option("--policy", "policies", multiple=True, metavar="NAME", help="Default: lepton. May be given again.")
@click.option("--compare", multiple=True, metavar="NAME", help="One more policy beside it. May be given again.")
@click.option(
    "--mode",
    type=click.Choice(["partitioned", "borrowing"]),
    default="partitioned",
    show_default=True,
    help="Each queue keeps to its own nodes; or all share one pool, and those are its guarantee.",
)
@click.option("--no-preemption", is_flag=True, help="Nothing that runs is stopped.")
@click.option("--predictions", type=FILE, help="CSV file of `job_id,priority`: run times in seconds to go by.")
@click.option(
    "--learn",
    type=click.Choice(["means", BOOSTED]),
    default="means",
    show_default=True,
    help="What says how long jobs will run: means of what has ended; or boosted trees too (LightGBM), while better.",
)
@click.option(
    "--restore-factor", type=Number(0, 1000), default=1.0, help="Times what a restart costs.", show_default=True
)
@click.option("--out", type=FILE, help="Write where each job ran: a CSV file, one row for each node of a run.")
@click.option("--intervals", type=FILE, help="Write when waiting jobs were told they would start: a CSV file.")
@click.option("--plot", type=FILE, help="Write a picture: queue, utilisation, distribution of waiting (PNG).")
@click.option("--skip-broken", is_flag=True, help="Leave out lines of the trace that cannot be read.")
@click.option(
    "--table", "is_table", is_flag=True, help="Print the whole table of ours, of bounds, and of what is given below."
)
@click.option("--published", type=FILE, help="With --table: CSV file of `job_id,NAME_end`: schedules to compare with.")
@click.option("--pods", multiple=True, type=FILE, help="With --table: a list of pods to fill machines with; repeat.")
@click.option("--machines", type=FILE, help="With --table: those machines.")
@click.option(
    "--speed", "has_speed", is_flag=True, help="With --table: measure the cost of deciding too; takes minutes."
)
@click.option("--seeds", default="42-51", show_default=True, help="Of a list of pods: one run for each.")
@with_json
def replay(trace: Path, is_json: bool, **options: Any) -> None:
    """Replay TRACE in virtual time with the code that decides in production.

    TRACE is a CSV file with a header (job_id, user, vc, gpu_num, cpu_num, submit_time, duration) or an SWF file, also
    gzipped. `--out`, `--intervals` and `--plot` are of the first policy. Of a list of pods (cpu_milli, memory_mib,
    num_gpu, gpu_milli) machines are filled until no more fit; `--nodes` then lists machines (sn, cpu_milli,
    memory_mib, gpu, model).
    """
    session = Session(is_json)
    for path in filter(None, (options["out"], options["intervals"], options["plot"])):
        check_writable(path)
    names = list(dict.fromkeys([*(options["policies"] or ("lepton",)), *options["compare"]]))
    if array_code("lepton.store.pods").is_pods(trace):
        fill_with(session, trace, names, options)
        return
    given = read(trace, options)
    if options["is_table"]:
        show_table(session, given, options)
        return
    outcomes = {name: run(name, given, options) for name in names}
    figures = import_module("lepton.pool.figures").figures
    found = {name: figures(outcome) for name, outcome in outcomes.items()}
    first = outcomes[names[0]]
    if options["out"]:
        import_module("lepton.store.traces").write_csv(options["out"], segment_rows(first), SEGMENT_HEAD)
    if options["intervals"]:
        found[names[0]]["intervals"] = write_intervals(options["intervals"], first)
    if options["plot"]:
        plots("draw")(options["plot"], outcomes)
    tell("left out", given.faults)
    refusals = array_code("lepton.pool.arrays").refusals
    refused = refusals(first.trace, first.cluster, first.is_refused, options["mode"] == "partitioned")
    tell("refused", refused)
    raw = {"trace": first.trace.name, "mode": options["mode"], "left_out": list(given.faults), "refused": refused}
    raw |= {"unknown_predictions": list(given.unread), "policies": found}
    session.table([row_of(name, each) for name, each in found.items()], raw)


def check_writable(path: Path) -> None:
    """Refuse, before anything is replayed, a file that could not be written in the end. Nothing is left of the attempt.

    Raises:
        InvalidError: it cannot.
    """
    was_there = path.exists()
    try:
        path.open("ab").close()
        if not was_there:
            path.unlink()
    except OSError as fault:
        raise InvalidError(f"Cannot write {path}: {fault.strerror}", fix="Name a file in a folder of yours.") from None


def show_table(session: Session, given: Input, options: Mapping[str, Any]) -> None:
    """Print the whole table.

    Raises:
        InvalidError: pods are given and no machines.
    """
    if options["pods"] and not options["machines"]:
        raise InvalidError("--pods is given and no --machines", fix="Name the list of machines: --machines FILE.")
    published = {}
    if options["published"]:
        published = array_code("lepton.store.traces").read_published(options["published"], given.trace)
    known = array_code("lepton.pool.table").Given(
        trace=given.trace, cluster=given.cluster, predictions=given.predictions, published=published
    )
    tell("left out", given.faults)
    is_seen = sys.stderr.isatty()
    whole.show(session, known, options, lambda label: click.echo(label, err=True) if is_seen else None)


def fill_with(session: Session, pods: Path, names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Fill machines with pods, by each policy and seed."""
    files, filling = array_code("lepton.store.pods"), array_code("lepton.pool.fill")
    unknown = [name for name in names if name not in filling.HOW]
    if unknown:
        raise InvalidError(f"No policy {unknown[0][:80]!r} for pods", fix=f"One of: {', '.join(filling.HOW)}.")
    tasks, faults = files.read_pods(pods, skips_broken=options["skip_broken"])
    machines, seeds = files.read_machines(options["nodes"]), fill.seeds_of(options["seeds"])
    with progress(len(names) * len(seeds), "filling") as step:
        filled: dict[str, list[Any]] = {name: [] for name in names}
        for name in names:
            for seed in seeds:
                filled[name].append(filling.fill(machines, tasks, name, seed=seed))
                step(1)
    fill.show(session, filled, faults)


def plots(name: str) -> Any:
    """A function of `cli.plots`, or how to get what it needs."""
    return getattr(array_code("lepton.cli.plots"), name)


def read(trace: Path, options: Mapping[str, Any]) -> Input:
    """The files of a call."""
    files = array_code("lepton.store.traces")
    jobs, faults = files.read_trace(trace, skips_broken=options["skip_broken"])
    cluster = files.read_nodes(options["nodes"], per_node=int(options["gpus_per_node"]))
    missing = [name for name in jobs.queues if name not in cluster.nodes]
    if len(missing) == len(jobs.queues):
        raise InvalidError(
            f"No queue of the trace ({', '.join(missing[:5])}) has nodes",
            fix=f"Name them in the column vc of {options['nodes']}.",
        )
    predictions, unread = None, list[str]()
    if options["predictions"]:
        predictions, unread = files.read_predictions(options["predictions"], jobs)
        tell(f"unknown of {options['predictions']}", unread)
    return Input(jobs, cluster, faults, predictions, unread)


def tell(what: str, faults: Sequence[str]) -> None:
    """Name what was wrong on standard error, each on a line; of very many how many more."""
    for fault in array_code("lepton.store.traces").named(faults):
        click.echo(f"{what}: {fault}", err=True)


def run(name: str, given: Input, options: Mapping[str, Any]) -> "Outcome":
    """Replay under one policy, with a progress bar on standard error where somebody may be looking."""
    policies = array_code("lepton.pool.policy")
    if name not in policies.POLICIES:
        raise InvalidError(f"No policy {name[:80]!r}", fix=f"One of: {', '.join(policies.POLICIES)}.")
    chosen = policies.policy(
        name, may_preempt=not options["no_preemption"], has_predictions=given.predictions is not None
    )
    if chosen.source is policies.Source.GIVEN and given.predictions is None:
        raise InvalidError(f"Policy {name} goes by predictions", fix="Give them with --predictions FILE.")
    rules = array_code("lepton.pool.arrays").Rules(
        is_partitioned=options["mode"] == "partitioned",
        given=given.predictions,
        restore_factor=options["restore_factor"],
        fit=array_code("lepton.server.boosted").fit if options["learn"] == BOOSTED else None,
    )
    replays = array_code("lepton.pool.replay")
    with progress(len(given.trace), name) as step:
        seen = [0]

        def move(done: int, of: int) -> None:
            step(done - seen[0])
            seen[0] = done

        outcome: Outcome = replays.run(given.trace, given.cluster, chosen, rules, move)
    return outcome


def segment_rows(outcome: "Outcome") -> Iterator[tuple[object, ...]]:
    """One row for each node of each run segment, on the trace's clock, to the millisecond."""
    names, gpus, ids = outcome.node_names(), outcome.worker_gpus(), outcome.trace.id
    for at, job in enumerate(outcome.job):
        start, end = f"{outcome.start[at]:.3f}", f"{outcome.end[at]:.3f}"
        for worker in range(outcome.worker[at], outcome.worker[at + 1]):
            yield ids[job], start, end, names[outcome.node[worker]], int(gpus[worker])


def write_intervals(path: Path, outcome: "Outcome") -> dict[str, Any]:
    """Write what each job that had to wait was told at its submit; return how that held."""
    module = array_code("lepton.pool.intervals")
    told = module.intervals_of(outcome)
    trace = outcome.trace
    rows = (
        (trace.id[job], f"{trace.submit[job]:.3f}", f"{low:.3f}", f"{high:.3f}")
        for job, low, high in zip(told.job, told.low, told.high, strict=True)
    )
    import_module("lepton.store.traces").write_csv(path, rows, INTERVAL_HEAD)
    judged: dict[str, Any] = module.judged(outcome, told)
    usual = module.judged(outcome, module.intervals_of(outcome, module.Usual))
    click.echo(in_words(judged, usual), err=True)
    return judged | {"usual": usual}


def in_words(judged: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """How intervals held."""
    if not judged["jobs"]:
        return "nobody waited a minute"
    sizes = ", ".join(f"{size} {100 * share:.1f} %" for size, share in judged["inside_by_size"].items())
    ratio = judged["winkler_s"] / usual["winkler_s"]
    return (
        f"{judged['jobs']} jobs waited a minute or more; {100 * judged['inside']:.1f} % of them started when they were"
        f" told ({sizes}); Winkler score {ratio:.2f} times that of the last 200 waits' quantiles"
    )


def row_of(name: str, found: Mapping[str, Any]) -> dict[str, str]:
    """Column -> text of a policy's figures."""
    return {
        "policy": name,
        "jobs": f"{found['jobs']}" + (f" ({found['refused']} refused)" if found["refused"] else ""),
        "mean JCT": f"{found['mean_jct_s']:,.0f} s",
        "mean queue": f"{found['mean_queue_s']:,.1f} s",
        "p99.9 queue": f"{found['p999_queue_s']:,.0f} s",
        "longest": f"{found['longest_queue_h']:,.1f} h",
        "preemptions": f"{found['preemptions']:,}",
        "utilisation": f"{100 * found['utilisation']:.1f} %",
    }
