"""How a worker whose function has returned ends: output is flushed, `atexit` has run, and nothing is taken apart.

Python would take every module apart, and so copy each page that a fork shares; and native libraries would be
taken apart under their own threads: llama.cpp reading a prompt that nobody waits for ends then in a segmentation fault.
"""

import atexit
import os
import sys
from contextlib import suppress


def leave_whole() -> list[int]:
    """End this process so once an exit code is put into the list. Called before any library is there: what is
    registered first is called last."""
    ended: list[int] = []
    atexit.register(_leave, ended)
    return ended


def _leave(ended: list[int]) -> None:
    for code in ended:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
