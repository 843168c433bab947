"""Real servers that several suites need, started once a session."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.ports import free_port

pytest.register_assert_rewrite("tests.contract.driver_contract", "tests.contract.driver_faults", "tests.contract.past")

settings.register_profile("alike", derandomize=True, deadline=None)
settings.load_profile("alike")  # every run draws the same; very many others are drawn in the slow runs of properties

WALKS_UNTIL = 0.9
"""By this share of the run the last file of walks has begun: they take longest."""


TOGETHER = {
    **dict.fromkeys(("test_walk.py", "test_kill9.py", "test_processes.py", "test_disk.py"), "undisturbed"),
    **dict.fromkeys(("test_models.py", "test_model_files.py"), "models"),
}
"""Files that one process runs: they share a walk, or libraries that take long to import. Every other file is alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of walks, which mostly wait for other processes, come spread among those that compute."""
    files = list(dict.fromkeys(item.path for item in items))
    walks = [file for file in files if file.parent.name == "walk"]
    others = [file for file in files if file.parent.name != "walk"]
    places = {file: place / len(others) for place, file in enumerate(others)}
    places |= {file: WALKS_UNTIL * place / len(walks) for place, file in enumerate(walks)}
    items.sort(key=lambda item: places[item.path])


class ByFile(LoadScopeScheduling):
    """Gives each process one file after the other; `--dist loadgroup` of xdist 3.8 tells no groups to pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return TOGETHER.get(file.rpartition("/")[2], file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """How `-n` spreads the tests."""
    return ByFile(config, log)


BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _as_postgres(*command: str) -> list[str]:
    """Postgres refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Postgres with nothing in it, listening on loopback."""
    if not BINARIES:
        if os.environ.get("LEPTON_TEST_POSTGRES") == "required":
            pytest.fail("Postgres is required here and its binaries are missing: apt-get install postgresql")
        pytest.skip("Postgres is not installed: apt-get install postgresql")
    folder = Path(tmp_path_factory.mktemp("postgres"))
    if os.geteuid() == 0:
        folder = Path(f"/tmp/lepton-test-postgres-{os.getpid()}")
        folder.mkdir()
        shutil.chown(folder, "postgres")
    port = free_port()
    run = {"check": True, "capture_output": True, "cwd": "/"}
    subprocess.run(
        _as_postgres(str(BINARIES[-1] / "initdb"), "-D", f"{folder}/data", "-A", "trust", "-U", "lepton", "-N"), **run
    )
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = _as_postgres(str(BINARIES[-1] / "pg_ctl"), "-D", f"{folder}/data", "-w", "-l", f"{folder}/log")
    subprocess.run([*control, "-o", options, "start"], **run)
    yield f"postgresql://lepton@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fresh_postgres(postgres_url: str) -> Iterator[str]:
    """URL of an empty database of its own on that server."""
    import psycopg  # noqa: PLC0415  an extra: only what needs Postgres needs it

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
