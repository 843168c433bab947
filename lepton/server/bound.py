"""Which database the platform of a data directory has: a command that is not told of it must not make another.

A server on Postgres leaves `DIR/database`, the database's address without a password. Without it `lepton vault
rotate-root` would find no `lepton.db`, make one, and change the key under which the real database is sealed.
"""

from contextlib import suppress
from urllib.parse import urlsplit

from lepton.core.errors import ConfigError
from lepton.server.config import ServerConfig
from lepton.server.folder import write_private

MARK, OWN = "database", "lepton.db"


def check_database(config: ServerConfig) -> None:
    """Refuse to open a database that is not the platform's.

    Raises:
        ConfigError: its own is elsewhere, or one lies in the data directory while another is named.
    """
    known = _known(config)
    if known and not config.database:
        raise ConfigError(
            f"The platform of {config.data} has its database at {known}",
            fix="Name it, with its password: LEPTON_DATABASE or --database; or give another --data.",
        )
    if config.database and not known and (config.data / OWN).exists():
        raise ConfigError(
            f"The platform of {config.data} has a database of its own, {OWN}",
            fix="Leave --database and LEPTON_DATABASE out, or give another --data; remove the file if it was made by "
            "mistake.",
        )


def note_database(config: ServerConfig) -> None:
    """Remember the database that was opened."""
    if config.database and (place := place_of(config.database)) != _known(config):
        write_private(config.data / MARK, place + "\n")


def _known(config: ServerConfig) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (config.data / MARK).read_text().strip()
    return ""


def place_of(url: str) -> str:
    """A database's address without what is secret."""
    found = urlsplit(url)
    user, at, host = found.netloc.rpartition("@")
    return f"{found.scheme}://{user.partition(':')[0]}{at}{host}{found.path}"
