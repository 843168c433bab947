"""The bounded log: from any offset, what is kept is exactly the tail of the stream."""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lepton.engine.shim.segments import SegmentWriter, read_segments, size_of


def stream_of(sizes: list[int]) -> list[bytes]:
    """Chunks of these sizes, each byte telling of its place."""
    whole = bytes(place * 31 % 251 for place in range(sum(sizes)))
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 300), max_size=30), st.integers(16, 2000), st.data())
def test_from_any_offset_the_log_is_the_tail_of_the_stream(sizes: list[int], limit: int, data: st.DataObject) -> None:
    chunks = stream_of(sizes)
    whole = b"".join(chunks)
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(folder, limit)
        for chunk in chunks:
            writer.write(chunk)
        writer.close()
        kept = sum(path.stat().st_size for path in Path(folder).iterdir())
        offset = data.draw(st.integers(0, len(whole) + 5))
        found = b"".join(read_segments(folder, offset))
        assert size_of(folder) == writer.size == len(whole)
    oldest = len(whole) - kept
    assert kept <= limit and (oldest == 0 or kept >= limit - 2 * max(1, limit // 8) - 8)
    marker = b"[lepton: %d bytes dropped]\n" % (oldest - offset) if offset < oldest else b""
    assert found == marker + whole[max(offset, oldest) :]


def test_bytes_that_could_not_be_written_are_a_marked_gap(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), 8000)
    writer.write(b"before ")
    os.close(writer._fd)  # the next write fails, as on a full disk
    writer._fd = os.open(os.devnull, os.O_RDONLY)
    writer.write(b"lost")
    writer.write(b"after")
    writer.close()
    assert b"".join(read_segments(str(tmp_path), 0)) == b"before [lepton: 4 bytes dropped]\nafter"


def test_a_log_that_never_was_is_empty(tmp_path: Path) -> None:
    assert (list(read_segments(str(tmp_path / "none"), 0)), size_of(str(tmp_path / "none"))) == ([], 0)
