"""From the files of an archive to the rows of a table: decode images, join labels, and say what is wrong with a row."""

import csv
import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from lepton.core.errors import InvalidError
from lepton.data.archive import Member
from lepton.vault.tables import Table

FORMATS = ("PNG", "JPEG", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
"""Kinds of pixel that become 8-bit grey without loss of range."""
UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error, zlib.error)
LABELS = "labels.csv"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One image of the archive."""

    source: str
    """Its path in the archive."""
    image: Pixels | None
    label: str = ""
    """As the user wrote it; empty: none."""
    fault: str = ""
    """Why there is no image; empty if there is."""


def read_rows(members: Iterable[Member], *, max_pixels: int) -> list[Row]:
    """One row an image, sorted by path. Labels come from `labels.csv` (columns file, label), else from folder names.

    Raises:
        InvalidError: there is no image at all, or `labels.csv` cannot be read.
    """
    rows: dict[str, Row] = {}
    labels: dict[str, list[str]] | None = None
    for member in members:
        if member.name.rpartition("/")[2] == LABELS and labels is None:
            labels = read_labels(member)
        elif member.name.lower().endswith(SUFFIXES) or member.fault:
            rows[member.name] = _decoded(member, max_pixels)
    if not rows:
        raise InvalidError("The archive holds no image", fix=f"Put {', '.join(SUFFIXES)} files in it.")
    named = _by_folder(rows) if labels is None else _by_table(rows, labels)
    return [named[source] for source in sorted(named)]


def read_labels(member: Member) -> dict[str, list[str]]:
    """Path in the archive -> every label that `labels.csv` gives it; paths there are relative to its own folder.

    Raises:
        InvalidError: it is not UTF-8 text, or lacks the columns.
    """
    base = member.name.removesuffix(LABELS)
    try:
        reader = csv.DictReader(io.StringIO(member.body.decode("utf-8-sig"), newline=""))
        if not {"file", "label"} <= set(reader.fieldnames or ()):
            raise InvalidError(f"{member.name} lacks the columns file and label", fix="Begin it with file,label.")
        found: dict[str, list[str]] = {}
        for line in reader:
            path = base + (line["file"] or "").strip().removeprefix("./")
            found.setdefault(path, []).append((line["label"] or "").strip())
    except (UnicodeDecodeError, csv.Error) as fault:
        raise InvalidError(f"{member.name} is not CSV in UTF-8: {fault}", fix="Save it as CSV UTF-8.") from fault
    return found


def to_table(rows: list[Row]) -> Table:
    """Columns image (N, H, W), label, source and fault. The most frequent size is the table's; others are faults."""
    sizes = Counter(row.image.shape for row in rows if row.image is not None)
    shape = min(sizes, key=lambda size: (-sizes[size], size), default=(1, 1))
    image_NHW = np.zeros((len(rows), *shape), np.uint8)
    faults = []
    for number, row in enumerate(rows):
        faults.append(row.fault)
        if row.image is not None and row.image.shape == shape:
            image_NHW[number] = row.image
        elif row.image is not None:
            faults[-1] = f"is {row.image.shape[1]} x {row.image.shape[0]} pixels, most are {shape[1]} x {shape[0]}"
    texts = {"label": [row.label for row in rows], "source": [row.source for row in rows], "fault": faults}
    return Table(columns={"image": image_NHW, **{name: _text(column) for name, column in texts.items()}})


def _text(column: list[str]) -> npt.NDArray[np.str_]:
    return np.array(column, dtype=f"<U{max(1, *map(len, column)) if column else 1}")


def _decoded(member: Member, max_pixels: int) -> Row:
    """The row of an image file; one that cannot be decoded keeps the reason."""
    if member.fault:
        return Row(source=member.name, image=None, fault=member.fault)
    try:
        with Image.open(io.BytesIO(member.body), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                return Row(source=member.name, image=None, fault=f"has more than {max_pixels} pixels")
            if image.mode not in MODES:
                return Row(source=member.name, image=None, fault=f"has pixels of the kind {image.mode}")
            return Row(source=member.name, image=np.asarray(image.convert("L")))
    except (*UNDECODABLE, Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        reason = str(fault).split(" <")[0][:200]  # Pillow ends its text with an address in memory
        return Row(source=member.name, image=None, fault=f"cannot be decoded: {reason}")


def _by_folder(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Rows labelled by the folder they lie in, e.g. `photos/cat/7.png`."""
    return {name: replace(row, label=name.rpartition("/")[0].rpartition("/")[2]) for name, row in rows.items()}


def _by_table(rows: Mapping[str, Row], labels: Mapping[str, list[str]]) -> dict[str, Row]:
    """Rows labelled by the table; a line without an image becomes a faulty row."""
    named = {name: _labelled(row, labels.get(name, [])) for name, row in rows.items()}
    for name in labels.keys() - rows.keys():
        named[name] = Row(source=name[:200], image=None, fault=f"{LABELS} names it, but the archive has no such file")
    return named


def _labelled(row: Row, found: list[str]) -> Row:
    """The row with its label; two different ones contradict each other."""
    if len(set(found)) > 1:
        return replace(row, image=None, fault=f"{LABELS} gives it {len(set(found))} different labels")
    return replace(row, label=found[0] if found else "")
