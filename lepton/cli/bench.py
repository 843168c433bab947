"""What `lepton serve run` shall run: the code, what its class and the command line ask for, which files are watched."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from lepton.core.ids import make_id
from lepton.core.launch import Devices
from lepton.sdk.limits import class_limits
from lepton.sdk.source import SKIPPED, read_class
from lepton.serve.entries import CODE, read_what, split_entry
from lepton.serve.spec import EndpointSpec

MOST_FILES = 5000
PASSED_ON = frozenset(("LEPTON_ALLOW_ORIGINS", "LEPTON_CACHE_DIR", "LEPTON_LOCAL_DEPLOYMENT_TOKEN"))
"""For Photon programs."""
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What shall run."""

    source: Path
    """Folder of the code."""
    entry: str
    """In it."""
    host: str = "127.0.0.1"
    port: int = 0
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the wish that were said beside the class, which count instead."""
    is_reloading: bool = True
    tls_cert: str = ""
    tls_key: str = ""


def wish_of(bench: Bench) -> EndpointSpec:
    """The wish that `serve deploy` would send for the code as it is now.

    Raises:
        InvalidError: the class asks for what cannot be, or cannot be read.
        ConfigError: what it needs is not installed.
    """
    kind, what = split_entry(bench.entry)
    file, _, name = what.partition(":")
    is_read = kind in CODE and file.endswith(".py")
    wishes = read_class(bench.source / file, name, "photon" if kind == "photon" else "") if is_read else {}
    spec = EndpointSpec(
        code=make_id("version", at=datetime.now(UTC)),
        entry=bench.entry,
        host=bench.host,
        port=bench.port,
        tls_cert=bench.tls_cert,
        tls_key=bench.tls_key,
        **{name: _plain(value) for name, value in {**class_limits(wishes, bench.limits), **bench.limits}.items()},
    )
    if spec.requirements:
        is_strict = kind != "photon"
        import_module("lepton.serve.requirements").check(spec.requirements, is_strict=is_strict)
    return spec


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def doubts(spec: EndpointSpec, machine: Devices) -> Iterator[str]:
    """What of a wish this machine cannot give; the platform would have it wait for other machines."""
    count, gpus = spec.replicas, machine.gpu_milli // 1000
    each = f"{count} replicas ask" if count > 1 else "a replica asks"
    if spec.worker_gpu_milli * count > machine.gpu_milli:
        told = f"has {gpus}: they share what there is" if gpus else "has none"
        yield f"{each} for {spec.worker_gpu_milli * count / 1000:g} GPUs; this machine {told}"
    if spec.worker_cpu_milli * count > machine.cpu_milli:
        have = machine.cpu_milli / 1000
        yield f"{each} for {spec.worker_cpu_milli * count / 1000:g} CPUs; this machine has {have:g}: they share them"
    if spec.worker_memory_bytes * count > machine.memory_bytes:
        asked, have = spec.worker_memory_bytes * count / GIB, machine.memory_bytes / GIB
        yield f"{each} for {asked:.3g} GiB of memory; this machine has {have:.3g}: it may run out of it"


def gpus_of(spec: EndpointSpec, number: int, machine: Devices) -> tuple[int, ...]:
    """Which GPUs the replica of that number may see; if there are too few, several see the same."""
    there = machine.gpu_milli // 1000
    first = number * spec.worker_gpu_milli // 1000
    wanted = ceil(spec.worker_gpu_milli / 1000) if there else 0
    return tuple(sorted({(first + each) % there for each in range(wanted)}))


def own_environment() -> dict[str, str]:
    """What the code under edit finds in its environment: the person's own, without what is for Lepton itself."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.isidentifier() and (not name.startswith("LEPTON_") or name in PASSED_ON)
    }


def stamp(bench: Bench) -> dict[str, int]:
    """What the files that are served look like now: path -> time of the last change."""
    found: dict[str, int] = {}
    for path in islice(watched(bench), MOST_FILES):
        with suppress(OSError):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def watched(bench: Bench) -> Iterator[Path]:
    """The files whose change starts it anew: of code all Python files of its folder, for it may import them."""
    kind, what = split_entry(bench.entry)
    if kind in CODE:
        yield from _files(bench.source)
        return
    name, options = read_what(what)
    path = bench.source / name
    yield from (sorted(path.rglob("*")) if path.is_dir() else [path])
    if "class" in options:
        yield from _files(path.parent)


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.is_dir() and path.name not in SKIPPED and not path.is_symlink():
            yield from _files(path)
        elif path.suffix == ".py":
            yield path
