"""The context of the program that runs now: the platform's if there is one, else a folder."""

import os
from pathlib import Path

from lepton.core.context import Context
from lepton.engine.folder import FolderContext
from lepton.engine.platform import current


def context() -> Context:
    """The context for a user's own script; off the platform it works in `./lepton-run`."""
    if os.environ.get("LEPTON_URL"):
        return current()
    return FolderContext(Path.cwd() / "lepton-run")
