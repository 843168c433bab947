"""What this machine has: processors, memory and GPUs that this process may use."""

import os
import platform
import re
from pathlib import Path

from lepton.core.launch import Devices, NodeFacts

CPU_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max", ""),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def node_name() -> str:
    """The machine's host name in the form of a name, so that servers on several machines do not take each other's."""
    plain = re.sub(r"[^a-z0-9-]+", "-", platform.node().partition(".")[0].lower()).strip("-")[:63].strip("-")
    return plain or "node"


def facts(name: str) -> NodeFacts:
    """This machine as a node called `name`."""
    gpus = gpu_models()
    labels = {"os": platform.system().lower(), "arch": platform.machine(), "hostname": platform.node()}
    if gpus:
        labels["gpu_model"] = gpus[0]
    devices = Devices(cpu_milli=cpu_milli(), gpu_milli=1000 * len(gpus), memory_bytes=memory_bytes())
    return NodeFacts(name=name, devices=devices, labels=labels)


def cpu_milli() -> int:
    """Processors this process may use, in thousandths: its affinity, or its control group's quota if that is less."""
    counted = 1000 * len(os.sched_getaffinity(0))
    return min([counted, *(quota for quota in map(_quota_milli, CPU_QUOTAS) if quota)])


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or its control group's limit if that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = (_words(path)[:1] for path in MEMORY_LIMITS)
    return min([total, *(int(limit[0]) for limit in limits if limit and limit[0].isdecimal())])


def gpu_models() -> list[str]:
    """The model of each NVIDIA GPU, by index."""
    told = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    if told:
        return [_model(path) for path in told]
    return ["nvidia" for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()]


def _model(path: Path) -> str:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key == "Model"), "nvidia")


def _quota_milli(paths: tuple[str, str]) -> int:
    """The quota of a version 2 file (`quota period`) or a version 1 pair; 0 for none."""
    words = [word for path in paths if path for word in _words(path)]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return 0
    return int(words[0]) * 1000 // int(words[1])


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text().split()
    except OSError:
        return []
