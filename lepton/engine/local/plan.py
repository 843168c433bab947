"""From a launch to what its shim executes: arguments, environment, limits. Pure."""

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from lepton.core.launch import Launch
from lepton.core.resource import Json
from lepton.engine.local.bounds import Ground, home_of, make_bounds, told
from lepton.engine.shim import records
from lepton.engine.shim.warm import ENTRY, ROOM

INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "TMPDIR"),
    *("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""All that a worker gets of the engine's own environment."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
PER_LAUNCH = frozenset(
    (
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME"),
        *THREAD_VARIABLES,
        *GPU_VARIABLES,
    )
)
"""With those that begin with LEPTON_, the variables that a warm zygote can do without: no library reads them at its
import, or `shim.warm` makes up for it."""
ALWAYS = {"PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1"}
"""onnxruntime reports what it does to its maker, from a thread that its import starts, unless it is told not to."""
SITE_FOLDERS = ("site-packages", "dist-packages")
ROOM_BYTES = 16 << 10
ROOT = Path(__file__).parents[3]
"""The folder that holds the package `lepton`."""


def make_plan(launch: Launch, folder: Path, ground: Ground, *, gang: Path, meeting: Path | None) -> Json:
    """What the shim of `launch` needs to know.

    Args:
        folder: the launch's folder.
        gang: the folder that its gang shares.
        meeting: the one that it shares with others.
    """
    work = folder / records.WORK
    command = launch.command or (sys.executable, "-m", ENTRY)
    bounds = make_bounds(launch, folder, ground, gang=gang, meeting=meeting)
    places = {"LEPTON_FOLDER": str(work), "LEPTON_GANG_FOLDER": str(gang)}
    places["LEPTON_LAUNCH"] = str(folder / records.LAUNCH)
    if meeting is not None:
        places["LEPTON_MEETING_FOLDER"] = str(meeting)
    if ground.url_file is not None:
        places["LEPTON_URL_FILE"] = str(ground.url_file)
    held = {**home_of(bounds, work), "LEPTON_ISOLATION": told(bounds)}
    return {
        "argv": list(command),
        "env": {**_basics(ground.variables), **_gang(launch), **_devices(launch), **places, **launch.env, **held},
        "cwd": launch.cwd or str(work),
        "bounds": bounds,
        "gang": str(gang),
        "meeting": str(meeting) if meeting else "",
        "cgroup": f"lepton-{sha256(str(folder).encode()).hexdigest()[:20]}",
        "memory_bytes": launch.devices.memory_bytes,
        "cpu_milli": launch.devices.cpu_milli,
        "timeout_s": launch.timeout_s,
        "grace_s": launch.grace_s,
        "log_limit_bytes": launch.log_limit_bytes,
    }


def can_be_warm(launch: Launch, plan: Json, variables: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Whether a warm zygote can give what a fresh start with these variables would: it runs our entry, and brings no
    variable that a library may have wanted to see when it was imported."""
    home = home_of(plan["bounds"], Path())
    rest = {name: value for name, value in variables.items() if not (name in home or _is_per_launch(name))}
    return bool(launch.entry) and rest == {name: value for name, value in _basics(own).items() if name not in home}


def zygote_variables(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of every warm zygote."""
    quiet = dict.fromkeys(THREAD_VARIABLES, "1") | dict.fromkeys(GPU_VARIABLES, "")
    return {**_basics(own), **quiet, ROOM: "-" * ROOM_BYTES}


def _is_per_launch(name: str) -> bool:
    return name.startswith("LEPTON_") or name in PER_LAUNCH


def _basics(own: Mapping[str, str]) -> dict[str, str]:
    basics = {name: own[name] for name in INHERITED if name in own}
    basics.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    if ROOT.name not in SITE_FOLDERS:
        paths = [path for path in basics.get("PYTHONPATH", "").split(":") if path and path != str(ROOT)]
        basics["PYTHONPATH"] = ":".join([*paths, str(ROOT)])
    return {**basics, **ALWAYS}


def _gang(launch: Launch) -> dict[str, str]:
    rank, size = str(launch.rank), str(launch.size)
    return {
        "LEPTON_JOB": launch.job,
        "LEPTON_GENERATION": str(launch.generation),
        "LEPTON_RANK": rank,
        "LEPTON_SIZE": size,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        "GLOO_SOCKET_IFNAME": "lo",
    }


def _devices(launch: Launch) -> dict[str, str]:
    threads = str(max(1, launch.devices.cpu_milli // 1000))
    gpus = ",".join(map(str, launch.gpus))
    return dict.fromkeys(THREAD_VARIABLES, threads) | dict.fromkeys(GPU_VARIABLES, gpus)
