"""What is logged while a command runs: to standard error, each thing once, as several parts of it may meet the same."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Once(logging.Filter):
    """Lets a message through when it is the first of its words."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = set[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it was not said yet."""
        text = record.getMessage()
        is_new = text not in self._seen
        self._seen.add(text)
        return is_new


@contextmanager
def logged_once() -> Iterator[None]:
    """Say warnings of Lepton's own on standard error meanwhile."""
    log, handler = logging.getLogger("lepton"), logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.addFilter(Once())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
