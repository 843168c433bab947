"""Where the front and the workers of one gang meet."""

import os
from pathlib import Path

from lepton.core.errors import ConfigError

SOCKET = "front.sock"


def socket_path() -> Path:
    """Where the front waits for its workers.

    Raises:
        ConfigError: the gang has no folder.
    """
    folder = os.environ.get("LEPTON_GANG_FOLDER", "")
    if not folder:
        raise ConfigError(
            "LEPTON_GANG_FOLDER is not set", fix="Set it to one short folder for the front and all its workers."
        )
    return Path(folder) / SOCKET
