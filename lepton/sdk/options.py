"""What may be asked of work beside what it is: the options of jobs, and those that every station takes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Priority = Literal["high-3", "high-2", "high-1", "medium-3", "medium-2", "medium-1", "low-3", "low-2", "low-1"]


class StandingOptions(TypedDict, total=False):
    """In which queue work waits, and how urgent it is."""

    queue: str
    """Name of the queue it waits in; that of all who name none unless given."""
    priority: Priority
    """high-3 (first of all) to low-1; medium-2 unless given."""


class JobOptions(StandingOptions, total=False):
    """What may be asked of a job beside its program."""

    name: str
    """1 to 63 of a-z 0-9 . _ - ; `job` unless given. Several jobs may share one."""
    workers: int
    """How many of it, started all or nothing; each sees RANK and WORLD_SIZE."""
    cpus: float
    """For each worker; 1 unless given."""
    gpus: float
    """For each worker; 0 unless given. A part of one (below 1), or whole ones."""
    tpus: float
    """As `gpus`; a worker may have one kind of accelerator."""
    fpgas: float
    """As `gpus`."""
    memory_bytes: int
    """For each worker; 0 sets no limit."""
    env: Mapping[str, str]
    """Environment variables of every worker."""
    secrets: Mapping[str, str]
    """Environment variable -> name of a secret."""
    inputs: Mapping[str, str]
    """Name -> version, for `lepton.context().input(name)`."""
    params: Mapping[str, Any]
    """For `lepton.context().params`."""
    retries: int
    """How often it is started again after a failure; 0 unless given."""
    timeout_s: float
    """Seconds after which one start is killed; 0: never."""
    grace_s: float
    """Seconds between asking it to stop and killing it; 10 unless given."""
    cwd: str
    """Absolute working directory; a fresh folder of each worker's own unless given."""
    isolation: Literal["own", "closed"]
    """`closed`: its workers see only programs, libraries and what is their own; else all that their user sees."""
    after: Sequence[str]
    """Ids of jobs that must be done before it may start; it fails with the first of them that does."""
    labels: Mapping[str, str]
    """Labels that its nodes must have, e.g. `{"gpu_model": "a100"}`."""
    within: str
    """A label, e.g. `rack`: all its nodes must have the same value of it."""
    can_resume: bool
    """Stopped for another, it goes on from its checkpoint when it is started again; False unless given."""
