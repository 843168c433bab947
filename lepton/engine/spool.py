"""Reports wait in a local file until the server has them: in order, none lost, none doubled.

    reports.jsonl   line n is item n of this (job, generation, rank)
    reports.sent    {"next": n, "offset": b}: items before n, the first b bytes, are with the server

Several processes of one worker may share a spool, one after the other or at once.
"""

import fcntl
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from lepton.core.errors import LeptonError, StorageFullError
from lepton.core.resource import Json
from lepton.engine.files import read_json

BATCH = 500
GATHER_S = 0.05
"""Items that come within this time share one request."""
NO_ROOM_S = 1.0
"""Pause after the server had no room for them."""

Send = Callable[[int, list[Json]], int]
"""(first, items) -> the number of the next item that the server wants."""


class Spool:
    """An append-only file of items, and the thread that delivers them."""

    def __init__(self, folder: Path, send: Send) -> None:
        self._path, self._sent, self._lock = (folder / f"reports.{end}" for end in ("jsonl", "sent", "lock"))
        self._send = send
        self._wake = threading.Event()
        self._refusal: LeptonError | None = None
        self._is_closed = False
        self._unsaved: dict[str, Json] | None = None
        """What `reports.sent` should say, where the disk was too full to write it."""
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._mend()

    def add(self, item: Mapping[str, Json]) -> None:
        """Keep an item; it is delivered soon.

        Raises:
            StorageFullError: the disk is full; the item was not kept.
        """
        line = (json.dumps(item) + "\n").encode()
        with self._locked("add"), self._path.open("ab", buffering=0) as stream:
            size = stream.tell()
            try:
                count = stream.write(line)
            except OSError:
                count = 0
            if count != len(line):
                stream.truncate(size)
                raise StorageFullError(f"No room for a report in {self._path.parent}", fix="Free disk space there.")
        self._start_thread()
        self._wake.set()

    def flush(self) -> None:
        """Return when all is delivered, however long the server is away; or refused for good.

        Raises:
            StorageFullError: the server has no room for it now.
        """
        self._deliver()

    def close(self) -> None:
        """Flush as far as the server has room, and end the thread."""
        with suppress(StorageFullError):
            self.flush()
        self._is_closed = True
        self._wake.set()
        if self._thread is not None and self._process == os.getpid():
            self._thread.join()
            self._thread = None

    def _start_thread(self) -> None:
        if self._process != os.getpid():  # forked: the parent's thread is not here
            self._process, self._thread = os.getpid(), None
        if self._thread is None and not self._is_closed:
            self._thread = threading.Thread(target=self._run, name="lepton-reports", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        gather = threading.Event()
        while not self._is_closed:  # asked after each `clear`, so that no wake-up to close is lost
            self._wake.wait()
            gather.wait(GATHER_S)
            self._wake.clear()
            try:
                self._deliver()
            except StorageFullError:  # somebody may make room
                gather.wait(NO_ROOM_S)
                self._wake.set()

    def _deliver(self) -> None:
        try:
            with self._locked("send"):
                while self._refusal is None and self._send_batch():
                    pass
        except StorageFullError:
            raise
        except LeptonError as fault:
            self._refusal = fault
            sys.stderr.write(f"lepton: reports are refused: {fault.code}: {fault.message}\n")

    def _send_batch(self) -> bool:
        """Send what comes next; False if nothing is left."""
        sent = self._unsaved or read_json(self._sent) or {"next": 0, "offset": 0}
        first, offset = sent["next"], sent["offset"]
        lines = self._lines(offset)
        if not lines:
            return False
        wanted = self._send(first, [json.loads(line) for line in lines])
        if wanted == first + len(lines):
            offset += sum(map(len, lines))
        else:  # the server has more than was noted here, or was set back
            offset = self._offset_of(wanted)
        self._note({"next": wanted, "offset": offset})
        return bool(wanted != first)

    def _note(self, sent: dict[str, Json]) -> None:
        draft = self._sent.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(sent))
            draft.replace(self._sent)
            self._unsaved = None
        except OSError:
            self._unsaved = sent

    def _lines(self, offset: int) -> list[bytes]:
        with suppress(FileNotFoundError), self._path.open("rb") as stream:
            stream.seek(offset)
            return [line for line in islice(stream, BATCH) if line.endswith(b"\n")]
        return []

    def _offset_of(self, item: int) -> int:
        with self._path.open("rb") as stream:
            return sum(len(line) for line in islice(stream, item))

    def _mend(self) -> None:
        """Cut off a line that a killed process has left half written."""
        with self._locked("add"), suppress(FileNotFoundError), self._path.open("rb+") as stream:
            text = stream.read()
            stream.truncate(text.rfind(b"\n") + 1)

    @contextmanager
    def _locked(self, what: str) -> Iterator[None]:
        with self._lock.with_suffix(f".{what}").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
