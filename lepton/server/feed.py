"""Events of a database that other servers write to as well: read in their order, whoever stored them."""

from lepton.server.hub import Hub
from lepton.store import events
from lepton.store.database import Database

EVERY_S = 0.5
"""How often events are asked for though nobody has told of any; a commit, ours or another server's, asks at once."""
PAGE = 1000


class Feed:
    """Fills the hub from the database."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._seq = database.read(events.newest)

    def turn(self) -> float | None:
        """Spread what is new."""
        found = self._database.read(lambda tx: events.after(tx, self._seq, limit=PAGE))
        if found:
            self._seq = found[-1][0]
            self._hub.publish(found)
        return 0.0 if len(found) == PAGE else None
