"""Who was not let in: tokens that are unknown, revoked or expired, told to the audit trail without filling it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from lepton.core.event import Event

EVERY = timedelta(minutes=1)
"""An address that goes on knocking is told of once in this time, with how often it has."""
MOST_ADDRESSES = 1000
ELSEWHERE = "many addresses"


@dataclass(slots=True)
class _Told:
    at: datetime
    unsaid: int = 0


class Knocks:
    """Counts refused tokens by address, in bounded memory."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def heard(self, address: str, at: datetime) -> Event | None:
        """Count one; return the event to store, if it is time to tell."""
        told = self._told.get(address)
        if told is None and len(self._told) >= MOST_ADDRESSES:
            self._told = {name: one for name, one in self._told.items() if at - one.at < EVERY or one.unsaid}
            address = address if len(self._told) < MOST_ADDRESSES else ELSEWHERE
            told = self._told.get(address)
        if told is not None and at - told.at < EVERY:
            told.unsaid += 1
            return None
        times = 1 + (told.unsaid if told else 0)
        self._told[address] = _Told(at)
        return Event(
            subject=address,
            kind="login",
            workspace="",
            verb="refused",
            why=f"a token that is unknown, revoked or expired, {times} time{'s' if times > 1 else ''}",
            actor="nobody",
            at=at,
            data={"times": times},
        )
