"""Run examples/notebook.ipynb against the platform that runs, and keep its outputs: `python docs/notebook.py`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"


def execute(folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in `folder`.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        found = execute(Path(scratch))
    for cell in found.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            if "text" in output:  # a traceback names files of this checkout
                output["text"] = output["text"].replace(f"{NOTEBOOK.parents[1]}/", "")
    nbformat.write(found, NOTEBOOK)
