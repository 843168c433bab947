"""A worker's mark is read by its front also after the worker has died, and nothing else passes for one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lepton.serve.frames import FrameError
from lepton.serve.mailbox import WAITING, Mailroom, open_mailbox
from lepton.serve.marks import PLACES, WORD_BYTES, Claims, Shared, is_marked, make_words, open_words

WORKER = """
import sys
from pathlib import Path
from lepton.serve.mailbox import open_mailbox
from lepton.serve.marks import PLACES, Shared
marks = Shared(PLACES)
marks.words[1] = 1
mailbox, name = open_mailbox(Path(sys.argv[1]))
marks.hand_over(mailbox)
print(name, flush=True)
input()
marks.words[2] = 2
print(flush=True)
input()
"""


def test_marks_outlive_who_made_them(tmp_path: Path) -> None:
    room = Mailroom(tmp_path / "front.sock")
    command = [sys.executable, "-c", WORKER, str(tmp_path / "front.sock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        mailbox = room.claim(worker.stdout.readline().strip())
        assert mailbox is not None
        read = open_words(mailbox, PLACES)
        assert read is not None and is_marked(read, 1) and not is_marked(read, 2)
        worker.stdin.write("\n")
        worker.stdin.flush()
        worker.stdout.readline()
        worker.kill()
        worker.wait(30)
        assert is_marked(read, 1) and is_marked(read, 2)
    mailbox.close()
    room.close()


def test_memory_of_another_size_or_that_can_shrink_holds_no_marks(tmp_path: Path) -> None:
    room = Mailroom(tmp_path / "front.sock")
    opened = open_mailbox(tmp_path / "front.sock")
    assert opened is not None
    (ours, name), theirs = opened, room.claim(opened[1])
    assert theirs is not None and room.claim(name) is None, "whoever claims it has it"
    assert open_words(theirs, PLACES) is None, "nothing is in it"
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, WORD_BYTES * PLACES)
    ours.put(fd)
    with pytest.raises(FrameError):
        open_words(theirs, PLACES)
    Shared(1).hand_over(ours)
    with pytest.raises(FrameError):
        open_words(theirs, PLACES)
    Shared(PLACES).hand_over(ours)
    assert open_words(theirs, PLACES) is not None
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


def test_what_is_claimed_out_of_order_is_told_of_each_and_never_too_little() -> None:
    marks = make_words(PLACES)
    claims = Claims(marks, make_words())
    claims.claim(3)
    assert [is_marked(marks, number) for number in range(1, 5)] == [False, False, True, False]
    claims.claim(1)
    assert [is_marked(marks, number) for number in range(1, 5)] == [True, False, True, False]
    claims.claim(2 + PLACES)
    assert is_marked(marks, 2), "its place tells of a later one: it may be begun"
    claims.claim(2)
    assert is_marked(marks, 2 + PLACES), "a later one stays marked"
