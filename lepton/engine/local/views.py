"""What a worker that is held closed sees: which programs and libraries, and what they are mounted on."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lepton.engine.sandbox.landlock import is_below
from lepton.engine.shim import records

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *("/opt/rocm", "/opt/cuda", "/opt/nvidia"),
)
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


def programs_of(variables: Mapping[str, str]) -> Iterator[str]:
    """The system's, and what Python imports from, Lepton among it; but never a whole home."""
    home = variables.get("HOME", "/")
    imported = [*sys.path[1:], *variables.get("PYTHONPATH", "").split(":")]  # the first is where it was called
    yield from SYSTEM
    yield from (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix)
    yield str(Path(__file__).parents[3])
    yield from (path for path in imported if path.startswith("/") and not is_below(home, path))


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


def lay_points(folder: Path, stands_for: str, paths: Iterable[str]) -> None:
    """An empty folder or file in `folder` for each path that lies in what it stands for."""
    _make_folder(str(folder))
    for path in paths:
        if is_below(path, stands_for):
            place = os.path.join(folder, path[len(stands_for) :].lstrip("/"))
            is_file = path.endswith(f"/{records.LAUNCH}") or os.path.isfile(path)
            _make_folder(os.path.dirname(place) if is_file else place)
            if is_file:
                Path(place).touch(mode=0o600)


def _make_folder(path: str) -> None:
    """Make it, and those above it that are missing, for nobody else to look into."""
    if not os.path.isdir(path):
        _make_folder(os.path.dirname(path))
        os.mkdir(path, 0o700)


def lay_link(folder: Path, path: str) -> None:
    """A link like the one at `path`, in what stands for the root."""
    place = Path(f"{folder}{path}")
    _make_folder(str(place.parent))
    if not place.is_symlink():
        place.symlink_to(os.readlink(path))


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
