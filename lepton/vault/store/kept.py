"""What is read again and again, kept in memory: pages of trees, lists of chunks, versions. None of them ever changes.

Without it each listing and each file would read the same pages once more: of a far storage that is a wait for each.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar, cast

from lepton.vault.store.codecs import Octets

T = TypeVar("T")
FORMED, LEAST = 2, 500
"""What is kept takes of memory so many times its bytes, and so much besides, about."""


class Kept:
    """Those used last, up to so many bytes. Any thread may use it."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._size = most_bytes, 0
        self._found: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, place: Hashable, form: Callable[[Octets], T], read: Callable[[], Octets]) -> T:
        """What lies at a place, in a form; read only if it is not kept.

        Args:
            form: the same function whenever the same is wanted.
        """
        key = (place, form)
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return cast(T, self._found[key][0])
        body = read()
        value, size = form(body), FORMED * len(body) + LEAST
        with self._lock:
            self._size += size - self._found.pop(key, (None, 0))[1]
            self._found[key] = value, size
            while self._size > self._most:
                self._size -= self._found.popitem(last=False)[1][1]
        return value
