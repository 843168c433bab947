"""From an address to a driver. Each kind of storage is one line in `KINDS` and one module, imported when asked for.

/folder  file:///folder
s3://bucket/prefix?endpoint=https://host:port&region=eu-central-1[&as_of=2026-01-31T09:30]
hdfs://host:port/folder                (webhdfs://host:port/folder and webhdfss://: only over HTTP)
smb://host[:port]/share/folder
nfs://host[:port]/export/folder[?uid=1000&gid=1000&export=deep/export&version=4.1]
sftp://host[:port]/folder              (/~/folder: below the user's home)
webdav://host[:port]/folder            (webdavs:// over TLS)
door://host[:port]/prefix[?as_of=2026-01-31T09:30]   (our own receiving door; doors:// over TLS)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit

from lepton.core.errors import ConfigError, InvalidError, clip
from lepton.vault.driver import Driver
from lepton.vault.drivers import local
from lepton.vault.drivers.address import Address
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.patience import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How to open one kind of storage."""

    module: str
    """Has `open_storage(address, credentials, patience)`."""
    extra: str
    """Of `pip install 'lepton-platform[...]'`; empty: nothing more is needed."""
    options: tuple[str, ...] = ()


_HERE = "lepton.vault.drivers."
KINDS: Mapping[str, Kind] = {
    "s3": Kind(module=_HERE + "s3_opening", extra="s3", options=("endpoint", "region", "as_of")),
    "hdfs": Kind(module=_HERE + "hdfs", extra="hdfs", options=("http",)),
    "webhdfs": Kind(module=_HERE + "webhdfs", extra=""),
    "webhdfss": Kind(module=_HERE + "webhdfs", extra=""),
    "smb": Kind(module=_HERE + "smb", extra="smb"),
    "nfs": Kind(module=_HERE + "nfs", extra="nfs", options=("export", "uid", "gid", "version")),
    "sftp": Kind(module=_HERE + "sftp", extra="sftp"),
    "webdav": Kind(module=_HERE + "webdav", extra=""),
    "webdavs": Kind(module=_HERE + "webdav", extra=""),
    "door": Kind(module=_HERE + "door", extra="", options=("as_of",)),
    "doors": Kind(module=_HERE + "door", extra="", options=("as_of",)),
}


def open_driver(url: str, credentials: Credentials | None = None, *, patience: Patience | None = None) -> Driver:
    """The driver of a storage. Connects at its first call, not now.

    Args:
        url: one of the forms above; a plain path is a folder of this machine.
        credentials: who one is there; None: nobody.
        patience: how long it waits; None: as `Patience` says.

    Raises:
        InvalidError: no such form, an unknown option, or a password in it.
        ConfigError: the packages for this kind of storage are not installed.
    """
    if "://" not in url:
        return local.open_storage(Path(_folder(url)))
    address = read_address(url)
    if address.scheme == "file":
        return local.open_storage(Path("/" + address.path))
    kind = KINDS[address.scheme]
    try:
        opener = import_module(kind.module).open_storage
    except ModuleNotFoundError as fault:
        if not kind.extra or (fault.name or "").startswith("lepton"):
            raise
        raise ConfigError(
            f"{address.scheme}:// needs packages that are not installed: {fault.name}",
            fix=f"pip install 'lepton-platform[{kind.extra}]'",
        ) from None
    make = cast(Callable[[Address, Credentials, Patience], Driver], opener)
    return make(address, credentials or Credentials(), patience or Patience())


def address_of(url: str) -> str:
    """An address as it is remembered: of a folder its real path."""
    if url.startswith("file://"):
        url = "/" + read_address(url).path
    url = url.rstrip("/") if "://" in url else url
    return url if "://" in url else str(Path(_folder(url)).resolve())


def _folder(url: str) -> str:
    """The same, unless it is an address that lost its host: no folder is called `s3:`.

    Raises:
        InvalidError: it is.
    """
    scheme, colon, _ = url.partition(":")
    if colon and scheme.lower() in (*KINDS, "file"):
        raise InvalidError(
            f"{scheme}: is no folder, and no address without a host",
            fix=f"Write {scheme.lower()}://HOST/PATH, or ./{scheme}: of a folder.",
        )
    return url


def read_address(url: str) -> Address:
    """Take an address apart; nothing of a refused one is repeated, as it may hold a password.

    Raises:
        InvalidError: it cannot be one, or has a user or a password in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidError("An address of a storage that cannot be read", fix="Give scheme://host:port/path.") from None
    if "@" in parts.netloc:
        raise InvalidError("A user or password stands in the address", fix="Give it as credentials instead.")
    if parts.scheme != "file" and parts.scheme not in KINDS:
        schemes = ", ".join(["file", *KINDS])
        raise InvalidError(f"{clip(parts.scheme, 40)!r} is no kind of storage", fix=f"One of {schemes}.")
    given = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(given)
    if len(options) < len(given):
        raise InvalidError("An option stands twice in the address of a storage", fix="Name each once.")
    known = KINDS[parts.scheme].options if parts.scheme in KINDS else ()
    if parts.fragment or not options.keys() <= set(known):
        raise InvalidError(f"{parts.scheme}:// has no such option", fix=f"Known here: {', '.join(known) or 'none'}.")
    if (parts.scheme == "file") == bool(parts.hostname):
        raise InvalidError(
            f"{parts.scheme}:// with a host where none belongs, or without one", fix="See docs/storage.md."
        )
    path = unquote(parts.path).strip("/")
    if ".." in path.split("/") or not path.isprintable():
        raise InvalidError("The path of a storage climbs out or cannot be read", fix="Give a plain path.")
    return Address(scheme=parts.scheme, host=parts.hostname or "", port=port, path=path, options=options)
