"""A worker's mark is read by its front also after the worker has died, and nothing else passes for one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lepton.serve.frames import FrameError
from lepton.serve.mailbox import WAITING, Mailroom, open_mailbox
from lepton.serve.marks import MARK_BYTES, Mark, open_mark

WORKER = """
import sys
from pathlib import Path
from lepton.serve.mailbox import open_mailbox
from lepton.serve.marks import Mark
mark = Mark()
mark.place[0] = 41
mailbox, name = open_mailbox(Path(sys.argv[1]))
mark.hand_over(mailbox)
print(name, flush=True)
input()
mark.place[0] = 42
print(flush=True)
input()
"""


def test_a_mark_outlives_who_made_it(tmp_path: Path) -> None:
    room = Mailroom(tmp_path / "front.sock")
    command = [sys.executable, "-c", WORKER, str(tmp_path / "front.sock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        mailbox = room.claim(worker.stdout.readline().strip())
        assert mailbox is not None
        read = open_mark(mailbox)
        assert read is not None and read[0] == 41
        worker.stdin.write("\n")
        worker.stdin.flush()
        worker.stdout.readline()
        worker.kill()
        worker.wait(30)
        assert read[0] == 42
    mailbox.close()
    room.close()


def test_memory_of_another_size_or_that_can_shrink_is_no_mark(tmp_path: Path) -> None:
    room = Mailroom(tmp_path / "front.sock")
    opened = open_mailbox(tmp_path / "front.sock")
    assert opened is not None
    (ours, name), theirs = opened, room.claim(opened[1])
    assert theirs is not None and room.claim(name) is None, "whoever claims it has it"
    assert open_mark(theirs) is None, "nothing is in it"
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MARK_BYTES)
    ours.put(fd)
    with pytest.raises(FrameError):
        open_mark(theirs)
    Mark().hand_over(ours)
    assert open_mark(theirs) is not None
    os.close(fd)
    for box in (ours, theirs, room):
        box.close()


def test_who_finds_no_front_has_no_mailbox_and_a_front_keeps_but_so_many(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    assert open_mailbox(path) is None
    room = Mailroom(path)
    opened = [box for _ in range(WAITING // 4 + 10) if (box := open_mailbox(path)) is not None]
    assert room.claim("no such name") is None
    first = room.claim(opened[0][1])
    assert first is not None
    first.close()
    for box, _ in opened:
        box.close()
    room.close()
    assert not list(tmp_path.iterdir())
