"""Constants and settings that Photon programs read as `leptonai.config`."""

import os
import sys
from pathlib import Path

PYDANTIC_MAJOR_VERSION = 2
METADATA_VCS_URL_KEY = "vcs_url"
ENV_VAR_REQUIRED = "PLEASE_ENTER_YOUR_ENV_VARIABLE_HERE_(LEPTON_ENV_VAR_REQUIRED)"
"""Value of an environment variable in a deployment template that has no default."""
PHOTON_FORBIDDEN_PARAMETER_NAMES = frozenset(("request", "cancel_on_connect_interval", "callback"))
DEFAULT_PORT = 8080
BASE_IMAGE_VERSION = "0.27.3"
"""Release of the vendor's images whose behaviour this follows."""
BASE_IMAGE = f"default/lepton:photon-py{sys.version_info.major}.{sys.version_info.minor}-runner-{BASE_IMAGE_VERSION}"
BASE_IMAGE_ARGS = ["--shm-size=1g"]
BASE_IMAGE_CMD = None


def number(name: str, default: int | None) -> int | None:
    """A whole number from an environment variable; the default if it is not set, or is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def cache_dir() -> Path:
    """Where photons that were made here are kept."""
    place = os.environ.get("LEPTON_CACHE_DIR")
    if place:
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lepton-photon"


CACHE_DIR = cache_dir()
DB_PATH = CACHE_DIR / "photons.db"
ALLOW_ORIGINS = os.environ.get("LEPTON_ALLOW_ORIGINS", "*").split(",")
DEFAULT_TIMEOUT_KEEP_ALIVE = number("LEPTON_TIMEOUT_KEEP_ALIVE", 1800) or 0
DEFAULT_TIMEOUT_GRACEFUL_SHUTDOWN = number("LEPTON_TIMEOUT_GRACEFUL_SHUTDOWN", None)
DEFAULT_INCOMING_TRAFFIC_GRACE_PERIOD = number("LEPTON_INCOMING_TRAFFIC_GRACE_PERIOD", 5) or 0

_token: list[str] = []


def set_local_deployment_token(token: str) -> None:
    """Protect everything that this process serves with a token; empty: with none.

    Raises:
        RuntimeError: it is None.
    """
    if token is None:
        raise RuntimeError("The token cannot be None; give an empty string for none")
    _token[:] = [token]


def get_local_deployment_token() -> str:
    """The token that was set here, or else the environment's; empty: none is asked for."""
    return _token[0] if _token else os.environ.get("LEPTON_LOCAL_DEPLOYMENT_TOKEN", "")


def _to_bool(text: str) -> bool:
    """What a person means by a word, e.g. `yes` or `off`.

    Raises:
        TypeError: it is no string.
        ValueError: it means neither.
    """
    if not isinstance(text, str):
        raise TypeError(f"Expected a string, got {type(text).__name__}")
    word = text.lower()
    if word in ("yes", "true", "t", "1", "y", "on", "aye", "yea"):
        return True
    if word in ("no", "false", "f", "0", "n", "off", "nay", ""):
        return False
    raise ValueError(f"{text!r} means neither true nor false")
