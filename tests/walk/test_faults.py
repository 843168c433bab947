"""Faults round the server itself: ports, folders, disks, databases, keys, and a second or missing server."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton.core.errors import LeptonError, StorageFullError
from tests.walk.house import House, opened_house, wait_until

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="mounting needs root")
UP_S = 60.0


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@pytest.fixture
def small(house: House) -> Iterator[House]:
    """A house whose data directory is a disk of 24 MB."""
    house.data.mkdir()
    mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", str(house.data))
    yield house
    house.end()
    wait_until(lambda: not house.left_running(), "nothing runs there")
    subprocess.run(["umount", "-l", str(house.data)], check=True)


def refused(house: House, *flags: str) -> str:
    """What `lepton up` says when it cannot start."""
    done = house.lepton("up", "--data", str(house.data), *(flags or ("--port", "0")), timeout_s=UP_S)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "try: " in done.stderr
    return done.stderr


def test_a_port_in_use_is_told_and_nothing_is_left_running(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in refused(house, "--port", port)
    assert not house.left_running()
    assert not (house.data / "url").exists()
    house.up()


def test_a_second_server_on_the_same_folder_is_refused_and_the_first_goes_on(house: House) -> None:
    house.up()
    assert f"{house.data} is in use by process" in refused(house)
    assert f"{house.data} is in use by process" in refused(house, "-d", "--port", "0")
    assert house.lepton("status").returncode == 0


def test_down_twice_says_that_nothing_runs(house: House) -> None:
    assert house.lepton("up", "-d", "--port", "0").returncode == 0
    assert house.lepton("down").returncode == 0
    again = house.lepton("down")
    assert again.returncode == 5
    assert f"No server runs on {house.data}" in again.stderr
    assert not house.left_running()


def test_down_after_kill_9_ends_no_stranger_that_has_got_the_process_id(house: House) -> None:
    house.up()
    house.kill()
    note = house.data / "server.json"
    with subprocess.Popen(["sleep", "60"]) as stranger:
        note.write_text(json.dumps({**json.loads(note.read_text()), "pid": stranger.pid}))
        assert house.lepton("down").returncode == 5
        assert stranger.poll() is None
        stranger.kill()


@needs_root
def test_a_read_only_folder_is_told(house: House) -> None:
    house.up()
    house.terminate()
    mount("--bind", str(house.data), str(house.data))
    mount("-o", "remount,ro,bind", str(house.data))
    try:
        assert "cannot be written: Read-only file system" in refused(house)
        assert "cannot be written: Read-only file system" in refused(house, "-d")
    finally:
        subprocess.run(["umount", str(house.data)], check=True)
    house.up()


def test_a_database_of_a_newer_version_is_refused_untouched(house: House) -> None:
    house.up()
    house.terminate()
    with sqlite3.connect(house.data / "lepton.db") as database:
        database.execute("INSERT INTO migrations (number, name, applied_at) VALUES (9999, 'future', 0)")
    database.close()
    assert "schema 9999" in refused(house)


def test_a_torn_database_is_told_and_never_overwritten(house: House) -> None:
    house.up()
    house.terminate()
    file = house.data / "lepton.db"
    torn = b"not a database" * 1000
    file.write_bytes(torn)
    assert "is damaged" in refused(house)
    assert file.read_bytes() == torn


def test_a_locked_database_is_told(house: House) -> None:
    house.up()
    house.terminate()
    database = sqlite3.connect(house.data / "lepton.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    try:
        assert "is locked by another program" in refused(house)
    finally:
        database.close()
    house.up()


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "\udcff"])
def test_a_corrupt_key_is_told_and_never_replaced(house: House, text: str) -> None:
    house.data.mkdir()
    key = house.data / "key"
    key.write_bytes(text.encode(errors="surrogateescape"))
    assert f"The key file {key}" in refused(house)
    assert key.read_bytes() == text.encode(errors="surrogateescape")
    assert not (house.data / "lepton.db").exists()


def test_a_lost_or_wrong_token_file_is_told_to_the_client(house: House) -> None:
    house.up()
    token = house.data / "token"
    kept = token.read_text()
    token.write_text("wrong\n")
    wrong = house.lepton("status")
    assert (wrong.returncode, "unknown, revoked or expired" in wrong.stderr) == (4, True)
    token.unlink()
    missing = house.lepton("status")
    assert (missing.returncode, "token cannot be read" in missing.stderr) == (4, True)
    token.write_text(kept)
    assert house.lepton("status").returncode == 0


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1 << 6):
            try:
                while stream.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


@needs_root
def test_a_full_disk_refuses_work_in_plain_words_and_recovers_when_there_is_room(small: House) -> None:
    small.up()
    client = small.client
    upload = small.folder / "big"
    upload.write_bytes(os.urandom(1 << 20))
    assert client.jobs.submit(["true"]).wait().state == "done"
    filler = fill(small.data)
    with pytest.raises(StorageFullError):
        client.catalog.upload([upload], kind="raw", name="big")
    before = len(client.catalog.list())
    with pytest.raises(LeptonError) as fault:
        for _ in range(10_000):
            client.jobs.submit(["true"], name="wide", env={"A": "x" * 1000})
    assert isinstance(fault.value, StorageFullError)
    assert before == 0
    assert not list((small.data / "vault" / ".new").iterdir())
    filler.unlink()
    assert client.catalog.upload([upload], kind="raw", name="big").number == 1
    assert client.jobs.submit(["true"]).wait(timeout_s=60).state == "done"


@needs_root
def test_a_job_that_finds_no_room_to_start_waits_says_why_and_runs_when_there_is(small: House) -> None:
    small.up()
    client = small.client
    assert client.jobs.submit(["true"]).wait().state == "done"
    engine = small.data / "engine"
    mount("-t", "tmpfs", "-o", "size=64k,nr_inodes=200", "tmpfs", str(engine))
    try:
        filler = fill(engine)
        job = client.jobs.submit(["true"])
        wait_until(lambda: "No room to start a worker" in job.why(), "it says why", 30)
        filler.unlink()
        assert job.wait(timeout_s=60).state == "done"
    finally:
        subprocess.run(["umount", "-l", str(engine)], check=True)


class Gated:
    """A job that goes on when it is let."""

    def __init__(self, house: House, program: str) -> None:
        self.gate = house.folder / "gate"
        os.mkfifo(self.gate)
        self.job = house.client.jobs.submit([sys.executable, "-c", program, str(self.gate)])
        wait_until(lambda: self.job.refresh().state == "running", "it runs")

    def open(self) -> None:
        self.gate.write_text("go\n")


def test_sigterm_ends_the_server_in_order_and_a_job_that_ends_meanwhile_is_not_lost(house: House) -> None:
    house.up()
    gated = Gated(house, "import sys; print('got', open(sys.argv[1]).read()); sys.exit(7)")
    assert house.terminate() == 0
    assert not (house.data / "url").exists()
    assert not (house.data / "server.json").exists()
    gated.open()
    wait_until(
        lambda: not [line for line in house.left_running() if "lepton-shim" in line or "gate" in line], "it ended"
    )
    house.up()
    ended = gated.job.wait(check=False)
    assert (ended.state, ended.exit_code) == ("failed", 7)
    assert "".join(ended.logs()).startswith("got go")


def test_a_worker_finds_the_server_again_at_another_port(house: House) -> None:
    program = (
        "import sys, lepton; context = lepton.context(); context.metrics(1, x=1.0); open(sys.argv[1]).read(); "
        "context.metrics(2, x=2.0); context.flush()"
    )
    house.up()
    first = house.client.url
    gated = Gated(house, program)
    house.kill()
    house.up()
    gated.open()
    assert gated.job.wait().state == "done"
    assert house.client.url != first
    assert gated.job.metrics() == {"x": [(1, 1.0), (2, 2.0)]}


def test_logs_are_followed_through_a_restart_of_the_server_and_of_the_gang(house: House) -> None:
    program = (
        "import os, sys; start = os.environ['LEPTON_GENERATION']; print('begin', start, flush=True); "
        "open(sys.argv[1]).read(); print('end', start, flush=True); sys.exit(0 if start == '2' else 1)"
    )
    house.up()
    gate = house.folder / "gate"
    os.mkfifo(gate)
    job = house.client.jobs.submit([sys.executable, "-c", program, str(gate)], retries=2)
    follower = house.begin("jobs", "logs", "-f", job.id)
    said = house.folder / "jobs.out"
    for start in range(3):
        wait_until(lambda start=start: f"begin {start}" in said.read_text(), f"start {start} is followed")
        if start == 1:
            house.kill()
            house.up()
        gate.write_text("go\n")
    assert follower.wait(60) == 0
    lines = [line for line in said.read_text().splitlines() if not line.startswith("[lepton")]
    assert lines == [f"{word} {start}" for start in range(3) for word in ("begin", "end")]


def test_two_houses_stand_side_by_side(house: House) -> None:
    house.up()
    with opened_house() as other:
        other.up()
        assert other.client.url != house.client.url
        other.end()
    assert house.lepton("status").returncode == 0
