"""Commands on one data directory: those that read run beside each other, and who is refused is told by whom."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.clock import SystemClock
from lepton.core.errors import ConfigError
from lepton.server.config import ServerConfig
from lepton.server.house import Use
from lepton.server.house import open_house as opened_data
from lepton.server.locks import held, holders
from tests.server.house import House, open_house

HOLDS = """
import sys
from pathlib import Path
from lepton.server.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with open_house(tmp_path / "data") as house:
        house.store(b"x")
    call("recovery-key", "--out", tmp_path / "kit", "--data", tmp_path / "data")
    call("backup", "--to", tmp_path / "safe", "--data", tmp_path / "data")
    return tmp_path / "data"


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["vault", *map(str, words)])


def test_who_only_reads_is_held_up_by_nobody_who_stores(data: Path, tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    reading = [
        ("keys",),
        ("verify",),
        ("verify", "--at", safe),
        ("drill", "--at", safe),
        ("backups",),
        ("backups", "--at", safe),
        ("site-key",),
        ("storage",),
        ("forget", "--at", safe, "--keep-last", 1, "--dry-run"),
        ("restore", "--from", safe, "--into", tmp_path / "out", "--only", "default", "--dry-run"),
    ]
    for use in (Use.READS, Use.WRITES):
        with opened_data(ServerConfig(data=data), SystemClock(), use=use):
            for words in reading:
                done = call(*words, "--data", data)
                assert done.exit_code == 0, (words, done.output, done.exception)


def test_who_stores_is_refused_beside_another_and_told_who_that_is(data: Path, tmp_path: Path) -> None:
    for use, words in (
        (Use.WRITES, ("backup", "--to", tmp_path / "safe")),
        (Use.READS, ("rotate-root",)),
        (Use.READS, ("erase", "default", "--certificate", tmp_path / "paper")),
        (Use.ALONE, ("keys",)),
    ):
        with opened_data(ServerConfig(data=data), SystemClock(), use=use):
            told = call(*words, "--data", data).exception
            assert isinstance(told, ConfigError), words
            assert f"process {os.getpid()}, " in told.message and "Wait until" in told.fix, told.message


def test_the_holder_of_a_lock_is_named_with_its_command(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    words = [sys.executable, "-c", HOLDS, str(lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        ((pid, command),) = holders(lock)
        assert pid == other.pid and command.startswith(f"{sys.executable} -c")
        with pytest.raises(ConfigError, match=f"process {pid}, ") as told, held(lock):
            pass
        assert "Wait until" in told.value.fix
        other.communicate()
    with held(lock):
        assert [pid for pid, _ in holders(lock)] == [os.getpid()]
        with pytest.raises(ConfigError), held(lock, is_shared=True):
            pass
    with held(lock, is_shared=True), held(lock, is_shared=True):
        pass
    assert holders(lock) == []


def test_a_second_server_is_told_of_the_first(house: House) -> None:
    with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}, "), open_house(house.config.data):
        pass
