"""What a command says on standard error while it waits for a job: a line that changes on a terminal, else notes."""

import os
import sys
from time import monotonic
from types import TracebackType
from typing import Self

import click

from lepton.cli.ending import printable
from lepton.cli.output import Session
from lepton.cli.tables import terminal_width
from lepton.sdk.jobs import Job

PATIENCE_S = 0.5
"""A job that is placed within this is not worth a note."""
NEVER_S = 3600.0


class Notes:
    """Tells of one job. Off a terminal only why it waits: once, and again when that changes."""

    def __init__(self, session: Session, job: Job) -> None:
        self._session = session
        self._job = job
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not session.is_json
        self._since = monotonic()
        self._last = ""
        self.every_s = 0.5 if self._is_live else NEVER_S
        """How often progress is worth asking for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_live and self._last:
            click.echo("\r\x1b[K", nl=False, err=True)

    def tell(self, fraction: float, text: str) -> None:
        """Say how far the job is, 0 .. 1, and what it does or waits for."""
        is_waiting = self._job.state == "queued"
        said = text if is_waiting else f"{self._job.state} {fraction:4.0%}  {text}"
        is_worth = is_waiting and monotonic() - self._since > PATIENCE_S
        if self._is_live:
            line = printable(f"{self._job.name}: {said}")[: terminal_width() - 1]
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        elif is_worth and said != self._last:
            self._session.note(f"job {self._job.id} {said}", job=self._job.id)
        if self._is_live or is_worth:
            self._last = said
