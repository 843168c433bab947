"""Answers are sent in frames that hold them, whatever they are together and one by one."""

from lepton.serve.frames import HEADED, LAST, Entry, Frame, Item, Kind, encode
from lepton.serve.items import MOST_AT_ONCE, is_large, portions

HALF, WHOLE = bytes(MOST_AT_ONCE // 2 + 1), bytes(MOST_AT_ONCE)


def test_answers_are_divided_over_frames_and_a_larger_one_over_parts() -> None:
    items: list[Item] = [
        Entry(1, b"a", status=200),
        Entry(2, HALF, status=200),
        Entry(3, HALF, status=201),
        Entry(4, WHOLE + WHOLE + b"z", status=200, rows=3, flags=LAST | HEADED),
        Entry(5, b"e", status=200),
        Entry(6, WHOLE + b"y", flags=0),
        Entry(7, WHOLE, status=200),
    ]
    assert is_large(items) and not is_large([Entry(7, WHOLE)])
    frames = list(portions(items))
    for frame in frames:
        assert sum(len(item[1]) for item in frame) <= MOST_AT_ONCE
        encode(Frame(Kind.ANSWERS, frame))
    parts = [Entry(*item) for frame in frames for item in frame]
    told = [(part.id, len(part.body), part.status, part.rows, part.flags) for part in parts]
    assert told == [
        (1, 1, 200, 0, LAST),
        (2, len(HALF), 200, 0, LAST),
        (3, len(HALF), 201, 0, LAST),
        (4, len(WHOLE), 200, 3, HEADED),
        (4, len(WHOLE), 0, 0, 0),
        (4, 1, 0, 0, LAST),
        (5, 1, 200, 0, LAST),
        (6, len(WHOLE), 0, 0, 0),
        (6, 1, 0, 0, 0),
        (7, len(WHOLE), 200, 0, LAST),
    ]
    assert b"".join(part.body for part in parts if part.id == 4) == WHOLE + WHOLE + b"z"
