"""The context of the program that runs now: the platform's if there is one, else a folder."""

from pathlib import Path

from lepton.core.context import Context
from lepton.engine.folder import FolderContext


def context() -> Context:
    """The context for a user's own script; off the platform it works in `./lepton-run`."""
    return FolderContext(Path.cwd() / "lepton-run")
