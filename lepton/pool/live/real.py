"""What is really held of each node, down to the index of a device: what can be started in this very moment.

Devices that are given away in parts have a *slot* in the arrays; which device of the node a slot stands for is fixed
when the first part of it is really held, and free again when the last is given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lepton.core.launch import Devices
from lepton.pool.kernel.state import WHOLE
from lepton.pool.live.layout import count_of, devices_of
from lepton.pool.live.views import Place
from lepton.pool.shape import Machine


@dataclass(slots=True)
class Stock:
    """What nobody holds of one node."""

    cpu: int
    memory: int
    whole: set[int]
    """Indices of devices of which nobody holds any part."""
    device_of: dict[int, int] = field(default_factory=dict)
    """Slot -> index."""
    parts: dict[int, int] = field(default_factory=dict)
    """Index -> thousandths held of it; more than there are while one who has gone is still believed to hold it."""
    has: int = 0
    """Devices of the node."""

    def slot_for(self, device: int) -> int:
        """The slot that stands for a device."""
        found = [slot for slot, index in self.device_of.items() if index == device]
        return found[0] if found else min(set(range(self.has)) - set(self.device_of), default=0)

    def free(self, device: int) -> None:
        """Nobody holds any part of a device now."""
        del self.parts[device]
        self.device_of = {slot: index for slot, index in self.device_of.items() if index != device}
        if device < self.has:
            self.whole.add(device)


def stock_of(machine: Machine) -> Stock:
    """A node of which nobody holds anything."""
    count = count_of(machine.total)
    return Stock(machine.total.cpu_milli, machine.total.memory_bytes, set(range(count)), has=count)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the arrays put one worker."""

    node: str
    slot: int
    """-1: whole devices, or none."""


class Real:
    """All nodes' stocks."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._stocks = {each.name: stock_of(each) for each in machines}

    def take(self, spots: Sequence[Spot], workers: Sequence[Devices]) -> tuple[Place, ...] | None:
        """Take what a job needs where the arrays put it; None, and nothing taken, if something is not free yet."""
        places: list[Place] = []
        for spot, need in zip(spots, workers, strict=True):
            gpus = self._take_one(spot, need)
            if gpus is None:
                self.give(places, workers[: len(places)])
                return None
            places.append(Place(spot.node, gpus))
        return tuple(places)

    def _take_one(self, spot: Spot, need: Devices) -> tuple[int, ...] | None:
        stock = self._stocks.get(spot.node)
        count, milli = devices_of(need)
        if stock is None or stock.cpu < need.cpu_milli or stock.memory < need.memory_bytes:
            return None
        if milli:
            device = stock.device_of.get(spot.slot, min(stock.whole, default=None))
            if device is None or stock.parts.get(device, 0) + milli > WHOLE:
                return None
            gpus: tuple[int, ...] = (device,)
        elif count > len(stock.whole):
            return None
        else:
            gpus = tuple(sorted(stock.whole)[:count])
        self._hold_one(stock, Place(spot.node, gpus), need, spot.slot)
        return gpus

    def hold(self, places: Sequence[Place], workers: Sequence[Devices]) -> tuple[Spot, ...]:
        """Note what a job holds already; return where that is in the arrays."""
        spots = []
        for place, need in zip(places, workers, strict=True):
            stock, slot = self._stocks.get(place.node), -1
            if stock is not None:
                if devices_of(need)[1] and place.gpus:
                    slot = stock.slot_for(place.gpus[0])
                self._hold_one(stock, place, need, slot)
            spots.append(Spot(place.node, slot))
        return tuple(spots)

    def _hold_one(self, stock: Stock, place: Place, need: Devices, slot: int) -> None:
        stock.cpu -= need.cpu_milli
        stock.memory -= need.memory_bytes
        stock.whole -= set(place.gpus)
        milli = devices_of(need)[1]
        for device in place.gpus:
            stock.parts[device] = stock.parts.get(device, 0) + (milli or WHOLE)
            if milli:
                stock.device_of[slot] = device

    def give(self, places: Sequence[Place], workers: Sequence[Devices]) -> None:
        """Take back what a job held."""
        for place, need in zip(places, workers, strict=True):
            stock = self._stocks.get(place.node)
            if stock is None:
                continue
            stock.cpu += need.cpu_milli
            stock.memory += need.memory_bytes
            milli = devices_of(need)[1]
            for device in place.gpus:
                stock.parts[device] = stock.parts.get(device, 0) - (milli or WHOLE)
                if stock.parts[device] <= 0:
                    stock.free(device)

    def stock(self, node: str) -> Stock:
        """What is really free of a node."""
        return self._stocks[node]
