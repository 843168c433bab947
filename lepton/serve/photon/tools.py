"""What programs use of `leptonai.util` where the vendor's package is not installed."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lepton.serve.photon import config
from lepton.serve.photon.files import is_valid_url
from lepton.serve.photon.lanes import Lane

__all__ = ["asyncfy", "check_photon_name", "create_cached_dir_if_needed", "find_available_port", "is_valid_url"]
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST = 32


def check_photon_name(name: str) -> None:
    """Refuse what cannot be the name of a photon.

    Raises:
        ValueError: it cannot.
    """
    if len(name) > LONGEST or not NAME.fullmatch(name):
        raise ValueError(
            f"Invalid Photon name '{name}': at most {LONGEST} lower-case letters, digits and '-', the first a letter,"
            " the last no '-'"
        )


def create_cached_dir_if_needed() -> None:
    """Make the cache folder."""
    config.CACHE_DIR.mkdir(parents=True, exist_ok=True)


@contextmanager
def switch_cwd(path: Any) -> Iterator[None]:
    """Be in another folder for a while."""
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def asyncfy(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a coroutine function that runs it in a thread."""
    return Lane().wrap(function)


def find_available_port(port: int | None = None) -> int:
    """The first free port from this one on; without one, any."""
    while port is not None:
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) != 0:
                return port
        port += 1
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
