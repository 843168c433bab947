"""What each caller of an endpoint may ask: so many requests a second, so many a day, from these addresses. Pure.

A caller is whoever its tokens are of, or where none is needed its address. Time is passed in.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from lepton.core.errors import InvalidError

DAY_S = 86_400
MAX_CALLERS = 50_000
"""Whoever has been silent longest is forgotten first; it then begins with a full bucket."""
SHARES, MAX_SHARE = 100, 1000
"""A caller's quota is taken down in so many parts, each of at most so many requests, before they are used."""


class Verdict(NamedTuple):
    """Why a request may not be made now."""

    why: str
    """`rate` or `quota`."""
    retry_s: float
    """Seconds until it may be."""


class Caller:
    """One caller's bucket and count."""

    __slots__ = ("at", "day", "left", "reserved", "used")

    def __init__(self, left: float, at: float, day: int) -> None:
        self.left = left
        self.at = at
        self.day = day
        self.used = 0
        self.reserved = 0
        """What it may use before that is taken down again."""


class Allowance:
    """The buckets of all callers.

    Args:
        rate: requests a second, on average; 0: any number.
        burst: requests at once; 0: as many as in one second, at least one.
        quota: requests a day (of UTC); 0: any number.
    """

    def __init__(self, *, rate: float = 0.0, burst: int = 0, quota: int = 0) -> None:
        self.limit(rate=rate, burst=burst, quota=quota)
        self.on_reserve: Callable[[bytes, int, int], object] = lambda *_: None
        """Called with a caller, a day and a number of requests before more of that day are granted than it knows of."""
        self._callers: OrderedDict[bytes, Caller] = OrderedDict()

    def limit(self, *, rate: float, burst: int, quota: int) -> None:
        """From now on so many, with the meaning they have for a new one; what was used counts on."""
        self._rate = rate
        self._burst = float(burst or max(1.0, rate))
        self._quota = quota
        self._share = max(1, min(quota // SHARES, MAX_SHARE))
        self.is_bounded = bool(rate or quota)
        """Whether there is anything to count."""

    def take(self, caller: bytes, now: float) -> Verdict | None:
        """Count one request of a caller; None: it may be made.

        Args:
            now: seconds since the epoch.
        """
        return self.take_some(caller, 1, now)[1]

    def take_some(self, caller: bytes, count: int, now: float) -> tuple[int, Verdict | None]:
        """Count requests of a caller that came together: how many of them may be made, and why no more; None: all may.

        Args:
            now: seconds since the epoch.
        """
        found = self._callers.get(caller)
        if found is None:
            found = self._callers[caller] = Caller(self._burst, now, int(now) // DAY_S)
            if len(self._callers) > MAX_CALLERS:
                self._callers.popitem(last=False)
        else:
            self._callers.move_to_end(caller)
        if not 0 <= now - found.day * DAY_S < DAY_S:
            found.day, found.used, found.reserved = int(now) // DAY_S, 0, 0
        granted, why = count, None
        if self._quota and found.used + count > self._quota:
            granted = max(0, self._quota - found.used)
            why = Verdict("quota", (found.day + 1) * DAY_S - now)
        if self._rate:
            left = min(self._burst, found.left + max(0.0, now - found.at) * self._rate)
            found.at = now
            if left < granted:
                granted = int(left)
                why = Verdict("rate", (1.0 - (left - granted)) / self._rate)
            found.left = left - granted
        found.used += granted
        if self._quota and found.used > found.reserved:
            found.reserved = min(self._quota, found.used + self._share - 1)
            self.on_reserve(caller, found.day, found.reserved)
        return granted, why

    def used(self, *, is_last: bool = True) -> dict[str, list[int]]:
        """What was used of the quota, to be kept over a restart: caller in hex -> [day, requests].

        Args:
            is_last: nothing more is granted; else what may still be, before `on_reserve` is called again, counts too.
        """
        if not self._quota:
            return {}
        counts = {key: (one.day, one.used if is_last else one.reserved) for key, one in self._callers.items()}
        return {key.hex(): [day, count] for key, (day, count) in counts.items() if count}

    def restore(self, used: Mapping[str, Sequence[int]], now: float) -> None:
        """Take up what an earlier start had counted; what does not look like it, or is less, is passed over."""
        for key, pair in used.items():
            try:
                name, day, count = bytes.fromhex(key), int(pair[0]), int(pair[1])
            except (ValueError, TypeError, IndexError):
                continue
            known = self._callers.get(name)
            if known is None or (known.day, known.used) < (day, count):
                self._callers[name] = caller = Caller(self._burst, now, day)
                caller.used = caller.reserved = count


class Addresses:
    """The networks that may connect; none named: every one."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [read_network(text) for text in networks]

    def admit(self, address: str) -> bool:
        """Whether a client at this address may connect."""
        if not self._networks:
            return True
        try:
            place: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(place, IPv6Address) and place.ipv4_mapped is not None:
            place = place.ipv4_mapped
        return any(place in network for network in self._networks)


def read_network(text: str) -> IPv4Network | IPv6Network:
    """A network from `10.0.0.0/8`, `::1` and the like.

    Raises:
        InvalidError: it is none.
    """
    try:
        return ip_network(text)
    except ValueError as fault:
        raise InvalidError(
            f"{text[:80]!r} is no network: {fault}", fix="Give e.g. 10.0.0.0/8 or 192.168.1.7."
        ) from None
