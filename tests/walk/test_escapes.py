"""What a job and a replica cannot get at: every way out is tried from inside one, on a real platform."""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

import lepton
from lepton.engine.sandbox.layers import find
from lepton.engine.shim import records
from tests.walk import escapes
from tests.walk.house import House, opened_house, wait_until

LAYERS = find()
needs_layers = pytest.mark.skipif(
    bool(LAYERS["lacks"]), reason=f"this machine cannot hold a worker in every way: {LAYERS['lacks']}"
)
PROGRAM = Path(escapes.__file__).read_text()
OPEN_WITHOUT = {
    *("read_the_token", "read_the_key", "read_the_database", "read_the_vault", "see_other_names", "see_other_launches"),
    *("read_what_another_job_wrote", "read_another_jobs_log", "write_into_the_data_directory", "make_a_folder_there"),
    *("change_its_own_launch", "change_the_servers_address", "follow_a_link_to_the_token", "hard_link_the_token"),
    *("go_by_its_own_root", "go_up_from_its_folder", "go_by_the_servers_root", "go_by_the_servers_folder"),
    *("go_by_the_shims_root", "open_the_servers_files", "read_the_servers_variables", "read_another_jobs_variables"),
    *(
        "read_its_shims_variables",
        "read_the_servers_memory",
        "read_its_shims_memory",
        "read_the_servers_map",
        "trace_the_server",
        "trace_another_job",
        "delete_a_file_there",
        "move_the_data_directory",
        "change_the_platform",
    ),
    *("signal_the_server", "signal_another_job", "signal_its_shim", "signal_the_zygote"),
    *("signal_the_server_by_its_descriptor", "call_an_abstract_socket", "meet_other_gangs"),
    *("list_the_home", "read_the_users_file", "read_what_lies_beside_the_package", "read_logs", "read_shared_memory"),
    *("attach_shared_memory", "call_a_socket_by_its_path", "see_others_temporary_files"),
}
"""Ways that nothing but the sandbox shuts to this user: without it they are open, or the trial shows nothing."""


@contextmanager
def surroundings(house: House) -> Iterator[dict[str, Any]]:
    """Things to get at: another job, and what this process has opened."""
    script = "echo mine > secret.txt; echo ready; exec sleep 600"
    other = house.client.jobs.submit(["sh", "-c", script], name="other", env={"SECRET": "of-another-job"})
    wait_until(lambda: "".join(other.logs()), "the other job runs")
    folder = house.data / "engine" / f"{other.id}.0.0"
    shim = records.read(str(folder / records.SHIM))
    worker = records.read(str(folder / records.WORKER))
    assert house.server is not None and shim is not None and worker is not None
    with ExitStack() as stack:
        abstract, by_path = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        abstract.bind(f"\0lepton-test-{house.folder.name}")
        by_path.bind(str(house.folder / "line"))
        for line in (abstract, by_path):
            line.listen()
        memory = Path("/dev/shm", f"lepton-test-{house.folder.name}")
        stack.callback(memory.unlink)
        memory.write_text("shared")
        segment = 0x1EB70000 + house.server.pid % 0x10000
        libc = ctypes.CDLL(None)
        id = libc.shmget(segment, 4096, 0o1600)
        stack.callback(libc.shmctl, id, 0, None)
        (house.folder / "file.txt").write_text("of the user")
        (house.folder / "home").mkdir(exist_ok=True)
        (house.folder / "home" / ".netrc").write_text("password")
        (house.data / "decoy").touch()
        yield {
            "data": str(house.data),
            "server": house.server.pid,
            "other": str(folder),
            "other_pid": worker["pid"],
            "zygote": int(Path(f"/proc/{shim['pid']}/stat").read_text().rpartition(")")[2].split()[1]),
            "abstract": f"lepton-test-{house.folder.name}",
            "socket": str(house.folder / "line"),
            "memory": memory.name,
            "segment": segment,
            "file": str(house.folder / "file.txt"),
            "home": str(house.folder / "home"),
            "disk": os.stat("/").st_dev,
            "program": lepton.__file__,
            "project": str(Path(__file__).parents[2] / "pyproject.toml"),
            "opens_files": False,
            "only": [],
            "closed": False,
        }
    other.stop(grace_s=0).wait(check=False)


