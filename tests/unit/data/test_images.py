"""Images become rows; a row that cannot be read is kept with its reason."""

import io

import numpy as np
import pytest
from PIL import Image

from lepton.core.errors import InvalidError
from lepton.data.archive import Member
from lepton.data.images import read_rows, to_table

RNG = np.random.default_rng(7)


def picture(width: int = 6, height: int = 5, mode: str = "L", kind: str = "PNG") -> bytes:
    channels = {"L": (), "RGB": (3,)}[mode]
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (height, width, *channels)).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def rows(files: dict[str, bytes], max_pixels: int = 1000) -> dict[str, tuple[str, str]]:
    table = to_table(read_rows([Member(name=name, body=body) for name, body in files.items()], max_pixels=max_pixels))
    labels, faults = table["label"].tolist(), table["fault"].tolist()
    return dict(zip(table["source"].tolist(), zip(labels, faults, strict=True), strict=True))


def test_labels_are_joined_by_path_and_sorted() -> None:
    files = {
        "d/b.png": picture(),
        "d/a.png": picture(mode="RGB"),
        "d/labels.csv": b"\xef\xbb\xbffile,label\na.png, 3 \n./b.png,x\n",
    }
    assert rows(files) == {"d/a.png": ("3", ""), "d/b.png": ("x", "")}
    assert list(rows(files)) == ["d/a.png", "d/b.png"]


def test_without_a_table_the_folder_is_the_label() -> None:
    assert rows({"x/cat/1.png": picture(), "x/dog/1.jpg": picture(kind="JPEG"), "top.png": picture()}) == {
        "top.png": ("", ""),
        "x/cat/1.png": ("cat", ""),
        "x/dog/1.jpg": ("dog", ""),
    }


def test_every_fault_keeps_its_row_and_says_why() -> None:
    deep = io.BytesIO()
    Image.fromarray(np.zeros((5, 6), np.uint16)).save(deep, "PNG")
    files = {
        "1.png": picture(),
        "2.png": picture(),
        "cut.png": picture()[:40],
        "deep.png": deep.getvalue(),
        "huge.png": picture(40, 40),
        "noise.png": RNG.bytes(80),
        "wide.png": picture(7, 5),
        "twice.png": picture(),
        "labels.csv": b"file,label\n1.png,1\n2.png,\nlost.png,4\ntwice.png,1\ntwice.png,2\n",
    }
    found = rows(files)
    assert found["1.png"] == ("1", "")
    assert found["2.png"] == ("", "")
    for name, word in {
        "cut.png": "decoded",
        "deep.png": "pixels of the kind",
        "huge.png": "more than 1000",
        "lost.png": "no such file",
        "noise.png": "decoded",
        "twice.png": "2 different labels",
        "wide.png": "7 x 5 pixels, most are 6 x 5",
    }.items():
        assert word in found[name][1], name
    assert len(found) == 9
    assert "0x" not in found["noise.png"][1], "an address in memory would make every run's bytes differ"


def test_an_archive_without_images_is_refused() -> None:
    with pytest.raises(InvalidError):
        rows({"readme.txt": b"hello"})


@pytest.mark.parametrize("body", [b"", b"name,digit\n", b"\xff\xfe\x00file,label"])
def test_a_label_table_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidError) as raised:
        rows({"1.png": picture(), "labels.csv": body})
    assert "labels.csv" in raised.value.message
