"""The deployment template of a photon: what it wants from its environment."""

import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

from lepton.serve.photon.config import ENV_VAR_REQUIRED

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
FIELDS = ("resource_shape", "env", "secret")


def checked(template: Mapping[str, Any] | None) -> dict[str, Any]:
    """The template as it is.

    Raises:
        ValueError: it cannot be; the message says why.
    """
    if template is None:
        return {}
    unknown = [name for name in template if name not in FIELDS]
    if unknown:
        raise ValueError(f"A deployment template has no field {unknown[0]!r}; it has {', '.join(FIELDS)}")
    shape = template.get("resource_shape")
    if shape is not None and not isinstance(shape, str):
        raise ValueError(f"resource_shape of a deployment template is a string, not {shape!r}")
    env, secrets = template.get("env", {}), template.get("secret", [])
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        raise ValueError(f"env of a deployment template is a dict of strings, not {env!r}")
    if not isinstance(secrets, list):
        raise ValueError(f"secret of a deployment template is a list, not {secrets!r}")
    for name in (*env, *secrets):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} in the deployment template cannot be the name of an environment variable")
    return dict(template)


def apply(template: Mapping[str, Any]) -> None:
    """Set the defaults of variables that are not set; warn of those that have none, and of missing secrets."""
    for name, value in template.get("env", {}).items():
        if name in os.environ:
            continue
        if value == ENV_VAR_REQUIRED:
            _warn(f"environment variable {name}")
        else:
            os.environ[name] = value
    for name in template.get("secret", []):
        if name not in os.environ:
            _warn(f"secret {name}")


def _warn(what: str) -> None:
    warnings.warn(f"This photon expects the {what}, which is not set", RuntimeWarning, stacklevel=4)
