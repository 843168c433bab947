"""Numbers by range, `1-4,7`: short, however many they are. Pure."""

from collections.abc import Collection


def ranges(numbers: Collection[int]) -> str:
    """Numbers as they are written."""
    found = list[list[int]]()
    for number in sorted({*numbers}):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def numbers_of(text: str) -> set[int]:
    """What was written so."""
    pairs = (each.partition("-") for each in text.split(",") if each)
    return {number for first, _, last in pairs for number in range(int(first), int(last or first) + 1)}
