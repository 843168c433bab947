"""What the walk advises to type."""

import shlex
import sys
from pathlib import Path

import pytest

from lepton.cli.walk import as_typed


def test_the_advice_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "a b" / "lepton"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(as_typed(str(script))) == [str(script)]
    monkeypatch.setenv("PATH", str(script.parent))
    assert as_typed(str(script)) == "lepton"
    other = tmp_path / "lepton"
    other.write_text("")
    assert as_typed(str(other)) == str(other)
    assert shlex.split(as_typed("/x/main.py")) == [sys.executable, "-m", "lepton.cli.main"]
