"""Progress bars, on standard error, where somebody may be looking."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

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


@contextmanager
def moving_on(*labels: str) -> Iterator[Callable[[int, int], None]]:
    """As `moving`, for several moves one after the other: each begins where the count of bytes goes back."""
    rest, last = iter(labels), -1
    with ExitStack() as shown:
        told = shown.enter_context(moving(next(rest)))

        def moved(done: int, total: int) -> None:
            nonlocal told, last
            if done < last and (label := next(rest, "")):
                shown.pop_all().close()
                told = shown.enter_context(moving(label))
            last = done
            told(done, total)

        yield moved
