"""From a launch to what its shim executes: arguments, environment, limits. Pure."""

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from lepton.core.launch import Launch
from lepton.core.resource import Json
from lepton.engine.shim import records

INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "TMPDIR"),
    *("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
"""All that a worker gets of the engine's own environment."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
SITE_FOLDERS = ("site-packages", "dist-packages")
ROOT = Path(__file__).parents[3]
"""The folder that holds the package `lepton`."""


def make_plan(launch: Launch, folder: Path, *, gang: Path, url_file: Path | None, own: Mapping[str, str]) -> Json:
    """What the shim of `launch` needs to know.

    Args:
        folder: the launch's folder.
        gang: the folder that its gang shares.
        url_file: the file that holds the server's present address, if there is one.
        own: this process's environment.
    """
    work = folder / records.WORK
    command = launch.command or (sys.executable, "-m", "lepton.engine.entry")
    places = {"LEPTON_FOLDER": str(work), "LEPTON_GANG_FOLDER": str(gang)}
    places["LEPTON_LAUNCH"] = str(folder / records.LAUNCH)
    if url_file is not None:
        places["LEPTON_URL_FILE"] = str(url_file)
    return {
        "argv": list(command),
        "env": {**_basics(own), **_gang(launch), **_devices(launch), **places, **launch.env},
        "cwd": launch.cwd or str(work),
        "gang": str(gang),
        "cgroup": f"lepton-{sha256(str(folder).encode()).hexdigest()[:20]}",
        "memory_bytes": launch.devices.memory_bytes,
        "cpu_milli": launch.devices.cpu_milli,
        "timeout_s": launch.timeout_s,
        "grace_s": launch.grace_s,
        "log_limit_bytes": launch.log_limit_bytes,
    }


def _basics(own: Mapping[str, str]) -> dict[str, str]:
    basics = {name: own[name] for name in INHERITED if name in own}
    basics.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    if ROOT.name not in SITE_FOLDERS:
        paths = [path for path in basics.get("PYTHONPATH", "").split(":") if path and path != str(ROOT)]
        basics["PYTHONPATH"] = ":".join([*paths, str(ROOT)])
    return {**basics, "PYTHONUNBUFFERED": "1"}


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
