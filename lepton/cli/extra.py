"""Modules that need an extra of the package, imported when they are used."""

from importlib import import_module
from typing import Any

from lepton.core.errors import ConfigError


def array_code(module: str) -> Any:
    """A module of the pool's array code, or how to get what it needs."""
    return extra_code(module, "pool", hint="libgomp1")  # LightGBM brings no OpenMP of its own


def extra_code(module: str, extra: str, *, hint: str) -> Any:
    """A module, or how to get what it needs.

    Args:
        hint: the Debian package of the library that may be missing.

    Raises:
        ConfigError: a package or a library is not installed.
    """
    try:
        return import_module(module)
    except ImportError as fault:
        raise ConfigError(
            f"This needs {fault.name}, which is not installed", fix=f"pip install 'lepton-platform[{extra}]'"
        ) from fault
    except OSError as fault:
        raise ConfigError(
            f"A library cannot be loaded: {fault}", fix=f"Install it, e.g. apt install {hint}."
        ) from fault
