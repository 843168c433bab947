"""Settings of a server: frozen, each documented, refused when they cannot work.

Order: defaults < DIR/lepton.toml < LEPTON_* variables < command-line flags.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_type_hints

from lepton.core.errors import ConfigError


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
    engine: str = "local"
    """Where work runs: `local`, or the dotted name `module:Class` of another engine."""
    lease_s: float = 15.0
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
    patience_s: float = 600.0
    """A job that waited this long is passed by no younger one."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port is {self.port}", fix="Use 1 to 65535, or 0 for a free one.")
        if self.lease_s < 2 * self.heartbeat_s:
            raise ConfigError("lease_s is under twice heartbeat_s", fix="Raise lease_s.")
        if self.warm_s < 0:
            raise ConfigError(f"warm_s is {self.warm_s}", fix="Use 0 for never, or a number of seconds.")
        for name in ("heartbeat_s", "max_body_bytes", "max_object_bytes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", fix="Use a number above 0.")

    @classmethod
    def load(cls, data: Path, *, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Self:
        """Merge the sources; flags that are None were not given.

        Raises:
            ConfigError: an unknown setting, or a value of the wrong kind.
        """
        values: dict[str, Any] = _read_file(data / "lepton.toml")
        known = {field.name for field in fields(cls)} - {"data"}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise ConfigError(f"{data}/lepton.toml: unknown setting {unknown[0]!r}", fix=f"Known: {sorted(known)}")
        values |= {
            name: environment[f"LEPTON_{name.upper()}"] for name in known if f"LEPTON_{name.upper()}" in environment
        }
        values |= {name: value for name, value in flags.items() if value is not None}
        hints = get_type_hints(cls)
        return cls(data=data, **{name: _cast(name, value, hints[name]) for name, value in values.items()})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(f"{path} cannot be read: {fault}", fix="Mend or remove the file.") from fault


def _cast(name: str, value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError) as fault:
        raise ConfigError(f"{name} is {value!r}, not a {kind.__name__}", fix=f"Give a {kind.__name__}.") from fault
