"""Settings of a server: frozen, each documented, refused when they cannot work.

Order: defaults < DIR/lepton.toml < LEPTON_* variables < command-line flags.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from lepton.core.errors import ConfigError
from lepton.core.launch import Isolation

MOST = 2.0**62
BOOSTED = "boosted"
CHOICES = {
    "isolation": tuple(each.value for each in Isolation),
    "kernel": ("plain", "compiled"),
    "learn": ("means", BOOSTED),
}
"""Setting -> the words it may be."""
KINDS = {int: "a whole number", float: "a number", str: "text"}
RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "lease_s": (0.1, 86_400),
    "heartbeat_s": (0.01, 3600),
    "max_body_bytes": (1, MOST),
    "max_object_bytes": (1, MOST),
    "keep_logs_s": (0, MOST),
    "patience_s": (0, MOST),
    "min_run_s": (0, MOST),
    "reclaim_s": (0, MOST),
    "warm_s": (0, MOST),
}
"""Setting -> the least and the most that can work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Every knob of `lepton up`."""

    data: Path
    """Data directory: database, objects, workers' folders and logs, key, token and address."""
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs a proxy that speaks TLS in front."""
    port: int = 8470
    """Port to listen on; 0 picks a free one (see DIR/url)."""
    database: str = ""
    """postgresql://... ; empty: SQLite in the data directory."""
    storage: str = ""
    """Where the vault's packs lie: a folder, s3://..., smb://...; empty: where they were last, at first `DIR/vault`."""
    engine: str = "local"
    """Where work runs: `local`, `fleet`, or the dotted name `module:Class` of another engine."""
    fleet: str = ""
    """With the engine `fleet`: the folder of its machines, which servers on one database share; empty: DATA/engine."""
    key_command: str = ""
    """A command (of a KMS) that prints the root key in hexadecimal; empty: LEPTON_ROOT_KEY, or the file DIR/key."""
    lease_s: float = 10.0
    """A server silent for this long loses its loops to another server on the same database."""
    heartbeat_s: float = 5.0
    """How often each loop looks round even if nothing woke it, and a node says that it is there."""
    max_body_bytes: int = 1 << 20
    """Largest JSON request."""
    max_object_bytes: int = 64 << 30
    """Largest single file in the vault."""
    keep_logs_s: float = 7 * 86_400.0
    """Logs and folders of ended jobs are deleted after this."""
    warm_s: float = 300.0
    """What a station's workers import is kept ready in memory for this long after its last use; 0: never."""
    isolation: str = Isolation.OWN
    """How every worker is held at least: `own`, `closed`, or `off` for not at all."""
    kernel: str = "plain"
    """How the pool decides: `plain`, or `compiled` by numba (the extra `pool`), for hundreds of nodes and more."""
    learn: str = "means"
    """What says how long jobs will run: `means` of what has ended, or `boosted` trees too, while they are better."""
    patience_s: float = 43_200.0
    """A job that waited this long goes before all others, and its nodes are kept free for it."""
    min_run_s: float = 60.0
    """No job is stopped for another before it has run this long."""
    reclaim_s: float = 30.0
    """A queue within its guarantee waits this long before what others have borrowed is taken back."""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_range(field.name, field.name, getattr(self, field.name))
        if self.lease_s < 2 * self.heartbeat_s:
            raise ConfigError(
                f"lease_s is {self.lease_s:g}, under twice heartbeat_s, {self.heartbeat_s:g}",
                fix=f"Set lease_s to {2 * self.heartbeat_s:g} or more, or lower heartbeat_s.",
            )

    @property
    def address_file(self) -> Path:
        """Where workers read the server's present address: in a folder of its own, for all else here is kept from
        them."""
        return self.data / "door" / "url"

    @classmethod
    def load(cls, data: Path, *, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Self:
        """Merge the sources; flags that are None were not given.

        Raises:
            ConfigError: an unknown setting, or a value of the wrong kind.
        """
        known = {field.name for field in fields(cls)} - {"data"}
        written = _read_file(data / "lepton.toml")
        unknown = sorted(written.keys() - known)
        if unknown:
            raise ConfigError(
                f"{data}/lepton.toml: unknown setting {unknown[0]!r}", fix=f"Known: {', '.join(sorted(known))}."
            )
        hints = get_type_hints(cls)
        values: dict[str, Any] = {"data": data}
        for name in sorted(known):
            for source, value, read in (
                (f"--{name}", flags.get(name), read_text),
                (f"LEPTON_{name.upper()}", environment.get(f"LEPTON_{name.upper()}") or None, read_text),
                (f"{name} in {data / 'lepton.toml'}", written.get(name), read_plain),
            ):
                if value is not None:
                    values[name] = read(source, value, hints[name])
                    check_range(name, source, values[name])
                    break
        return cls(**values)


def read_text(source: str, text: Any, kind: type) -> Any:
    """The value of a variable or flag.

    Args:
        source: what to call it in an error.
    Raises:
        ConfigError: it is of another kind.
    """
    try:
        return kind(text)
    except ValueError as fault:
        raise ConfigError(f"{source} is {str(text)[:80]!r}, not {KINDS[kind]}", fix=f"Give {KINDS[kind]}.") from fault


def read_plain(source: str, value: Any, kind: type) -> Any:
    """The value of a setting in a file, where numbers are numbers.

    Raises:
        ConfigError: it is of another kind.
    """
    is_right = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not is_right:
        raise ConfigError(f"{source} is {value!r}, not {KINDS[kind]}", fix=f"Give {KINDS[kind]}.")
    return kind(value)


def check_range(name: str, source: str, value: Any) -> None:
    """Refuse a value that cannot work.

    Raises:
        ConfigError: it is none of the setting's words, outside its range, or no number.
    """
    words = CHOICES.get(name, (value,))
    if value not in words:
        raise ConfigError(f"{source} is {str(value)[:80]!r}", fix=f"Give one of {', '.join(words)}.")
    if not isinstance(value, int | float):
        return
    low, high = RANGES[name]
    if not low <= value <= high:
        wanted = f"Give {low:g} or more." if high == MOST else f"Give {low:g} to {high:g}."
        raise ConfigError(f"{source} is {value:g}", fix=wanted + " 0 picks a free port." * (name == "port"))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(f"{path} cannot be read: {fault}", fix="Mend or remove the file.") from fault
