"""Amounts of devices in words."""

from lepton.core.launch import Devices

WORDS = {"gpu_milli": "GPU", "tpu_milli": "TPU", "fpga_milli": "FPGA", "cpu_milli": "CPU"}
"""Field of `Devices` -> its word."""


def in_words(device: str, amount: int) -> str:
    """An amount of one device: `2 GPUs`, `4.0 GiB`."""
    if device == "memory_bytes":
        return f"{amount / 2**30:.1f} GiB"
    return f"{amount / 1000:g} {WORDS[device]}{'' if amount == 1000 else 's'}"


def show(amount: Devices) -> str:
    """An amount in words: `1 GPU, 2 CPUs, 4.0 GiB`; CPUs always, the others if there are any."""
    fields = [name for name in (*WORDS, "memory_bytes") if name == "cpu_milli" or getattr(amount, name)]
    return ", ".join(in_words(name, getattr(amount, name)) for name in fields)
