"""Where a front and its workers meet."""

import os
from pathlib import Path

from lepton.core.errors import ConfigError

SOCKET = "front.sock"


def socket_path(*, is_shared: bool = False) -> Path:
    """Where the front waits for its workers.

    Args:
        is_shared: whether it is one that many endpoints share; else it is that of this gang.

    Raises:
        ConfigError: the gang has no folder.
    """
    variable = "LEPTON_MEETING_FOLDER" if is_shared else "LEPTON_GANG_FOLDER"
    folder = os.environ.get(variable, "")
    if not folder:
        raise ConfigError(f"{variable} is not set", fix="Set it to one short folder for the front and all its workers.")
    return Path(folder) / SOCKET
