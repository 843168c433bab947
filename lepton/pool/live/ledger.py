"""What is really held under each limit.

In the arrays a job that was stopped holds nothing any more while it still ends. Whom it makes room for starts only once
its limits really have room, as its nodes must have.
"""

from collections import defaultdict

from lepton.pool.live.layout import AMOUNTS, need_of
from lepton.pool.live.tables import Account, Tables
from lepton.pool.live.views import Wants


class Ledger:
    """What the jobs that hold places have of each counted amount, for each queue and quota."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._held: dict[Account, list[int]] = defaultdict(lambda: [0] * AMOUNTS)

    def has_room(self, wants: Wants) -> bool:
        """Whether a job may hold what it asks for beside all that is held."""
        need = need_of(wants.workers)
        for account in self._tables.accounts_of(wants):
            limit = self._tables.pool.limit[self._tables.account(account)]
            held = self._held[account]
            if any(need[each] and held[each] + need[each] > limit[each] for each in range(AMOUNTS)):
                return False
        return True

    def add(self, wants: Wants, sign: int) -> None:
        """A job holds its places from now on; with a `sign` of -1, no longer."""
        need = need_of(wants.workers)
        for account in self._tables.accounts_of(wants):
            self._held[account] = [held + sign * each for held, each in zip(self._held[account], need, strict=True)]
