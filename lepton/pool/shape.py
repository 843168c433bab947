"""What a job may ask of the pool at all, however idle it is. Pure."""

from lepton.core.errors import InvalidError
from lepton.core.launch import Devices

ACCELERATORS = {"gpu_milli": "GPU", "tpu_milli": "TPU", "fpga_milli": "FPGA"}
"""Field of `Devices` -> its word."""
WORDS = {**ACCELERATORS, "cpu_milli": "CPU"}


def in_words(device: str, amount: int) -> str:
    """An amount of one device: `2 GPUs`, `4.0 GiB`."""
    if device == "memory_bytes":
        return f"{amount / 2**30:.1f} GiB"
    return f"{amount / 1000:g} {WORDS[device]}{'' if amount == 1000 else 's'}"


def check_devices(devices: Devices) -> None:
    """Refuse what no worker can be given: two kinds of accelerator, or one and a half of one.

    Raises:
        InvalidError: it is such.
    """
    asked = {word: getattr(devices, field) for field, word in ACCELERATORS.items() if getattr(devices, field)}
    if len(asked) > 1:
        raise InvalidError(
            f"A worker asks for {' and '.join(f'{word}s' for word in asked)}",
            fix="Ask for one kind of accelerator for each worker.",
        )
    for word, milli in asked.items():
        if milli > 1000 and milli % 1000:
            raise InvalidError(
                f"A worker asks for {milli / 1000:g} {word}s",
                fix=f"Ask for a part of one (below 1), or for whole {word}s.",
            )
