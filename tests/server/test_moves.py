"""A move of the platform's packs that is killed at any of its writes goes on, and ends with what is whole."""

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lepton.core.errors import ConflictError
from lepton.vault.driver import Head
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import OWNER_MARK, PACKS_MARK
from tests.server.house import House, open_house
from tests.server.test_storage import BODY, call, get, packs_in, put, run


def killed(act: Callable[[], object], root: Path, *, at: str) -> None:
    """Do it in a process that is killed when it writes such a key into a folder."""
    child = os.fork()
    if not child:
        whole = LocalDriver.put

        def dying(self: LocalDriver, key: str, chunks: Iterable[bytes]) -> Head:
            if self.root == root and key.startswith(at):
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, key, chunks)

        LocalDriver.put = dying  # type: ignore[method-assign]  # of this process, which is to die
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def told(house: House) -> list[str]:
    return [event["verb"] for event in house.ask("GET", "/events?scope=platform&limit=1000")["items"]]


def test_a_move_that_goes_on_proves_what_lies_there(tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    with open_house(data) as house:
        assert put(house, "a") == put(house, "b", BODY[1:]) == 201
    run("storage", "--move-to", away, "--data", data)
    for left in packs_in(data / "vault"):  # what was left rots
        left.write_bytes(bytes(left.stat().st_size))
    back = ("storage", "--move-to", data / "vault", "--data", data)
    killed(lambda: call(*back), data / "vault", at="domains/")
    run(*back)
    assert "packs are whole" in run("verify", "--data", data)
    with open_house(data) as house:
        assert get(house, "a") == BODY


def test_a_move_that_had_ended_is_told_and_noted(tmp_path: Path) -> None:
    """It was killed at the mark of its owner, which is written once content lies in the new place."""
    data, away = tmp_path / "data", tmp_path / "away"
    with open_house(data) as house:
        assert put(house, "a") == 201
    move = ("storage", "--move-to", away, "--data", data)
    killed(lambda: call(*move), away, at=OWNER_MARK)
    fault = call(*move).exception
    assert isinstance(fault, ConflictError) and "already" in fault.message and "Start the server" in fault.fix
    with open_house(data) as house:
        assert get(house, "a") == BODY and told(house).count("storage moved") == 1
    assert not (data / "vault" / PACKS_MARK).exists()


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_restore_into_a_storage_trusts_nothing_that_lies_there(tmp_path: Path, is_killed: bool) -> None:
    data, left, safe, kit, back = (tmp_path / name for name in ("data", "left", "safe", "kit", "back"))
    with open_house(data, storage=str(left)) as house:
        assert put(house, "a") == 201
    run("recovery-key", "--out", kit, "--data", data)
    run("backup", "--to", safe, "--data", data)
    run("storage", "--move-to", tmp_path / "away", "--data", data)
    for each in packs_in(left):  # what was left rots
        each.write_bytes(bytes(each.stat().st_size))
    restore = ("restore", "--from", safe, "--recovery-key", kit, "--into", back, "--storage", left)
    if is_killed:
        killed(lambda: call(*restore), left, at="domains/")
    run(*restore)
    assert "All read" in run("verify", "--data", back)
