"""What all clients of a front share: who may connect, what heads were read as, and whose a request is.

A front of one endpoint gives it every request. A front that many share looks at the name the client asked for (`Host`,
one of an endpoint's `hosts`), then at the first part of the path: `/digits/predict` is `/predict` of the endpoint
`digits`. What is for none of them the front answers itself.
"""

from lepton.serve.allowance import Addresses
from lepton.serve.desk import Desk
from lepton.serve.exchange import Client, Known, Limits
from lepton.serve.room import Room

CHECK_S = 0.5
"""Between two looks at all clients: ten thousand of them would cost a tenth of a core at ten looks a second."""
DRAIN_CHECK_S = 0.1
"""While they leave."""


class Lobby:
    """The clients of one front, and the endpoints behind it.

    Args:
        own: answers what is for no other.
    """

    def __init__(self, own: Desk, addresses: Addresses) -> None:
        self.own = own
        self.limits: Limits = own.limits
        self.room = Room(own.limits.max_held_bytes)
        self.connections: set[Client] = set()
        self.heads: dict[bytes, Known] = {}
        self.awake: set[Desk] = set()
        """Those that have something which may become late: of a thousand endpoints few are asked at a time."""
        self.is_draining = False
        self._addresses = addresses
        self._check_at = 0.0
        self._desks: dict[str, Desk] = {}
        self._wishes: dict[Desk, tuple[str, ...]] = {}
        """The hosts of each; who opened last has what several want until the server has told all of their news."""
        self._hosts: dict[bytes, Desk] = {}
        self._names: dict[bytes, Desk] = {}
        self._seat(own)

    @property
    def desks(self) -> list[Desk]:
        """All that answer, the front's own first."""
        return [self.own, *self._desks.values()]

    def admits(self, address: str) -> bool:
        """Whether a client at this address may connect."""
        return self._addresses.admit(address)

    def lead(self, url: bytes, host: bytes) -> tuple[Desk, bytes, bytes]:
        """Whose a request is, its URL there, and the part of the path that is left out."""
        if not self._desks:
            return self.own, url, b""
        found = self._hosts.get(host.partition(b":")[0].rstrip(b".").lower())
        if found is not None:
            return found, url, b""
        name, slash, rest = url[1:].partition(b"/")
        if not slash:
            name, mark, query = name.partition(b"?")
            rest = mark + query
        found = self._names.get(name)
        return (found, b"/" + rest, b"/" + name) if found is not None else (self.own, url, b"")

    def open(self, desk: Desk, hosts: tuple[str, ...]) -> None:
        """Let an endpoint answer, under its name and these hosts; one of its name answers no more. One that is open
        already has its earlier hosts no longer."""
        found = self._desks.get(desk.name)
        if found is not None and found is not desk:
            self.close(found)
        self._wishes.pop(desk, None)
        self._wishes[desk] = hosts
        self._share_hosts()
        self._desks[desk.name] = self._names[desk.name.encode()] = desk
        self._seat(desk)
        self.heads.clear()

    def _seat(self, desk: Desk) -> None:
        desk.enter(self)
        desk.on_work = self.awake.add

    def close(self, desk: Desk) -> None:
        """It answers nothing new; nothing happens if another has its name by now."""
        if self._desks.get(desk.name) is not desk:
            return
        del self._desks[desk.name], self._names[desk.name.encode()]
        self._wishes.pop(desk, None)
        self._share_hosts()
        self.heads.clear()
        desk.close()  # it stays awake until what it still has is answered

    def _share_hosts(self) -> None:
        self._hosts = {host.encode(): desk for desk, hosts in self._wishes.items() for host in hosts}

    def sweep(self, now: float) -> None:
        """A few times a second: answer what is late, let go of workers that hang, and now and then of slow clients."""
        self.room.tidy()
        for desk in list(self.awake):
            if not desk.sweep():
                self.awake.discard(desk)
        if now >= self._check_at:
            self._check_at = now + (DRAIN_CHECK_S if self.is_draining else CHECK_S)
            for client in list(self.connections):
                client.check(now)

    @property
    def is_open(self) -> bool:
        """Whether a client is there, or waits for an answer."""
        return bool(self.connections) or any(desk.open for desk in self.desks)

    @property
    def is_answering(self) -> bool:
        """Whether a request is open that will have an answer."""
        return any(desk.is_answering for desk in self.desks)

    def drain(self) -> None:
        """Answer what is open or on its way, and let each connection end with it."""
        self.is_draining = True
        self._check_at = 0.0
        self.heads.clear()
        for client in list(self.connections):
            client.leave()

    def say_goodbye(self) -> None:
        """A drain is at its end: what may be open for ever is told so."""
        for client in list(self.connections):
            client.say_goodbye()

    def end(self) -> None:
        """Drop every connection."""
        for client in list(self.connections):
            client.abort()
        for desk in self.desks:
            desk.close()
