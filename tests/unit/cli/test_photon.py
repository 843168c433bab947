"""`lep photon` on one machine, in a process of its own, as the alias would stay in this one."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "from leptonai.photon import Photon\nclass Quiet(Photon): ...\n"
CODE = """
from click.testing import CliRunner
from lepton.cli.photon import lep

def run(*words):
    said = CliRunner().invoke(lep, words)
    return said.exit_code, said.output

code, text = run("photon", "create", "-m", "quiet.py")
assert code and "--name" in text, text
code, text = run("photon", "create", "-n", "no name", "-m", "quiet.py")
assert code == 1 and "Invalid Photon name" in text, text
for _ in range(2):
    assert run("photon", "create", "-n", "quiet", "-m", "quiet.py") == (0, "Photon quiet created.\\n")
code, text = run("photon", "list", "--local")
assert code == 0 and text.count("quiet.py:Quiet") == 2 and "1970" not in text, text
assert run("photon", "remove")[0] == 2
assert run("photon", "remove", "-n", "quiet", "--all") == (0, "Photon quiet removed.\\n")
code, text = run("photon", "remove", "-n", "quiet")
assert code == 1 and "quiet does not exist" in text, text
code, text = run("photon", "runlocal", "-n", "quiet")
assert code == 2 and "--model" in text, text
assert "Runs a photon" in run("run", "-h")[1]
"""


def test_photons_are_made_listed_and_removed(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text(PROGRAM)
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "LEPTON_CACHE_DIR": str(tmp_path / "cache"),
        "COLUMNS": "200",
    }
    said = subprocess.run(
        [sys.executable, "-c", CODE], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert list((tmp_path / "cache").glob("*.photon")) == []
