"""How long a driver waits for a storage, and how often it asks again."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from lepton.core.errors import InvalidError, StorageUnreachableError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Bounds for one call of a driver; a stream has them for each block of it."""

    connect_s: float = 5.0
    answer_s: float = 30.0
    """A server silent for this long is gone. Each answer carries at most 8 MiB (S3: the whole of it counts)."""
    attempts: int = 3
    """Of what may be repeated without harm: reading, listing, deleting."""
    pause_s: float = 0.2
    """Before the second attempt; doubles with each."""

    def __post_init__(self) -> None:
        if min(self.connect_s, self.answer_s, self.attempts) <= 0 or self.pause_s < 0:
            raise InvalidError("A patience that cannot work", fix="Give positive seconds and at least one attempt.")

    @property
    def longest_s(self) -> float:
        """After this long a call on a storage that is gone has failed."""
        return self.attempts * (self.connect_s + self.answer_s) + self.pause_s * ((1 << (self.attempts - 1)) - 1)


def retried(call: Callable[[], T], patience: Patience) -> T:
    """Call until it does not meet an unreachable storage, at most `patience.attempts` times."""
    for attempt in range(patience.attempts - 1):
        try:
            return call()
        except StorageUnreachableError:
            Event().wait(patience.pause_s * 2**attempt)
    return call()
