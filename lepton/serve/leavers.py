"""Workers that want to end, and when each may.

The processes of an endpoint are asked to stop one by one, in any order. So the last worker stays for what may still
come until its front is asked as well and has drained; or some time has passed, and nobody has asked the front.
"""

from typing import Protocol

from lepton.serve.queue import Queue


class Leaver(Protocol):
    """The connection of a worker."""

    number: int
    is_ill: bool
    """It ends of itself: another takes its place, and its front goes on."""

    def finish(self) -> None:
        """Let the worker go."""
        ...


class Leavers:
    """Those of one queue."""

    def __init__(self, queue: Queue) -> None:
        self.patience_s = 0.0
        """For which the last one is kept although nobody asks anything; 0: its front goes on without it."""
        self._queue = queue
        self._is_kept: dict[Leaver, bool] = {}
        """Whether each is kept if it is the last."""

    @property
    def are_any(self) -> bool:
        """Whether somebody wants to end."""
        return bool(self._is_kept)

    def add(self, link: Leaver) -> None:
        """A worker wants to end."""
        self._is_kept[link] = self.patience_s > 0 and not link.is_ill
        self._queue.retire(link.number)

    def hasten(self, link: Leaver) -> None:
        """The time has passed for which a worker is kept."""
        if link in self._is_kept:
            self._is_kept[link] = False

    def discard(self, link: Leaver) -> None:
        """A worker is gone."""
        self._is_kept.pop(link, None)

    def let_go(self, *, is_draining: bool) -> None:
        """Let those go that are not needed any more.

        Args:
            is_draining: the front lets go of them all once its clients are gone.
        """
        stays = is_draining and self.patience_s > 0
        for link, is_kept in list(self._is_kept.items()):
            if self._queue.is_free(link.number, is_kept=is_kept or stays):
                link.finish()
