"""A pickled call brings the user's own modules along."""

import pickle
import subprocess
import sys
from pathlib import Path

from lepton.core.errors import InvalidError
from lepton.sdk.http import encode
from lepton.sdk.pack import pack

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import mymod
from lepton.sdk.pack import pack
def own(x):
    return mymod.double(x)
sys.stdout.buffer.write(pack(own, (21,), {{}}))
"""


def test_modules_that_a_function_uses_need_not_be_where_it_runs(tmp_path: Path) -> None:
    (tmp_path / "mymod.py").write_text("import deeper\n\ndef double(x):\n    return deeper.twice(x)\n")
    (tmp_path / "deeper.py").write_text("def twice(x):\n    return 2 * x\n")
    made = subprocess.run([sys.executable, "-c", PROGRAM.format(folder=str(tmp_path))], check=True, capture_output=True)
    call = pickle.loads(pickle.loads(made.stdout)["call"])
    assert "mymod" not in sys.modules
    assert call["function"](*call["args"], **call["kwargs"]) == 42


def test_what_is_installed_is_only_named() -> None:
    assert len(pack(encode, (), {})) < 300
    try:
        encode({"cpus": float("nan")})
    except InvalidError as fault:
        assert "cannot be sent" in fault.message
    else:
        raise AssertionError("NaN was sent")
