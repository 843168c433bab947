"""What only the local driver must do: processes, links and a full disk."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton.core.errors import NameTakenError, NotFoundError, StorageFullError
from lepton.vault.drivers.local import LocalDriver
from tests.backends.small import small_disk
from tests.contract.driver_faults import assert_full

INCREMENT = """
import sys
from pathlib import Path
from lepton.core.errors import StaleError
from lepton.vault.drivers.local import LocalDriver
driver = LocalDriver(Path(sys.argv[1]))
done = 0
while done < 20:
    etag = driver.head("n").etag
    try:
        driver.replace_if_match("n", str(int(b"".join(driver.get("n"))) + 1).encode(), etag=etag)
        done += 1
    except StaleError:
        pass
"""


def test_no_increment_is_lost_between_processes(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path)
    driver.put("n", [b"0"])
    workers = [subprocess.Popen([sys.executable, "-c", INCREMENT, str(tmp_path)]) for _ in range(3)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    assert b"".join(driver.get("n")) == b"60"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path)

    def filling() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFullError):
        driver.put("k", filling())
    assert [path for path in tmp_path.rglob("*") if path.is_file() and ".locks" not in path.parts] == []


def test_a_link_never_leads_out_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("s")
    driver = LocalDriver(tmp_path / "vault")
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "door").symlink_to(tmp_path / "secret")
    (tmp_path / "vault" / "key").symlink_to(tmp_path / "secret" / "key")
    for key in ("door/key", "key"):
        with pytest.raises(NotFoundError):
            driver.get(key)
        with pytest.raises(NotFoundError):
            driver.head(key)
    with pytest.raises(NotFoundError):
        driver.put("door/other", [b"x"])
    driver.put("key", [b"mine"])
    assert (tmp_path / "secret" / "key").read_text() == "s"
    assert [head.key for head in driver.list()] == ["key"]


def test_a_clock_that_stands_still_or_runs_back_still_gives_new_etags(tmp_path: Path) -> None:
    times = iter([5, 5, 1])
    driver = LocalDriver(tmp_path, now_ns=lambda: next(times))
    assert len({driver.put("k", [b"x"]).etag for _ in range(3)}) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from lepton.vault.drivers.local import LocalDriver

def chunks():
    yield bytes(3 << 20)
    os.kill(os.getpid(), signal.SIGKILL)

LocalDriver(Path(sys.argv[1])).put("k", chunks())
"""


def test_a_writer_that_is_killed_leaves_no_half_and_its_draft_goes_a_day_later(tmp_path: Path) -> None:
    LocalDriver(tmp_path).put("k", [b"old"])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -9
    (draft,) = (tmp_path / ".new").iterdir()
    assert b"".join(LocalDriver(tmp_path).get("k")) == b"old"
    assert [head.key for head in LocalDriver(tmp_path).list()] == ["k"]
    LocalDriver(tmp_path).put("other", [b"x"])
    assert draft.exists()
    yesterday = draft.stat().st_mtime_ns - 86_400 * 10**9 - 1
    os.utime(draft, ns=(yesterday, yesterday))
    LocalDriver(tmp_path).put("other", [b"x"])
    assert not draft.exists()


def test_a_file_system_without_links_still_creates_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    driver = LocalDriver(tmp_path)
    assert driver.create_if_absent("k", b"1") == driver.head("k")
    with pytest.raises(NameTakenError):
        driver.create_if_absent("k", b"2")
    assert b"".join(driver.get("k")) == b"1"


def test_a_small_disk_that_is_full_says_so() -> None:
    with small_disk() as folder:
        assert_full(LocalDriver(folder))
