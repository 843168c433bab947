"""The command line and the SDK against a real server: logs of every start, why, stop, wait."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton.core.errors import InvalidError, UnavailableError
from lepton.sdk.jobs import Job
from tests.walk.house import LEPTON, House, interruptible, wait_until


@pytest.fixture(autouse=True)
def idle(up: House) -> Iterator[None]:
    """Whatever a test has left running ends with it."""
    yield
    for job in up.client.jobs.list():
        if not job.is_final:
            job.stop(grace_s=0).wait(check=False, timeout_s=60)


@pytest.fixture(scope="module")
def thrice(up: House) -> Job:
    """A job of two workers that failed three times."""
    program = 'echo "start $LEPTON_GENERATION of $RANK"; exit $((RANK * 3))'
    job = up.client.jobs.submit(["sh", "-c", program], workers=2, cpus=0.1, retries=2)
    return job.wait(check=False, timeout_s=60)


def test_every_start_and_rank_has_its_log(up: House, thrice: Job) -> None:
    for start in (1, 2, 3):
        assert "".join(thrice.logs(start=start, rank=1)) == f"start {start - 1} of 1\n"
    said = up.lepton("jobs", "logs", thrice.id, "--start", "1", "--rank", "0")
    assert said.stdout == "start 0 of 0\n"
    assert "".join(thrice.logs(rank=1)) == "start 2 of 1\n"
    whole = up.lepton("jobs", "logs", thrice.id, "--start", "2", "-f").stdout
    assert whole == "start 1 of 0\n[lepton: started again, start 3]\nstart 2 of 0\n"


def test_a_start_that_never_was_is_told_with_those_that_were(up: House, thrice: Job) -> None:
    for start in (0, 4):
        with pytest.raises(InvalidError, match="was started 3 times") as fault:
            list(thrice.logs(start=start))
        assert fault.value.fix == "Give 1 to 3."
    said = up.lepton("jobs", "logs", thrice.id, "--start", "9")
    assert (said.returncode, said.stdout) == (2, "")
    assert "has no start 9" in said.stderr


def test_why_tells_of_every_start(up: House, thrice: Job) -> None:
    first, *starts = up.lepton("jobs", "why", thrice.id).stdout.splitlines()
    assert first == "failed: worker 1: failed with code 3"
    assert [line.partition(", after")[0] for line in starts] == [
        f"start {number} of 3: worker 1 ended: failed with code 3" for number in (1, 2, 3)
    ]
    found = json.loads(up.lepton("jobs", "why", thrice.id, "--json").stdout)
    assert (found["start"], found["limit"], len(found["starts"])) == (3, 3, 3)


def test_a_command_waits_for_a_server_that_was_killed_and_is_started_again(up: House) -> None:
    up.kill()
    asked = subprocess.Popen([*LEPTON, "jobs", "list", "--json"], env=up.env, stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        asked.wait(3)
    up.up()
    assert isinstance(json.loads(asked.communicate(timeout=20)[0]), list)
    assert asked.returncode == 0


def test_while_it_waits_for_its_next_start_the_log_of_the_last_is_shown(up: House) -> None:
    job = up.client.jobs.submit(["sh", "-c", "echo here; exit 1"], cpus=0.1, retries=9)
    wait_until(lambda: job.refresh().generation >= 4 and job.state == "queued", "it pauses for seconds")
    assert "".join(job.logs()) == "here\n"
    assert "comes in" in job.story().why
    job.stop()
    assert job.state == "cancelled"


def test_stop_shows_what_the_request_has_led_to(up: House) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    job = up.client.jobs.submit([sys.executable, "-c", program], cpus=0.1)
    wait_until(lambda: "up" in "".join(job.refresh().logs()), "it runs")
    said = json.loads(up.lepton("jobs", "stop", job.id, "--grace", "1", "--json").stdout)
    assert said["state"] == "stopping"
    assert job.wait(check=False, timeout_s=60).state == "cancelled"


def test_wait_says_on_standard_error_why_a_job_waits_and_again_when_that_changes(up: House) -> None:
    cpus = up.client.pool.nodes()[0]["status"]["devices"]["cpu_milli"] / 1000
    half = [up.client.jobs.submit(["sleep", "600"], cpus=cpus / 2) for _ in range(2)]
    job = up.client.jobs.submit(["true"], cpus=cpus)
    waiting = subprocess.Popen(
        [*LEPTON, "jobs", "wait", "--json", job.id],
        env=up.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    first = json.loads(waiting.stderr.readline())["note"]
    assert first.startswith(f"job {job.id} waits: needs {cpus:g} CPU")
    assert first.partition("free is ")[2].startswith("0 CPU")
    half[0].stop(grace_s=0)
    assert f"free is {cpus / 2:g} CPU" in waiting.stderr.readline()
    half[1].stop(grace_s=0)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err) == (0, "")
    assert json.loads(out)["state"] == "done"


def test_wait_ends_at_its_time_and_says_so(up: House) -> None:
    job = up.client.jobs.submit(["sleep", "600"], cpus=0.1)
    with pytest.raises(UnavailableError, match=r"after 0\.2 s"):
        job.wait(timeout_s=0.2)
    with pytest.raises(InvalidError, match="timeout_s is -1"):
        job.wait(timeout_s=-1)
    job.stop(grace_s=0)


def test_more_wait_at_once_than_there_are_connections_over_one_stream(up: House) -> None:
    jobs = [up.client.jobs.submit(["true"], cpus=0.01) for _ in range(70)]
    client = up.client
    portal, http = client._portal, client._inner.http

    async def wait_for_all() -> list[str]:
        waits = [job._inner.wait(timeout_s=60) for job in jobs]
        return [job.state for job in await asyncio.gather(*waits)]

    assert set(portal.run(wait_for_all())) == {"done"}
    assert len(http._feeds) == 1


def test_a_reader_that_goes_away_is_no_error(up: House, thrice: Job) -> None:
    for words in (["jobs", "list", "--json"], ["jobs", "logs", "-f", thrice.id, "--start", "1"]):
        reading, writing = os.pipe()
        command = subprocess.Popen([*LEPTON, *words], env=up.env, stdout=writing, stderr=subprocess.PIPE, text=True)
        os.close(reading)
        os.close(writing)
        _, err = command.communicate(timeout=30)
        assert (command.returncode, err) == (141, ""), words


def test_ctrl_c_ends_a_follower_quietly(up: House) -> None:
    job = up.client.jobs.submit(["sh", "-c", "echo up; sleep 600"], cpus=0.1)
    with interruptible():
        follower = subprocess.Popen(
            [*LEPTON, "jobs", "logs", "-f", job.id],
            env=up.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert follower.stdout is not None
    assert follower.stdout.readline() == "up\n"
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    assert (follower.returncode, err.strip()) == (130, "")
    job.stop(grace_s=0)


COMPLETE = """
eval "$(_LEPTON_COMPLETE=bash_source lepton)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p lepton | sed 's/.*-F \\([^ ]*\\).*/\\1/') lepton
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(house: House, *words: str) -> list[str]:
    """What bash offers for the last word."""
    folder = house.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "lepton").write_text(f'#!/bin/sh\nexec {sys.executable} -m lepton.cli.main "$@"\n')
    (folder / "lepton").chmod(0o755)
    env = {**house.env, "PATH": f"{folder}:{house.env['PATH']}"}
    command = ["bash", "-c", COMPLETE, "bash", "lepton", *words]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return said.stdout.split()


def test_bash_completes_commands_options_choices_and_ids(up: House) -> None:
    assert completed(up, "jobs", "w") == ["wait", "why"]
    assert completed(up, "jobs", "list", "--st") == ["--state"]
    assert completed(up, "jobs", "list", "--state", "r") == ["running"]
    job = up.client.jobs.submit(["true"], cpus=0.1)
    assert job.id in completed(up, "jobs", "get", "job_")


def test_completion_is_silent_where_there_is_no_server(house: House) -> None:
    assert completed(house, "jobs", "get", "") == []


def test_a_server_runs_nothing_of_the_folder_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / "jwt.py").write_text("raise SystemExit('shadowed')")
    lepton = Path(sys.executable).with_name("lepton")
    environment = {**os.environ, "LEPTON_DATA": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state")}
    try:
        subprocess.run([lepton, "up", "-d", "--port", "0"], cwd=tmp_path, env=environment, check=True)
    finally:
        subprocess.run([lepton, "down"], cwd=tmp_path, env=environment, check=False)
