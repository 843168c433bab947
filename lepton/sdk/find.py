"""Which server a client talks to, with which token, and about which workspace.

LEPTON_URL and LEPTON_TOKEN, else the data directory in LEPTON_DATA, else the server this user started last, else the
default data directory. A data directory holds `url` while its server runs, and `token`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lepton.core.errors import BadNameError, ConfigError, UnauthenticatedError, UnreachableError
from lepton.core.ids import check_name

DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True, slots=True)
class Address:
    """A server and the token to show it."""

    url: str
    token: str
    folder: Path | None = None
    """The data directory that told of it; None: somebody named the server."""

    def renewed(self) -> "Address":
        """Where that server is now: started again it may have another port."""
        there = _read(self.folder / "url") if self.folder is not None else ""
        return replace(self, url=there) if there else self


def notes(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder in which `lepton up` notes the data directory of every server that this user has started."""
    base = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".local/state")
    return Path(base) / "lepton" / "servers"


def noted(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The noted data directories whose server runs, the one started last first."""
    try:
        found = sorted(notes(environment).iterdir(), key=lambda note: note.stat().st_mtime_ns, reverse=True)
    except OSError:
        return []
    folders = [Path(_read(note)) for note in found]
    return [folder for folder in folders if (folder / "url").exists()]


def default_data(environment: Mapping[str, str] = os.environ) -> Path:
    """The data directory of a `lepton up` that names none."""
    if environment.get("LEPTON_DATA"):
        return Path(environment["LEPTON_DATA"])
    base = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".local/share")
    return Path(base) / "lepton"


def find(url: str = "", token: str = "", *, environment: Mapping[str, str] = os.environ) -> Address:
    """The server to talk to.

    Args:
        url, token: taken as they are if given.
    Raises:
        UnreachableError: no address is given and no server of this user runs.
        UnauthenticatedError: the address is known but no token for it, or the token cannot be one.
        ConfigError: the address cannot be one.
    """
    named_by = "url" if url else "LEPTON_URL"
    url, token = url or environment.get("LEPTON_URL", ""), token or environment.get("LEPTON_TOKEN", "")
    if url and not (url.startswith(("http://", "https://")) and url.isprintable()):
        raise ConfigError(
            f"{named_by} is {url[:80]!r}, which is not the address of a server", fix="Write http://HOST:PORT."
        )
    if token and not (token.isascii() and token.isprintable()):
        raise UnauthenticatedError("The token has characters that no token has", fix="Check LEPTON_TOKEN.")
    if url and token:
        return Address(url.rstrip("/"), token)
    for folder in _folders(environment):
        there = _read(folder / "url")
        if there and (not url or url.rstrip("/") == there):
            return Address(there, token or _token(folder), None if url else folder)
    if url:
        raise UnauthenticatedError(f"No token for {url}", fix="Set LEPTON_TOKEN, or pass token=... .")
    if environment.get("LEPTON_DATA"):
        named = environment["LEPTON_DATA"]
        raise UnreachableError(f"No server runs on {named}, which LEPTON_DATA names", fix="Start one: lepton up -d")
    raise UnreachableError("No Lepton server of yours is running", fix="Start one: lepton up -d")


def workspace_of(workspace: str = "", *, environment: Mapping[str, str] = os.environ) -> str:
    """The workspace that calls are about: what is given, else LEPTON_WORKSPACE, else `default`.

    Raises:
        ConfigError: no workspace can be called so.
    """
    found = workspace or environment.get("LEPTON_WORKSPACE", "") or DEFAULT_WORKSPACE
    try:
        return check_name(found)
    except BadNameError as fault:
        named_by = "The workspace" if workspace else "LEPTON_WORKSPACE"
        raise ConfigError(f"{named_by} is {found[:80]!r}, which cannot be a name", fix=fault.fix) from fault


def _folders(environment: Mapping[str, str]) -> list[Path]:
    if environment.get("LEPTON_DATA"):
        return [Path(environment["LEPTON_DATA"])]
    return [*noted(environment), default_data(environment)]


def _token(folder: Path) -> str:
    token = _read(folder / "token")
    if not token:
        raise UnauthenticatedError(f"{folder / 'token'} cannot be read", fix="Set LEPTON_TOKEN to a token of yours.")
    return token


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
