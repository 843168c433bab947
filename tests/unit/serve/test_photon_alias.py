"""The names `leptonai...` in a process that asked for them, with the vendor's package and without."""

import os
import subprocess
import sys
from pathlib import Path

OURS = "from lepton.serve.photon import alias; alias.install()\n"
INSTALLED = {
    "__init__.py": "__version__ = '9.9'\nfrom .client import Client\n",
    "client.py": "from leptonai.config import THEIRS\nfrom leptonai.photon import FileParam\nclass Client: ...\n",
    "config.py": "THEIRS = 1\nDEFAULT_PORT = 1\n",
    "photon.py": "raise RuntimeError('the vendor own')\n",
}


def run(code: str, *paths: Path) -> "subprocess.CompletedProcess[str]":
    root = Path(__file__).parents[3]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (root, *paths)))}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_without_the_vendors_package_photon_is_there_and_its_client_is_said_to_be_missing() -> None:
    said = run(
        OURS + "import leptonai\n"
        "from leptonai import Photon\n"
        "from leptonai.photon import Photon as Same, Worker, HTTPException, FileParam, StaticFiles\n"
        "from leptonai.photon.types import File, lepton_pickle, get_file_content, to_bool\n"
        "from leptonai.photon.types.responses import PNGResponse\n"
        "from leptonai.config import ENV_VAR_REQUIRED, set_local_deployment_token\n"
        "from leptonai.util import find_available_port\n"
        "assert Photon is Same\n"
        "try: leptonai.Client\n"
        "except ImportError as fault: print(fault)\n"
    )
    assert said.returncode == 0, said.stderr
    assert "vendor's" in said.stdout


def test_beside_the_vendors_package_only_photon_is_ours(tmp_path: Path) -> None:
    package = tmp_path / "leptonai"
    package.mkdir()
    for name, text in INSTALLED.items():
        (package / name).write_text(text)
    before = sorted(each.name for each in package.iterdir())
    said = run(
        "import sys; sys.dont_write_bytecode = True\n" + OURS + "import leptonai\n"
        "from leptonai import Client, Photon\n"
        "from leptonai.photon import Photon as Same\n"
        "from leptonai.config import THEIRS, DEFAULT_PORT, ENV_VAR_REQUIRED, set_local_deployment_token\n"
        "print(leptonai.__version__, Client.__module__, Photon is Same, THEIRS, DEFAULT_PORT)\n",
        tmp_path,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["9.9", "leptonai.client", "True", "1", "1"]
    assert sorted(each.name for each in package.iterdir()) == before


def test_a_process_that_did_not_ask_has_no_such_names() -> None:
    said = run("import lepton.serve.photon, lepton.serve.loading, lepton.cli.main\nimport leptonai\n")
    assert said.returncode == 1 and "No module named 'leptonai'" in said.stderr
