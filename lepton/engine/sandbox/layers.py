"""Which layers this machine has for this user: found by trying them in a child.

python -I -S -c 'import sys; sys.path.append(...); from lepton.engine.sandbox.layers import main; main()'
"""

import os
from collections.abc import Callable
from typing import Any

from lepton.engine.sandbox import filter as calls
from lepton.engine.sandbox import landlock, namespace, privileges

Layers = dict[str, Any]
NONE: Layers = {"landlock": 0, "namespaces": False, "filter": False}


def find() -> Layers:
    """`landlock`: its version, 0 for none; `namespaces`, `filter`: whether; `lacks`: why not, by layer. Forks."""
    version = landlock.version()
    lacks = {
        "landlock": ""
        if version >= landlock.LEAST
        else f"the kernel has version {version}"
        if version
        else _NO_LANDLOCK,
        "namespaces": attempt(_hide),
        "filter": attempt(_try_filter) if calls.can_filter() else "there is no filter for this kind of processor",
    }
    return {
        "landlock": 0 if lacks["landlock"] else version,
        "namespaces": not lacks["namespaces"],
        "filter": not lacks["filter"],
        "lacks": {name: why for name, why in lacks.items() if why},
    }


_NO_LANDLOCK = "the kernel has no Landlock, or it was not switched on at the start (lsm=landlock,...)"


def attempt(work: Callable[[], object]) -> str:
    """Why something fails that is tried in a child; empty if it does not."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except OSError as fault:
            os.write(writing, (fault.strerror or repr(fault)).encode())
        except BaseException as fault:  # noqa: BLE001  told by the parent
            os.write(writing, repr(fault).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        said = stream.read().decode()
    _, status = os.waitpid(pid, 0)
    return said or ("" if status == 0 else f"the trial ended with {status}")


def _hide() -> None:
    namespace.enter()
    namespace.fix_machine()
    namespace.hide({"/usr": "/proc/self/fdinfo"}, [("/etc", "r")])
    if "bin" in os.listdir("/usr"):
        raise OSError(0, "what was to be hidden can be seen")


def _try_filter() -> None:
    privileges.gain_none()
    calls.refuse()
