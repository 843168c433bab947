"""Compile array code with numba where it is installed; run it as it stands where it is not."""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., object])
C = TypeVar("C", bound=type)

IS_WANTED = os.environ.get("LEPTON_KERNEL", "compiled") == "compiled"
IS_COMPILED = IS_WANTED and find_spec("numba") is not None and not os.environ.get("NUMBA_DISABLE_JIT", "0").strip("0")


def _sources() -> str:
    """Digest of the kernel: numba by itself does not notice that a function which a cached one calls has changed."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compiler(*, makes_arrays: bool) -> Callable[[F], F]:
    import numba  # noqa: PLC0415  (optional, and half a second)

    from lepton.pool.kernel.passing import for_both  # noqa: PLC0415  (it needs numba)

    keeps = bool(os.environ.get("NUMBA_CACHE_DIR")) or _is_kept_at(_folder(), vars(numba.config))
    how = {"cache": keeps, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": makes_arrays}

    def compiled(function: F) -> F:
        return cast(F, for_both(partial(numba.njit, **how), cast(FunctionType, function)))

    return compiled


def _folder() -> Path:
    """Where compiled code is kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "lepton" / "kernel" / _sources()


def _is_kept_at(folder: Path, settings: dict[str, Any]) -> bool:
    """Let numba keep compiled code in a folder; False if nothing can be written there: it is compiled anew then."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    settings["CACHE_DIR"] = str(folder)
    return os.access(folder, os.W_OK)


def _as_it_stands(function: F) -> F:
    return function


compiled: Callable[[F], F] = _compiler(makes_arrays=False) if IS_COMPILED else _as_it_stands
"""Decorator of array code. Integer division truncates as in Python; arrays are not bounds-checked when compiled.

Nothing counts who uses an array, which was a third of the time of a replay: such a function may read and write arrays,
and take slices of them, but make none.
"""

compiled_allocating: Callable[[F], F] = _compiler(makes_arrays=True) if IS_COMPILED else _as_it_stands
"""The same for functions that make arrays."""


def shared(cls: C) -> C:
    """Decorator of a class of named tuples: compiled code passes them by their address."""
    if IS_COMPILED:
        from lepton.pool.kernel.passing import share  # noqa: PLC0415  (it needs numba)

        share(cls)
    return cls
