"""What a storage is shown to be let in. Never part of an address, an error, a log line or a repr."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path

from lepton.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who one is for a storage; which fields count depends on its kind."""

    user: str = ""
    """SMB (also `DOMAIN\\user`), SFTP, WebDAV, HDFS; of S3 the access key."""
    secret: str = field(default="", repr=False)
    """The password; of S3 the secret key."""
    token: str = field(default="", repr=False)
    """S3: the session token of temporary keys. WebDAV: a bearer token in place of user and password.
    The receiving door: its writer's."""
    private_key: str = field(default="", repr=False)
    """SFTP: a private key in OpenSSH or PEM form; `secret` is then its passphrase."""
    host_key: str = ""
    """SFTP: the server's public key, as `ssh-ed25519 AAAA...`; else it must be in `~/.ssh/known_hosts`."""
    authority: str = field(default="", repr=False)
    """TLS: a private certificate authority, in PEM."""

    def fingerprint(self) -> str:
        """The same for equal credentials, and tells nothing about them."""
        return sha256("\0".join(getattr(self, one.name) for one in fields(self)).encode()).hexdigest()


FILE = "LEPTON_STORAGE_FILE"
VARIABLES: Mapping[str, str] = {
    "user": "LEPTON_STORAGE_USER",
    "secret": "LEPTON_STORAGE_SECRET",
    "token": "LEPTON_STORAGE_TOKEN",
    "private_key": "LEPTON_STORAGE_PRIVATE_KEY",
    "host_key": "LEPTON_STORAGE_HOST_KEY",
    "authority": "LEPTON_STORAGE_AUTHORITY",
}
NAMES = tuple(VARIABLES)


def from_environment(environment: Mapping[str, str] = os.environ) -> Credentials:
    """From `VARIABLES`; or from the file that `FILE` names (see `from_file`), which then counts alone.

    Raises:
        ConfigError: the file cannot be used.
    """
    path = environment.get(FILE)
    if path:
        return from_file(Path(path))
    return Credentials(**{name: environment.get(variable, "") for name, variable in VARIABLES.items()})


def from_file(path: Path) -> Credentials:
    """A JSON object with the fields of `Credentials`, in a file that nobody else can read.

    Raises:
        ConfigError: it is missing, open to others, or no such object.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"{path} can be read by others", fix=f"chmod 600 {path}")
            found = json.load(file)
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read: {fault.strerror}", fix="Check the path.") from None
    except ValueError:
        raise ConfigError(f"{path} is no JSON", fix=f"Write an object with {', '.join(NAMES)}.") from None
    if not isinstance(found, dict) or not all(name in NAMES and isinstance(found[name], str) for name in found):
        raise ConfigError(f"{path} has other fields than texts named {', '.join(NAMES)}", fix="Remove them.")
    return Credentials(**found)
