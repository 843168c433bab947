"""The head of a GGUF file: what the model in it is, without loading it."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

from lepton.core.errors import InvalidError

NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
TEXT, ARRAY = 8, 9
MOST_BYTES = 64 << 20
"""Of one value."""


class GgufError(InvalidError):
    """The file is no GGUF, or is cut short."""

    code = "model_file"


def read_head(path: Path) -> dict[str, Any]:
    """Key -> value of all that the file says of its model; of arrays only their length.

    Raises:
        GgufError: it is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF" or version not in (2, 3):
                raise GgufError(f"{path.name} is no GGUF file of version 2 or 3", fix="Give a model in GGUF.")
            return {_text(file): _value(file, _number(file, "<I")) for _ in range(min(count, 10_000))}
    except (struct.error, OSError, KeyError, UnicodeDecodeError) as fault:
        raise GgufError(f"{path.name} cannot be read: {fault}", fix="Fetch the file again.") from fault


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _text(file: BinaryIO) -> str:
    size = _number(file, "<Q")
    if size > MOST_BYTES:
        raise struct.error(f"a text of {size} bytes")
    return file.read(size).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == TEXT:
        return _text(file)
    if kind != ARRAY:
        return _number(file, NUMBERS[kind])
    inner, count = _number(file, "<I"), _number(file, "<Q")
    if inner in NUMBERS:
        file.seek(count * struct.calcsize(NUMBERS[inner]), 1)
    else:
        for _ in range(count):
            _value(file, inner)
    return count
