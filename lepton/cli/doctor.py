"""`lepton doctor`: what this machine has, what is missing, and the command that adds it."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from lepton.cli.output import Session, with_json
from lepton.core import __version__
from lepton.core.errors import LeptonError
from lepton.sdk.client import connect
from lepton.sdk.find import default_data

DISTRIBUTION = "lepton-platform"
REQUIRED = re.compile(r"""^([\w.-]+)[^;]*;.*extra == ['"]([\w-]+)['"]""")
"""A requirement of an extra, as the metadata of a distribution has it: the package, the extra."""


LAYERS = (
    ("landlock", "", "Linux 5.19 or later, with landlock in the kernel's list lsm=; closed workers need it"),
    ("namespaces", "mounts of their own", "allow user namespaces: sysctl user.max_user_namespaces, AppArmor"),
    ("filter", "seccomp", "a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64; closed workers need it"),
)
"""Of the sandbox of workers: its name there, what it is, and how to get it."""


@click.command()
@with_json
def doctor(is_json: bool) -> None:
    """Say what this machine has (devices, memory, engines, extras), what is missing, and the command that adds it."""
    found = [*_machine(), *_engine(), *_extras(), *_server()]
    Session(is_json).table([{key: str(value) for key, value in row.items()} for row in found], found)


def _row(what: str, state: str, detail: str, fix: str = "") -> dict[str, str]:
    return {"what": what, "state": state, "detail": detail, "to add it": fix}


def _machine() -> list[dict[str, str]]:
    data = default_data()
    existing = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**30
    is_writable = os.access(existing, os.W_OK)
    return [
        _row("lepton", "ok", f"{__version__} on Python {sys.version.split()[0]}"),
        _row(
            "data directory",
            "ok" if is_writable else "missing",
            f"{data}, {free:.0f} GiB free",
            "" if is_writable else "export LEPTON_DATA=DIR",
        ),
    ]


def _engine() -> list[dict[str, str]]:
    """What the local engine sees of this machine."""
    with TemporaryDirectory() as folder:
        engine: Any = import_module("lepton.engine.base").open_engine("local", folder=Path(folder), url_file=None)
        facts, layers = list(engine.nodes()), engine.layers
        engine.close()
    rows = _isolation(layers)
    for node in facts:
        has = asdict(node.devices)
        gpus = has["gpu_milli"] // 1000
        rows += [
            _row("cpus", "ok", f"{has['cpu_milli'] / 1000:g}"),
            _row("memory", "ok", f"{has['memory_bytes'] / 2**30:.1f} GiB"),
            _row(
                "gpus",
                "ok" if gpus else "none",
                f"{gpus} NVIDIA",
                "" if gpus else "install the NVIDIA driver, if there is a GPU",
            ),
            _row("engine local", "ok", ", ".join(f"{name}={value}" for name, value in node.labels.items())),
        ]
    return rows


def _isolation(layers: Mapping[str, Any]) -> list[dict[str, str]]:
    """What of the layers that hold workers this machine has for this user."""
    return [
        _row(
            f"isolation: {name}",
            "missing" if name in layers["lacks"] else "ok",
            layers["lacks"].get(name) or (f"version {layers[name]}" if name == "landlock" else what),
            fix if name in layers["lacks"] else "",
        )
        for name, what, fix in LAYERS
    ]


def extras(required: Iterable[str]) -> dict[str, list[str]]:
    """Extra -> the packages it brings, from the requirements of a distribution."""
    found: dict[str, list[str]] = {}
    for match in filter(None, map(REQUIRED.match, required)):
        package, extra = match.groups()
        if package != DISTRIBUTION:  # an extra made of others
            found.setdefault(extra, []).append(package)
    return found


def _extras() -> list[dict[str, str]]:
    try:
        required = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        detail = f"{DISTRIBUTION} is not installed: it runs from its source, and what its extras bring is not known"
        return [_row("extras", "none", detail, "pip install -e . in the checkout")]
    rows = []
    for extra, packages in extras(required).items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, found in versions.items() if not found]
        detail = ", ".join(f"{package} {found or 'missing'}" for package, found in versions.items())
        fix = f"pip install '{DISTRIBUTION}[{extra}]'" if missing else ""
        rows.append(_row(f"extra {extra}", "missing" if missing else "ok", detail, fix))
    return rows


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _server() -> list[dict[str, str]]:
    try:
        client = connect()
        who = client.security.whoami()
    except LeptonError as fault:
        return [_row("server", "none", fault.message, fault.fix)]
    return [_row("server", "ok", f"{client.url}, version {who['version']}, you are {who['name']}")]
