"""What the callers of an endpoint have used of their quotas, kept over a restart, also over one that nobody asked for.

Beside the file with all counts a journal takes down what a caller may use until it is next heard of, before it does.
So a front that is killed has granted nobody more than the two say; up to a share of the quota may then be lost.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


class Ledger:
    """The counts of one endpoint.

    Args:
        file: all counts; the journal is beside it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._journal = file.with_suffix(".journal")

    def read(self) -> Iterator[Mapping[str, Sequence[Any]]]:
        """What is known: caller in hex -> [day, requests], of one caller perhaps several times. The most counts."""
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_text())
            if isinstance(found, dict):
                yield found
        with suppress(OSError, ValueError):
            for line in self._journal.read_text().splitlines():
                caller, _, count = line.partition(" ")
                yield {caller: count.split()}

    def reserve(self, caller: bytes, day: int, count: int) -> None:
        """A caller may use up to so many requests of that day from now on; a full disk keeps nobody from asking."""
        with suppress(OSError):
            line = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(line, b"%b %d %d\n" % (caller.hex().encode(), day, count))
            finally:
                os.close(line)

    def write(self, used: Mapping[str, Sequence[int]]) -> None:
        """Keep all counts; the journal begins anew."""
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(used))
        draft.replace(self._file)
        self._journal.unlink(missing_ok=True)
