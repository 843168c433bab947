"""A loop's lease: of all servers on one database, one runs the loop; the others stand by."""

from lepton.core.clock import Clock, to_micros
from lepton.store import leases
from lepton.store.database import Database, Tx

STANDBY_S = 1.0
"""How often a server that stands by asks whether the other is still there."""


class Lease:
    """One server's claim to one loop."""

    def __init__(self, name: str, token: str, *, database: Database, clock: Clock, lease_s: float) -> None:
        self.name = name
        self.token = token
        self._database = database
        self._clock = clock
        self._lease_s = lease_s
        self._renew_at = float("-inf")
        self.is_over = False
        """Whether it is to be held no more."""

    def hold(self) -> bool:
        """Whether the lease is ours now; takes or extends it when a third of it has passed."""
        if self.is_over:
            return False
        if self._clock.monotonic() < self._renew_at:
            return True
        now = to_micros(self._clock.now())
        until = now + int(self._lease_s * 1_000_000)
        if self._database.read(lambda tx: leases.is_held(tx, self.name, self.token, now=now, until=until)):
            return False
        is_ours = self._database.write(lambda tx: leases.take(tx, self.name, self.token, now=now, until=until))
        self._renew_at = self._clock.monotonic() + self._lease_s / 3 if is_ours else float("-inf")
        return is_ours

    def check(self, tx: Tx) -> None:
        """Refuse this transaction if another server has taken the loop (StaleError)."""
        try:
            leases.check(tx, self.name, self.token)
        except BaseException:
            self._renew_at = float("-inf")
            raise

    def end(self) -> None:
        """Hold it no more: what asks for it on its way stops."""
        self.is_over = True

    def release(self) -> None:
        """Give it back."""
        self._renew_at = float("-inf")
        self._database.write(lambda tx: leases.release(tx, self.name, self.token))
