"""`lepton jobs`: submit, follow, stop and explain jobs."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click

from lepton.cli import complete
from lepton.cli.ending import shorten
from lepton.cli.group import Group
from lepton.cli.kinds import COUNT, GRACE, JOB_STATES, RANK, SECONDS, Folder, Id, Name, Number, Pair, Size
from lepton.cli.notes import Notes
from lepton.cli.output import Session, common, moment
from lepton.cli.standing import standing
from lepton.pool.shape import ACCELERATORS
from lepton.sdk.jobs import Job
from lepton.sdk.options import JobOptions

job_argument = click.argument("job", type=Id("a job", "lepton jobs list"), shell_complete=complete.jobs)
WORKERS = Number(1, 4096, is_whole=True)
CPUS = Number(0, 4096, is_above=True)
RETRIES = Number(0, 1000, is_whole=True)
VARIABLE = Pair("LEVEL=3", is_variable=True)
SECRET = Pair("API_KEY=my-secret", is_variable=True)
START = Number(1, 2**31, is_whole=True)
INPUT = Pair("data=digits@1")
LABEL = Pair("gpu_model=a100")
DEVICES = Number(0, 64)
PAIRS = {"env": "env", "secret": "secrets", "inputs": "inputs", "labels": "labels"}
"""Option of `submit` -> what the SDK calls it."""
FOLDER = Folder()
RUNS_SHOWN = 500


@click.group(cls=Group)
def jobs() -> None:
    """Submit, follow, stop and explain jobs."""


@jobs.command()
@click.argument("command", nargs=-1, required=True)
@click.option("--name", type=Name(), default="job", show_default=True, help="What to call it.")
@click.option("--workers", type=WORKERS, default=1, show_default=True, help="How many, started all or nothing.")
@click.option("--cpus", type=CPUS, default=1, show_default=True, help="CPUs of each worker.")
@click.option("--gpus", type=DEVICES, default=0, show_default=True, help="GPUs of each worker: 0.25, or whole ones.")
@click.option("--tpus", type=DEVICES, default=0, show_default=True, help="TPUs of each worker, instead.")
@click.option("--fpgas", type=DEVICES, default=0, show_default=True, help="FPGAs of each worker, instead.")
@click.option(
    "--memory", type=Size(), default="0", show_default=True, help="Memory of each worker, e.g. 512M or 4G; 0: no limit."
)
@click.option("--env", type=VARIABLE, multiple=True, metavar="K=V", help="Environment variable; repeat for more.")
@click.option("--secret", type=SECRET, multiple=True, metavar="K=NAME", help="Environment variable from a secret.")
@click.option(
    "--input", "inputs", type=INPUT, multiple=True, metavar="K=REF", help="A version the job reads as input K."
)
@click.option(
    "--retries", type=RETRIES, default=0, show_default=True, help="How often to start it again after a failure."
)
@click.option(
    "--timeout", "timeout_s", type=SECONDS, default=0, show_default=True, help="Seconds until it is killed; 0: never."
)
@click.option(
    "--grace",
    "grace_s",
    type=GRACE,
    default=10,
    show_default=True,
    help="Seconds from asking it to stop to killing it.",
)
@click.option("--cwd", type=FOLDER, default="", help="Working directory, e.g. `.`; else a fresh folder.")
@click.option(
    "--isolation",
    type=click.Choice(["own", "closed"]),
    default="own",
    show_default=True,
    help="What it sees: what its user sees, or only programs and what is its own.",
)
@standing
@click.option(
    "--after",
    type=Id("a job", "lepton jobs list"),
    multiple=True,
    metavar="JOB",
    shell_complete=complete.jobs,
    help="Start it when that job is done; repeat for more.",
)
@click.option("--label", "labels", type=LABEL, multiple=True, metavar="K=V", help="Only nodes that have it.")
@click.option("--within", default="", metavar="LABEL", help="All its nodes have the same value of it, e.g. rack.")
@click.option("--resumes", "can_resume", is_flag=True, help="Stopped for another, it goes on from its checkpoint.")
@common
def submit(session: Session, command: tuple[str, ...], **options: Any) -> None:
    """Submit COMMAND as a job and print its id. Write it after `--`; it runs without a shell.

    Example: lepton jobs submit --workers 2 --cwd . -- python train.py
    """
    named = {name: dict(options.pop(option)) for option, name in PAIRS.items()}
    wish: dict[str, Any] = {"memory_bytes": options.pop("memory"), **options, **named}
    job = session.client.jobs.submit(list(command), **cast(JobOptions, wish))
    session.say(job.id, dict(job.fields))
    if doubt := doubt_about(command, str(options["cwd"])):
        session.note(doubt, job=job.id)


def doubt_about(command: Sequence[str], cwd: str) -> str:
    """What is probably wrong with a command, and what to do; empty if nothing is."""
    if len(command) == 1 and " " in command[0] and not _is_file(command[0]):
        return (
            f"There is hardly a program {shorten(command[0], 80)!r}. With a shell: -- sh -c {shlex.quote(command[0])}"
        )
    here = [word for word in command if not cwd and not word.startswith("/") and "." in word and _is_file(word)]
    return f"{here[0]} is not in the folder of its own that the job runs in. To run it here: --cwd ." if here else ""


def _is_file(word: str) -> bool:
    """Whether a word of a command names a file here; what cannot be a path is none."""
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


@jobs.command("list")
@click.option("--state", type=JOB_STATES, default=None, help="Only jobs in this state.")
@click.option("--name", default="", help="Only jobs of this name.")
@click.option("--limit", type=COUNT, default=50, show_default=True, help="How many.")
@common
def list_(session: Session, state: str | None, name: str, limit: int) -> None:
    """List the newest jobs."""
    found = session.client.jobs.list(state=state or "", name=name, limit=limit)
    session.many(found, hint="submit a job: lepton jobs submit -- COMMAND")


@jobs.command()
@job_argument
@common
def get(session: Session, job: str) -> None:
    """Show JOB."""
    found = session.client.jobs.get(job)
    session.card(job_card(found) if not session.is_json else {}, dict(found.fields))


def job_card(job: Job) -> dict[str, str]:
    """Fact -> text of a job: what it is, where it runs, how it goes or went."""
    spec, status = job.spec, job.status
    role = spec["roles"][0]
    nodes = sorted({place["node"] for place in status.get("placement") or ()})
    return {
        **job.row(),
        "why": job.why(),
        "exit code": "" if job.exit_code is None else str(job.exit_code),
        "runs": shorten(shlex.join(role["command"]) or role["entry"], RUNS_SHOWN),
        "each needs": show_devices(role["devices"]),
        "on nodes with": ", ".join(f"{name}={value}" for name, value in role.get("labels", {}).items()),
        "all in one": spec.get("within", ""),
        "queue": spec.get("queue", ""),
        "priority": spec.get("priority", ""),
        "after": ", ".join(spec.get("after", ())),
        "inputs": ", ".join(f"{name}={version}" for name, version in spec["inputs"].items()),
        "nodes": ", ".join(nodes),
        "starts": str(status.get("generation", 0) + 1) if status.get("started_at") else "",
        "started": moment(status.get("started_at")),
        "ended": moment(status.get("ended_at")),
    }


def show_devices(devices: Mapping[str, int]) -> str:
    """An amount in words: `1 CPU, 4.0 GiB`."""
    parts = [f"{devices['cpu_milli'] / 1000:g} CPU"]
    parts += [f"{devices[name] / 1000:g} {word}" for name, word in ACCELERATORS.items() if devices.get(name)]
    parts += [f"{devices['memory_bytes'] / 2**30:.1f} GiB"] if devices["memory_bytes"] else []
    return ", ".join(parts)


@jobs.command()
@job_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--rank", type=RANK, default=0, show_default=True, help="Which worker; 0 is the first.")
@click.option("--start", type=START, default=None, help="Which start, 1 for the first; else the latest.")
@common
def logs(session: Session, job: str, follow: bool, rank: int, start: int | None) -> None:
    """Print what a worker of JOB writes. With --json each line is an object {job, rank, text}."""
    found = session.client.jobs.get(job)
    if not (follow or start or found.status.get("started_at")):
        session.note(f"Job {job} is {found.state} and has written nothing; why: lepton jobs why {job}", job=job)
    session.stream(found.logs(rank=rank, follow=follow, start=start), {"job": job, "rank": rank})


@jobs.command()
@job_argument
@click.option("--grace", "grace_s", type=GRACE, default=10, show_default=True, help="Seconds until it is killed.")
@common
def stop(session: Session, job: str, grace_s: float) -> None:
    """Stop JOB and everything it started; returns once the server has begun with it."""
    session.one(session.client.jobs.get(job).stop(grace_s=grace_s))


@jobs.command()
@job_argument
@click.option("--timeout", "timeout_s", type=SECONDS, default=None, help="Give up after so many seconds.")
@common
def wait(session: Session, job: str, timeout_s: float | None) -> None:
    """Wait for JOB to end; ends with the job's own exit code. Says on standard error what it waits for meanwhile."""
    found = session.client.jobs.get(job)
    with Notes(session, found) as notes:
        found.wait(timeout_s=timeout_s, check=False, tell=notes.tell, tell_every_s=notes.every_s)
    session.one(found)
    sys.exit(found.exit_code or 0)


@jobs.command()
@job_argument
@common
def why(session: Session, job: str) -> None:
    """Say why JOB waits, or ended as it did: which start it is, how each earlier one ended, and what comes next."""
    story = session.client.jobs.get(job).story()
    session.say("\n".join(story.lines()), story.to_json())


@jobs.command()
@job_argument
@common
def metrics(session: Session, job: str) -> None:
    """Print the numbers JOB has reported: the last of each, or all with --json."""
    series = session.client.jobs.get(job).metrics()
    rows = [
        {"metric": name, "step": str(points[-1][0]), "value": f"{points[-1][1]:.6g}", "points": str(len(points))}
        for name, points in series.items()
    ]
    session.table(rows, series, hint="the job has reported no numbers")
