"""A version mounted by FUSE: what it shows, what it refuses, how it ends. By the real kernel, where it has FUSE."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.house import House, wait_until

pytest.importorskip("mfusepy", exc_type=(ImportError, OSError))
pytestmark = pytest.mark.skipif(
    not os.access("/dev/fuse", os.R_OK | os.W_OK) or not shutil.which("fusermount3"), reason="no FUSE here"
)
BIG = os.urandom(9 << 20)


@contextmanager
def mounted(house: House, address: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir()
    environment = {**os.environ, "LEPTON_URL": house.url, "LEPTON_TOKEN": house.token}
    command = [sys.executable, "-m", "lepton.cli.main", "vault", "mount", address, str(folder)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: folder.is_mount() or process.poll() is not None, "it is mounted", 30)
            if not folder.is_mount():
                told = process.communicate()[1]
                if "cannot be mounted" in told:
                    pytest.skip(told)
                raise AssertionError(told)
            yield process
        finally:
            if folder.is_mount():
                subprocess.run(["fusermount3", "-u", folder], check=True)
            process.wait(20)


def test_a_mount_shows_one_version_and_cannot_be_written(house: House, tmp_path: Path) -> None:
    with house.sdk() as client:
        client.vault.write("set/a.txt", b"first")
        client.vault.write("set/deep/big", BIG)
        top = tmp_path / "mount"
        with mounted(house, "lepton://default/set", top):
            client.vault.write("set/a.txt", b"second")
            client.vault.write("set/new", b"later")
            assert sorted(os.listdir(top)) == ["a.txt", "deep"]
            assert (top / "a.txt").read_bytes() == b"first" and (top / "deep" / "big").read_bytes() == BIG
            with (top / "deep" / "big").open("rb") as file:
                file.seek((4 << 20) - 3)
                assert file.read(7) == BIG[(4 << 20) - 3 : (4 << 20) + 4]
            assert (top / "a.txt").stat().st_size == 5 and (top / "deep").is_dir()
            assert not (top / "nothing").exists()
            for change in (
                lambda: (top / "a.txt").write_bytes(b"x"),
                lambda: (top / "a.txt").unlink(),
                lambda: (top / "more").mkdir(),
            ):
                with pytest.raises(OSError, match="Read-only file system"):
                    change()
            found = subprocess.run(["cp", "-r", top, tmp_path / "copy"], check=True)
            assert found.returncode == 0 and (tmp_path / "copy" / "deep" / "big").read_bytes() == BIG


def test_a_mount_ends_with_ctrl_c(house: House, tmp_path: Path) -> None:
    with house.sdk() as client:
        client.vault.write("a", b"1")
    with mounted(house, "lepton://default", tmp_path / "mount") as process:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        wait_until(lambda: not (tmp_path / "mount").is_mount(), "it is unmounted")
