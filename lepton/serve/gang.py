"""Where a front and its workers meet."""

import os
from pathlib import Path

from lepton.core.errors import ConfigError

SOCKET = "front.sock"


def socket_path(front: str = "") -> Path:
    """Where the front waits for its workers.

    Args:
        front: id of a front that many endpoints share; empty: that of this gang.

    Raises:
        ConfigError: the gang has no folder.
    """
    folder = os.environ.get("LEPTON_GANG_FOLDER", "")
    if not folder:
        raise ConfigError(
            "LEPTON_GANG_FOLDER is not set", fix="Set it to one short folder for the front and all its workers."
        )
    return Path(folder).with_name(f"{front}.sock") if front else Path(folder) / SOCKET
