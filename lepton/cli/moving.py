"""Progress bars, on standard error, where somebody may be looking."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, where somebody may be looking; gives what moves it on."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    with click.progressbar(length=length, label=f"{label:12}", file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def moving(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes; gives what is told how many bytes are done, of how many."""
    with progress(100, label) as step:
        shown = 0

        def moved(done: int, total: int) -> None:
            nonlocal shown
            percent = 100 * done // max(1, total)
            step(percent - shown)
            shown = percent

        yield moved
