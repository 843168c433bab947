"""How long jobs have waited, on a clock of the pool's own, which no leap of the wall clock moves far.

A server looks at its pool every few seconds. Where much more than that seems to have passed between two looks, somebody
has set the clock, or the machine has slept: nobody has waited for that. So each step counts up to `LONGEST_STEP_S`, and
one backwards not at all. What passed before the pool was there is what the wall clock says.
"""

LONGEST_STEP_S = 600.0


class Patience:
    """Seconds that have passed, as the pool counts them."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._seen_at: float | None = None

    def see(self, now: float) -> None:
        """The wall clock says that it is now so late."""
        step_s = 0.0 if self._seen_at is None else now - self._seen_at
        self.passed_s += min(max(0.0, step_s), LONGEST_STEP_S)
        self._seen_at = now

    def since(self, at: float, now: float) -> float:
        """What `passed_s` was at a time of the wall clock that lies before now."""
        return self.passed_s - max(0.0, now - at)
