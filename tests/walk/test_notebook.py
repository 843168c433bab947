"""The notebook runs from top to bottom against a fresh platform, and shows tables, cards, curves and a plot."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A platform of its own, which clients of this process and its children find."""
    monkeypatch.setenv("LEPTON_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    for name in ("LEPTON_URL", "LEPTON_TOKEN", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-m", "lepton.cli.main"]
    subprocess.run([*command, "up", "-d", "--port", "0"], check=True, capture_output=True)
    yield tmp_path
    subprocess.run([*command, "down"], check=True, capture_output=True)


def outputs(cell: Any, kind: str) -> str:
    """All output of a cell in one media type, or its printed text."""
    shown = [output["data"].get(kind, "") for output in cell.outputs if "data" in output]
    shown += [output["text"] for output in cell.outputs if output["output_type"] == "stream" and kind == "text"]
    return "".join(shown)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs_and_shows_what_it_promises(running: Path) -> None:
    pytest.importorskip("nbclient", reason="pip install 'lepton-platform[notebook]'")
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cells = [cell for cell in module.execute(running).cells if cell.cell_type == "code"]
    assert not [output for cell in cells for output in cell.outputs if output["output_type"] == "error"]
    by_source = {cell.source.splitlines()[-1]: cell for cell in cells}
    card = outputs(by_source["call.job"], "text/html")
    assert "descent" in card
    assert card.count("<svg") == 2
    assert "ZeroDivisionError" in outputs(by_source["    print(fault.__notes__[0])"], "text")
    assert "in divide" in outputs(by_source["    print(fault.__notes__[0])"], "text")
    assert outputs(by_source["figure.tight_layout()"], "image/png")
    assert outputs(by_source["client.jobs.list(limit=6)"], "text/html").count("<tr>") == 6
    assert "points@1" in outputs(by_source["client.catalog.list(limit=4)"], "text/html")
