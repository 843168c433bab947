"""One launch on a pretend machine: when and how it ends is settled when it begins. Pure."""

import re
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from lepton.core.errors import InvalidError
from lepton.core.launch import ExitReason, Launch
from lepton.engine.course import DONE, Course, course_of, words

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
SLEEP = re.compile(r"(\d+\.?\d*|\.\d+)([smhd]?)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One launch on its course."""

    key: str
    node: str
    cpu_milli: int
    gpu_milli: int
    memory_bytes: int
    gpus: str
    """Indices, with commas."""
    began_s: float
    """Seconds since 1970, as `ends_s`."""
    ends_s: float
    """`math.inf`: when it is stopped."""
    reason: str
    code: int | None
    signal: int | None
    detail: str
    is_stubborn: bool
    """It does not end when asked politely."""
    log_limit: int
    log: bytes


def run_of(launch: Launch, node: str, began_s: float) -> Run:
    """The launch on its course, or not started if that is none."""
    try:
        course = course_of(launch) if "course" in launch.params else Course(seconds=_sleep_s(launch.command) or 0.0)
    except InvalidError as fault:
        course = Course(seconds=0.0, exit=replace(DONE, reason=ExitReason.NOT_STARTED, code=None, detail=str(fault)))
    run = Run(
        key=launch.key,
        node=node,
        cpu_milli=launch.devices.cpu_milli,
        gpu_milli=launch.devices.gpu_milli,
        memory_bytes=launch.devices.memory_bytes,
        gpus=",".join(map(str, launch.gpus)),
        began_s=began_s,
        ends_s=began_s + course.seconds,
        reason=course.exit.reason,
        code=course.exit.code,
        signal=course.exit.signal,
        detail=course.exit.detail,
        is_stubborn=course.ignores_stop,
        log_limit=launch.log_limit_bytes,
        log=f"[pretended on {node}] {words(launch)}\n".encode() + course.output,
    )
    if launch.timeout_s:
        run = asked_to_end(run, began_s + launch.timeout_s, launch.grace_s, ExitReason.TIMEOUT)
    return run


def asked_to_end(run: Run, by_s: float, grace_s: float, reason: ExitReason) -> Run:
    """The run if it is asked to end at a time, and killed after the grace; the same if it ends before."""
    ends_s = by_s + (grace_s if run.is_stubborn else 0.0)
    if ends_s >= run.ends_s:
        return run
    return replace(run, ends_s=ends_s, reason=reason, code=None, signal=9 if run.is_stubborn else 15, detail="")


def _sleep_s(command: tuple[str, ...]) -> float | None:
    """How long `sleep N` runs; None for any other command."""
    if len(command) != 2 or Path(command[0]).name != "sleep":
        return None
    if command[1] in ("inf", "infinity"):
        return inf
    found = SLEEP.fullmatch(command[1])
    return float(found[1]) * UNITS[found[2]] if found else None
