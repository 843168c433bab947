"""A worker's mark is read by its front also after the worker has died, and nothing else passes for one."""

import json
import os
import subprocess
import sys

import pytest

from lepton.serve.frames import FrameError
from lepton.serve.marks import MARK_BYTES, Mark, open_mark

WORKER = """
import json
from lepton.serve.marks import Mark
mark = Mark()
mark.place[0] = 41
print(json.dumps(dict(mark.about)), flush=True)
input()
mark.place[0] = 42
print(flush=True)
input()
"""


def test_a_mark_outlives_who_made_it() -> None:
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        about = json.loads(worker.stdout.readline())
        read = open_mark(about)
        assert read is not None and read() == 41
        worker.stdin.write("\n")
        worker.stdin.flush()
        worker.stdout.readline()
        worker.kill()
        worker.wait(30)
        assert read() == 42


@pytest.mark.parametrize("about", [{}, [], "x", {"pid": "1/..", "fd": 0}, {"pid": 1}])
def test_what_is_no_mark_is_refused(about: object) -> None:
    with pytest.raises(FrameError):
        open_mark(about)


def test_memory_of_another_size_or_that_can_shrink_is_no_mark() -> None:
    own = Mark()
    assert open_mark(own.about) is not None
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MARK_BYTES)
    with pytest.raises(FrameError):
        open_mark({"pid": os.getpid(), "fd": fd})
    os.close(fd)


def test_who_cannot_be_seen_has_none() -> None:
    assert open_mark(None) is None
    assert open_mark({"pid": 2**31 - 2, "fd": 3}) is None
