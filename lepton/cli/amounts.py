"""Amounts of devices on the command line: `gpus=8,cpus=64,memory=512G`."""

from collections.abc import Mapping
from math import inf
from typing import Any

import click

from lepton.cli.kinds import ParamType, Size

GIB = 2**30
WORDS = {"gpu_milli": "gpus", "tpu_milli": "tpus", "fpga_milli": "fpgas", "cpu_milli": "cpus"}
"""Device -> its word; beside them `memory`."""
DEVICES = {**{word: device for device, word in WORDS.items()}, "memory": "memory_bytes"}
EXAMPLE = "gpus=8,cpus=64,memory=512G"


class AmountsOf(ParamType):
    """Amounts by device; an empty text names none."""

    name = "amounts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Device -> thousandths, or bytes.

        Raises:
            click.BadParameter: there is no such device, or its amount is none.
        """
        if isinstance(value, dict):
            return value
        found: dict[str, int] = {}
        for part in str(value).split(",") if str(value).strip() else ():
            word, equals, text = part.strip().partition("=")
            if not equals or word not in DEVICES or DEVICES[word] in found:
                self.fail(f"{part[:80]!r} is not one of {', '.join(DEVICES)} with its amount: {EXAMPLE}.", param, ctx)
            found[DEVICES[word]] = self._amount(word, text, param, ctx)
        return found

    def _amount(self, word: str, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if word == "memory":
            return Size().convert(text, param, ctx)
        try:
            number = float(text)
        except ValueError:
            number = -1
        if not 0 <= number < inf or number > 1e9:
            self.fail(f"{text[:80]!r} is no number of {word}; write e.g. {EXAMPLE}.", param, ctx)
        return round(number * 1000)


def short(amounts: Mapping[str, int]) -> str:
    """Amounts as one may write them: `gpus=8,memory=512G`."""
    parts = [f"{word}={amounts[device] / 1000:g}" for device, word in WORDS.items() if device in amounts]
    if "memory_bytes" in amounts:
        size, unit = amounts["memory_bytes"] / GIB, "G"
        size, unit = (size / 1024, "T") if size >= 1024 else (size, unit)
        parts.append(f"memory={size:.4g}{unit}")
    return ",".join(parts)


def spent(seconds: float) -> str:
    """A time in its largest unit that is whole enough: `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    for unit, size in (("min", 60.0), ("h", 3600.0)):
        if seconds < 100 * size:
            return f"{seconds / size:.0f} {unit}" if unit == "min" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"