def tried(house: House, told: dict[str, Any], **wishes: Any) -> dict[str, str]:
    """What a job finds that tries every way."""
    job = house.client.jobs.submit(
        [sys.executable, "-c", PROGRAM], name="out", env={"TOLD": json.dumps(told)}, **wishes
    ).wait(check=False)
    log = "".join(job.logs())
    assert job.state == "done", log
    found: dict[str, str] = json.loads(log)
    return found


@pytest.fixture(scope="module")
def held() -> Iterator[tuple[House, dict[str, Any]]]:
    with opened_house() as house:
        house.up()
        with surroundings(house) as told:
            yield house, told
        assert house.lepton("status").returncode == 0, "the server is well after all that"
        house.end()


@needs_layers
def test_a_job_gets_at_nothing_of_the_platform_but_its_own(held: tuple[House, dict[str, Any]]) -> None:
    house, told = held
    found = tried(house, told)
    assert json.loads(found.pop("sees")) == [True, True], "it sees what its user sees"
    assert len(found) >= 90 and {name: led for name, led in found.items() if led} == {}


@needs_layers
def test_a_closed_job_sees_nothing_of_its_user_either(held: tuple[House, dict[str, Any]]) -> None:
    house, told = held
    found = tried(house, {**told, "closed": True}, isolation="closed")
    assert json.loads(found.pop("sees")) == [False, False]
    assert len(found) >= 100 and {name: led for name, led in found.items() if led} == {}


@pytest.mark.parametrize("isolation", ["own", "closed"])
@needs_layers
def test_a_replica_gets_at_no_more(held: tuple[House, dict[str, Any]], isolation: str, tmp_path: Path) -> None:
    house, told = held
    (tmp_path / "escapes.py").write_text(PROGRAM)
    (tmp_path / "out.py").write_text("""
import escapes
from lepton.serve import Service, handler

class Out(Service):
    @handler
    def out(self, told: str) -> dict:
        return escapes.main(escapes.json.loads(told))

    @handler
    def size(self, text: str) -> int:
        return len(text)
""")
    endpoint = house.client.serve.deploy(f"{tmp_path}/out.py:Out", name=f"out-{isolation}", isolation=isolation).wait()
    asked = {**told, "closed": isolation == "closed", "opens_files": True}
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {(house.data / 'token').read_text().strip()}",
    }
    request = Request(f"{endpoint.url}/out", json.dumps({"told": json.dumps(asked)}).encode(), headers)
    with urlopen(request) as answer:
        found = json.loads(answer.read())
    large = Request(f"{endpoint.url}/size", json.dumps({"text": "x" * 300_000}).encode(), headers)
    for _ in range(2):
        with urlopen(large) as answer:
            assert json.loads(answer.read()) == 300_000
    worker = records.read(str(house.data / "engine" / f"{endpoint.job}.0.1" / records.WORKER))
    assert worker is not None
    assert "lepton-bodies" in Path(f"/proc/{worker['pid']}/maps").read_text(), "large bodies lie in shared memory"
    endpoint.delete().wait("deleted")
    assert json.loads(found.pop("sees")) == [isolation == "own"] * 2
    assert {name: led for name, led in found.items() if led} == {}


def test_without_isolation_these_ways_are_open() -> None:
    """So that the trials above show what they seem to."""
    with opened_house() as house:
        house.up("--port", "0", "--isolation", "off")
        with surroundings(house) as told:
            found = tried(house, {**told, "closed": True, "only": sorted(OPEN_WITHOUT)})
        house.end()
    shut = set() if os.access(lepton.__file__, os.W_OK) else {"change_the_platform"}
    assert {name for name in OPEN_WITHOUT if not found[name].startswith("open")} == shut
