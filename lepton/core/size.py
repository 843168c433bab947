"""Sizes and numbers as people write them."""

FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
MOST = 1 << 50


def read_size(text: str) -> int:
    """Bytes of `512M`, `4G`, `1.5 GiB` (powers of 1024) or of a plain number.

    Raises:
        ValueError: it is no size.
    """
    plain = text.strip().lower().removesuffix("ib").removesuffix("b")
    unit = plain[-1:] if plain[-1:] in FACTORS else ""
    amount = float(plain.removesuffix(unit) if unit else plain) * FACTORS[unit]
    if not 0 <= amount <= MOST:
        raise ValueError(f"{text!r} is no size")
    return int(amount)


def format_bytes(size: int) -> str:
    """Bytes as people read them, e.g. `1.4 GiB`."""
    amount, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f} {unit}" if unit != "bytes" else f"{size} bytes"


def number_of(count: int, one: str, many: str = "") -> str:
    """A number and what it counts: `1 file`, `2 files`; `many` where another letter is not enough."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
