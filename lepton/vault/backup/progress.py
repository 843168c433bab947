"""How far a long move has come, told in bytes."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told bytes done and bytes in all."""
Steps = Callable[[int], None]
"""Told how many bytes more are done."""


def silent(done: int, total: int) -> None:
    """Tell nobody."""


def counted(progress: Progress, total: int) -> Steps:
    """Tells `progress` of the sum of the steps."""
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    return tell
