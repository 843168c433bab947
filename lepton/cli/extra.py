"""Modules that need the extra `pool`, imported when they are used."""

from importlib import import_module
from typing import Any

from lepton.core.errors import ConfigError


def array_code(module: str) -> Any:
    """A module of the pool's array code, or how to get what it needs."""
    try:
        return import_module(module)
    except ImportError as fault:
        raise ConfigError(
            f"A replay needs {fault.name}, which is not installed", fix="pip install 'lepton-platform[pool]'"
        ) from fault
    except OSError as fault:  # LightGBM brings no OpenMP of its own
        raise ConfigError(
            f"A library cannot be loaded: {fault}", fix="Install it, e.g. apt install libgomp1."
        ) from fault
