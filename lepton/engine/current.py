"""The context of the program that runs now: the platform's if there is one, else a folder."""

import os
from collections.abc import Mapping
from pathlib import Path

from lepton.core.context import Context
from lepton.engine.folder import FolderContext


def context(environ: Mapping[str, str] | None = None) -> Context:
    """The context for a user's own script; off the platform it works in `./lepton-run`."""
    del environ
    return FolderContext(Path(os.getcwd(), "lepton-run"))
