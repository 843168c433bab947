"""The servers of the live show: real `lepton up --engine fleet` that can be killed, their fleet, a Postgres for two."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from select import poll
from tempfile import mkdtemp

from lepton.core.launch import NodeFacts
from lepton.engine.files import write_whole
from lepton.engine.fleet.roster import MACHINE

LEPTON = [sys.executable, "-m", "lepton.cli.main"]
START_S, END_S = 60, 30
RACKS = 4
HEARTBEAT_S, LEASE_S = 1.0, 3.0
MIN_RUN_S, RECLAIM_S = 1.0, 2.0
"""No job is stopped for another sooner than this; a guarantee waits so long."""
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Fleet:
    """The list of machines that the servers' engine reads."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        width = len(str(count))
        self.all = [
            NodeFacts(name=f"n{at + 1:0{width}}", devices=MACHINE, labels={"rack": f"r{at * RACKS // count + 1}"})
            for at in range(count)
        ]
        self.write(self.all)

    def write(self, nodes: list[NodeFacts]) -> None:
        """Let these be there, and no others."""
        write_whole(self.folder / "nodes.json", json.dumps([asdict(node) for node in nodes]))

    def fail(self, count: int) -> set[str]:
        """Take that many away, from every rack some; their names."""
        step = len(self.all) // count
        gone = {node.name for node in self.all[::step][:count]}
        self.write([node for node in self.all if node.name not in gone])
        return gone


class Server:
    """One server on one data directory."""

    def __init__(self, data: Path, fleet: Fleet, **env: str) -> None:
        self.data = data
        self.process: subprocess.Popen[bytes] | None = None
        plain = {name: value for name, value in os.environ.items() if not name.startswith("LEPTON_")}
        times = {"HEARTBEAT_S": HEARTBEAT_S, "LEASE_S": LEASE_S, "MIN_RUN_S": MIN_RUN_S, "RECLAIM_S": RECLAIM_S}
        mine = {**times, "FLEET": fleet.folder, "NOTED": 0}
        self.env = {**plain, **{f"LEPTON_{name}": str(value) for name, value in mine.items()}, **env}
        data.mkdir(parents=True, exist_ok=True)

    def up(self) -> None:
        """Start it; returns once it answers."""
        reading, writing = os.pipe()
        command = [*LEPTON, "up", "--engine", "fleet", "--port", "0", "--data", str(self.data)]
        with (self.data / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**self.env, "LEPTON_READY_FD": str(writing)},
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(writing)
        waiting = poll()
        waiting.register(reading)
        is_ready = bool(waiting.poll(START_S * 1000)) and os.read(reading, 1) == b"1"
        os.close(reading)
        if not is_ready:
            raise RuntimeError((self.data / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(END_S)

    def end(self) -> None:
        """SIGTERM if it runs; kill -9 if that does not help."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def cpu_s(self) -> float:
        """Seconds of a processor that it has used."""
        assert self.process is not None
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")

    def faults(self) -> list[str]:
        """The errors in its log."""
        return [line for line in (self.data / "server.log").read_text().splitlines() if " ERROR " in line]


@contextmanager
def serving(*servers: Server) -> Iterator[None]:
    """Whatever happens, none of them runs afterwards."""
    try:
        yield
    finally:
        for server in servers:
            server.end()


@contextmanager
def postgres() -> Iterator[str | None]:
    """URL of a Postgres of its own; None where there is none to start."""
    if not POSTGRES:
        yield None
        return
    folder = Path(mkdtemp(prefix="lepton-live-"))
    as_user = []
    if os.geteuid() == 0:  # Postgres refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *words: str) -> None:
        subprocess.run([*as_user, str(POSTGRES[-1] / program), *words], check=True, capture_output=True, cwd="/")

    run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "lepton", "-N")
    control = ("-D", f"{folder}/data", "-w", "-l", f"{folder}/log")
    run("pg_ctl", *control, "-o", f"-c listen_addresses='' -k {folder}", "start")
    try:
        yield f"postgresql://lepton@/postgres?host={folder}"
    finally:
        run("pg_ctl", *control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
