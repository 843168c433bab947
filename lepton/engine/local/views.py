"""Which programs and libraries a worker sees that is held closed, and at which paths a folder is to be seen."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lepton.engine.sandbox.landlock import is_below

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/opt/rocm", "/opt/cuda", "/opt/nvidia"),
)
CHECKOUT = (".git", "pyproject.toml", "setup.py", "setup.cfg")
"""One of these lies in the folder of a project."""
OCTAL = re.compile(r"\\([0-7]{3})")
WHOLE, TEMPORARY = ("/proc", "/sys", "/dev", "/etc"), ("/tmp", "/var/tmp")
"""The first are laid out whole; Landlock then opens but parts of them."""
MACHINE = ("/proc", "/sys/devices", "/sys/bus", "/sys/class", "/sys/dev", "/sys/module", "/sys/fs/cgroup")
ETC = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "fonts", "gai.conf", "group"),
    *("host.conf", "hostname", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.conf"),
    *("localtime", "machine-id", "magic", "mime.types", "nsswitch.conf", "nvidia", "OpenCL", "os-release", "passwd"),
    *("pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "resolv.conf", "rpc"),
    *("services", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "timezone", "vulkan"),
)
"""Below /etc. Nothing here is secret."""


def programs_of(variables: Mapping[str, str], *, is_narrow: bool) -> Iterator[str]:
    """The system's, and what Python imports from, Lepton among it; but never a whole home.

    Args:
        is_narrow: of a checkout only what can be imported. It needs folders that can be listed although little of what
            they hold may be read.
    """
    home = variables.get("HOME", "/")
    imported = [*sys.path[1:], *variables.get("PYTHONPATH", "").split(":")]  # the first is where it was called
    prefixes = (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    yield from (*SYSTEM, *prefixes, str(Path(__file__).parents[2 if is_narrow else 3]))
    for path in imported:
        if path.startswith("/") and not is_below(home, path):
            if is_narrow and is_checkout(path):
                yield from importable(path)
                continue
            yield path
            yield from () if any(is_below(path, prefix) for prefix in prefixes) else linked_packages(path)


def is_checkout(folder: str) -> bool:
    """Whether a folder that Python imports from is somebody's work, with all that lies about there."""
    is_installed = os.path.basename(folder) in ("site-packages", "dist-packages")
    return not is_installed and any(os.path.exists(os.path.join(folder, mark)) for mark in CHECKOUT)


def importable(folder: str) -> list[str]:
    """Packages, modules and descriptions of distributions in a folder."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    packages = [one.path for one in entries if os.path.isfile(os.path.join(one.path, "__init__.py"))]
    return packages + [one.path for one in entries if one.name.endswith((".py", ".so", ".dist-info", ".egg-info"))]


def linked_packages(folder: str) -> list[str]:
    """Packages that only a link in this folder leads to."""
    try:
        entries = [entry.path for entry in os.scandir(folder) if entry.is_symlink()]
    except OSError:
        return []
    return [path for path in entries if os.path.isfile(os.path.join(path, "__init__.py"))]


def small_files() -> Iterator[str]:
    """What programs look up in what is laid out whole."""
    yield from (f"/etc/{name}" for name in ETC)
    yield from MACHINE


def unfold(paths: Iterable[str]) -> list[str]:
    """What is there of these, without links, and each link that leads there; none twice."""
    found = dict.fromkeys(each for path in paths for each in _steps(path))
    return [path for path in found if os.path.lexists(path)]


def outer(paths: Sequence[str]) -> list[str]:
    """Those that are no links, and lie in no other."""
    real = [path for path in paths if not os.path.islink(path)]
    return [path for path in real if not any(path != other and is_below(path, other) for other in real)]


def aliases(path: str, mounts: Iterable[str]) -> list[str]:
    """Every path at which a folder is to be seen: the file system that holds it may be mounted more than once.

    Args:
        mounts: the lines of /proc/self/mountinfo.
    """
    rows = [(row[2], _plain(row[3]), _plain(row[4])) for row in (line.split() for line in mounts)]
    real = os.path.realpath(path)
    device, root, point = max(reversed([row for row in rows if is_below(real, row[2])]), key=lambda row: len(row[2]))
    inside = os.path.join(root, os.path.relpath(real, point))
    found = [path]
    for other, its_root, its_point in rows:
        if other == device and is_below(os.path.normpath(inside), its_root):
            place = os.path.normpath(os.path.join(its_point, os.path.relpath(inside, its_root)))
            if place != real and os.path.exists(place) and os.path.samefile(place, real):
                found.append(place)
    return list(dict.fromkeys(found))


def _plain(text: str) -> str:
    """A path as mountinfo writes it: with `\\040` for a space."""
    return OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _steps(path: str) -> Iterator[str]:
    """Every link on the way of a path, and where it ends."""
    place = "/"
    for at, part in enumerate(parts := path.strip("/").split("/")):
        place = os.path.join(place, part)
        if os.path.islink(place):
            yield place
            target = os.path.normpath(os.path.join(os.path.dirname(place), os.readlink(place)))
            yield from _steps("/".join((target, *parts[at + 1 :])))
            return
    yield place
