"""A front may have as many files open as its connections need."""

import subprocess
import sys

import pytest

CODE = """
import resource
from lepton.serve.doors import allow_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
allow_files({count})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("hard", "count", "soft", "word"), [(300, 200, 200, ""), (300, 400, 300, "300"), (300, 50, 64, "")]
)
def test_the_limit_of_files_is_raised_as_far_as_may_be(hard: int, count: int, soft: int, word: str) -> None:
    command = [sys.executable, "-c", CODE.format(hard=hard, count=count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == soft
    assert (word in done.stderr) if word else not done.stderr
