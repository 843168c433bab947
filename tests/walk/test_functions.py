"""Python functions as jobs: what they return, what they raise and where, as a user's program and notebook see it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.walk.house import House, opened_house

PROGRAM = """
import asyncio
import sys

import lepton
import own


@lepton.job(cpus=0.1)
def fails(number):
    left = number - 1
    return own.divide(left)  # here


@lepton.job
async def later(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@lepton.job(cpus=0.1)
def leaves():
    sys.exit(4)


print(later.submit(21).result(), asyncio.run(later(4)))
try:
    leaves.submit().result()
except lepton.core.errors.JobFailedError as fault:
    print(fault.message.partition(" left ")[2])
try:
    fails.submit(1, 2)
except TypeError as fault:
    print(fault)
fails.submit(1).result()
"""
OWN = """def divide(number):
    return 1 / number
"""
CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_cell("import lepton\\ndef inner(place):\\n    return [][place]  # in cell one\\n")
shell.run_cell(
    "@lepton.job(cpus=0.1)\\ndef outer(place):\\n    return inner(place)  # in cell two\\n"
    "try:\\n    outer.submit(3).result()\\nexcept IndexError as fault:\\n    print(fault.__notes__[0])\\n"
)
"""


@pytest.fixture(scope="module")
def up() -> Iterator[House]:
    with opened_house() as house:
        house.up()
        (house.folder / "own.py").write_text(OWN)
        yield house
        house.end()


def run(house: House, program: str) -> subprocess.CompletedProcess[str]:
    """A user's program, which is gone from the disk before its job runs: only what was sent along is there."""
    path = house.folder / "program.py"
    path.write_text(program)
    return subprocess.run(
        [sys.executable, str(path)], env=house.env, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_program_sees_values_and_a_traceback_with_its_own_lines(up: House) -> None:
    done = run(up, PROGRAM)
    assert done.stdout.splitlines() == ["42 8", "by SystemExit(4)", "too many positional arguments"]
    remote = done.stderr.partition("Traceback of job ")[2]
    assert f'File "{up.folder / "program.py"}", line 12, in fails\n    return own.divide(left)  # here\n' in remote
    assert f'File "{up.folder / "own.py"}", line 2, in divide\n    return 1 / number\n' in remote
    assert "ZeroDivisionError: division by zero" in remote
    assert "lepton/engine" not in remote
    assert remote.partition("\n")[2].strip() in "".join(up.client.jobs.list()[0].logs())


def test_lines_of_notebook_cells_are_in_the_traceback_too(up: House) -> None:
    pytest.importorskip("IPython")
    said = run(up, CELLS).stdout
    assert "return inner(place)  # in cell two" in said
    assert "return [][place]  # in cell one" in said
    assert "<dynamic-code>" not in said
