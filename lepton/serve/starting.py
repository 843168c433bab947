"""What a replica tells before it can answer: where it is, if that takes long; and off the platform, why it cannot."""

import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread, main_thread
from time import monotonic

from lepton.core.errors import ConfigError
from lepton.serve.frames import Entry, Frame, Kind, encode
from lepton.serve.gang import socket_path

PATIENCE_S = 10.0
"""Until it is first told where a start is; each further time takes three times as long."""
FRONT_S = 1.0
"""For a front to take what it is told."""


@contextmanager
def watched(patience_s: float = PATIENCE_S) -> Iterator[None]:
    """While this runs, in the main thread, its log tells now and then where it is; and its front hears if it fails."""
    over = Event()
    Thread(target=_watch, args=(over, patience_s), name="lepton-start", daemon=True).start()
    tell_front("")
    try:
        yield
    except Exception as fault:
        tell_front(f"{type(fault).__name__}: {fault}")
        raise
    finally:
        over.set()


def _watch(over: Event, patience_s: float) -> None:
    begun = monotonic()
    while not over.wait(patience_s):
        patience_s *= 3
        frame = sys._current_frames().get(main_thread().ident or 0)
        where = "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""
        sys.stderr.write(f"serve: not ready after {monotonic() - begun:.0f} s; it is at\n{where}")
        sys.stderr.flush()


def tell_front(why: str) -> None:
    """Off the platform: let a front refuse at once what would wait for this replica. Empty: it may wait again.

    On the platform it waits, for the replica is started again.
    """
    if os.environ.get("LEPTON_URL"):
        return
    hello = encode(Frame(Kind.HELLO, [Entry(0, json.dumps({"failed": why}).encode())]))
    with suppress(OSError, ConfigError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(FRONT_S)
        line.connect(str(socket_path()))
        line.sendall(hello)
