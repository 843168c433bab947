"""Hold this process, and all it will start, to what its launch may have. For who has one thread."""

import errno
import os
import resource
import signal
from collections.abc import Mapping
from typing import Any

from lepton.engine.sandbox import filter as calls
from lepton.engine.sandbox import landlock, namespace, privileges
from lepton.engine.sandbox.kernel import PR_SET_PDEATHSIG, prctl
from lepton.engine.sandbox.landlock import Opening

CLOSED = "closed"
FAILED = "It cannot be held ({level}): {why}. See `lepton doctor`; ask for isolation own, or start with isolation off."
CANNOT = "closed needs Landlock and seccomp, and here is {lacks}"
Bounds = Mapping[str, Any]
"""What `engine.local.bounds` makes, as JSON:

level       `own` or `closed`
layers      `landlock` (its version), `namespaces`, `filter`: what this machine has
veils       private path -> what lies over it
own         [path, mode] that this worker sees nevertheless
abstract    whether it may reach others' abstract sockets

If it is closed also

root        the folder that becomes the root
seen        path -> what is seen there
readable    what of all this may be read
"""


def confine(bounds: Bounds) -> None:
    """Apply every layer that there is.

    Raises:
        OSError: one that was there when it was tried is not now, or a closed worker cannot be held without one. The
            text says so.
    """
    try:
        _confine(bounds)
    except OSError as why:
        raise OSError(why.errno, FAILED.format(level=bounds["level"], why=why.strerror)) from why


def _confine(bounds: Bounds) -> None:
    layers, is_closed = bounds["layers"], bounds["level"] == CLOSED
    own = [(path, mode) for path, mode in bounds["own"]]
    if is_closed and not (layers["landlock"] and layers["filter"]):
        raise OSError(errno.ENOTSUP, CANNOT.format(lacks=layers.get("lacks")))
    privileges.gain_none()
    if layers["namespaces"]:
        namespace.enter(ipc=is_closed)
        namespace.fix_machine()
        if is_closed:
            namespace.replace_root(bounds["root"], bounds["seen"], bounds["veils"], own)
        else:
            namespace.hide(bounds["veils"], own)
    if layers["landlock"]:
        scopes = landlock.SIGNALS | (0 if bounds["abstract"] else landlock.ABSTRACT_SOCKETS)
        lists = layers["namespaces"] or not is_closed
        landlock.restrict(layers["landlock"], _files(bounds, own), lists=lists, scopes=scopes)
    privileges.drop(all_of_them=is_closed)
    if is_closed:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if layers["filter"]:
        calls.refuse()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # forgotten where privileges change


def _files(bounds: Bounds, own: list[Opening]) -> list[Opening] | None:
    """What Landlock leaves open; None: the mounts say it all."""
    has_mounts, private = bounds["layers"]["namespaces"], [os.path.realpath(path) for path in bounds["veils"]]
    given = [each for path, mode in own for each in landlock.around(path, private, mode)]
    if bounds["level"] == CLOSED:
        devices = [(path, "w") for path in namespace.common_devices()]
        readable = [(path, "r") for path in bounds["readable"]]
        if has_mounts:
            return [*readable, *devices, *given, *((path, "w") for path in ("/tmp", "/var/tmp", "/dev/shm"))]
        return [*devices, *given, *(each for path, mode in readable for each in landlock.around(path, private, mode))]
    if has_mounts:
        return None
    fixed = [*(path for path, mode in own if mode == "r"), *namespace.settings()]
    others = landlock.around("/", [*private, *fixed, *namespace.disks()], "w")
    return [*others, *given, *((path, "r") for path in namespace.settings())]
