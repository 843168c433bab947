"""The process of a front that many endpoints share.

The server tells it which endpoints it has behind it: each is open at once, under its name and its hosts, and its
requests wait for its first worker. A worker's hello bears the token of its job; the server tells whose that is and what
was wished for, and only then does the worker join. What the server told of it is kept in a file, by the digest of the
token: so a front that starts again while the server is away still opens all it had. Reports about an endpoint go out
through one of its workers, as the front has no right to speak for another job.

    worker             front                                   server
      | hello, token ->  |  GET /serve/site, with that token ->   |
      |                  |  <- endpoint, name, job, spec          |
      |   <- tell: ready |  joins the desk of the endpoint
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from time import monotonic

import uvloop

from lepton.core.context import Context
from lepton.core.errors import InvalidError, UnavailableError
from lepton.core.resource import Json
from lepton.serve.answers import failed
from lepton.serve.behind import Told, follow
from lepton.serve.frames import Entry, Frame, FrameError, Item, Kind
from lepton.serve.front import Front
from lepton.serve.gang import socket_path
from lepton.serve.links import WorkerLink
from lepton.serve.metrics import total_lines
from lepton.serve.site import Place, Site, find_server, read_object
from lepton.serve.spec import EndpointSpec

FORGET_S = 60.0
"""An endpoint without workers for this long is no longer known here."""
AGAIN_S = 0.5
"""After the server did not answer who a worker is, it is asked again."""


def main(ctx: Context) -> None:
    """Answer requests for all endpoints whose workers come, until asked to stop."""
    uvloop.run(Gateway(ctx).run())


class Gateway(Front):
    """A front with an endpoint for each kind of worker that has joined."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx, path=socket_path(is_shared=True))
        self._server = find_server()
        self._known_file = self._path.with_suffix(".json")
        self._known: dict[str, Mapping[str, Json]] = dict(read_object(self._known_file))
        """SHA-256 of a worker's token -> what the server said of its endpoint."""
        self._sites: dict[str, Site] = {}
        self._jobs: dict[str, str] = {}
        """Endpoint -> the job whose workers serve it."""
        self._links: dict[str, set[WorkerLink]] = {}
        self._empty_since: dict[str, float] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()
        """Endpoints of which the server tells that they are behind this front."""
        self._has_news = False
        """Something is known that the file does not hold yet."""
        self.site.desk.open_empty()
        self.site.desk.more_metrics = self._lines

    def begin(self) -> None:
        """The sockets are open: open what was known before, and say so."""
        self.tell_ready()
        for about in list(self._known.values()):
            self._open(about)
        if self._server is not None:
            self._asking.add(asyncio.ensure_future(follow(self._server, self._hear)))

    def make_link(self) -> WorkerLink:
        """The front's end of a worker's connection, whose endpoint is not known yet."""
        return WorkerLink(self, next(self._numbers), self.claim)

    def sites(self) -> list[Site]:
        """All that it answers for."""
        return [self.site, *self._sites.values()]

    def sweep(self, now: float) -> None:
        """By the clock: whatever is late; endpoints that have long had no worker are forgotten."""
        super().sweep(now)
        for endpoint in [one for one, since in self._empty_since.items() if now - since > FORGET_S]:
            if endpoint not in self._told:
                self._forget(endpoint)
        if self._has_news:
            self._has_news = False
            self._keep()

    # for workers that are not at a desk yet

    def join(self, link: WorkerLink, about: Mapping[str, Json]) -> None:
        """A worker has come: find out whose it is."""
        task = asyncio.ensure_future(self._admit(link, about))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def settle(self, link: WorkerLink, answers: Frame) -> None:
        """It cannot answer what it was not asked.

        Raises:
            FrameError: it does.
        """
        raise FrameError("An answer came from a worker that nobody has asked")

    def count(self, grown: Mapping[str, Json]) -> None:
        """Nobody counts what it counts."""

    def take_back(self, link: WorkerLink, items: Sequence[Item]) -> None:
        """It was asked nothing."""

    def heard(self, items: Sequence[Item]) -> None:
        """It has read nothing."""

    def retire(self, link: WorkerLink) -> None:
        """It wants to end before it has begun."""
        link.finish()

    def leave(self, link: WorkerLink) -> None:
        """It has gone before it was known."""

    async def _admit(self, link: WorkerLink, about: Mapping[str, Json]) -> None:
        try:
            told = await self._who(str(about.get("pass") or ""), link)
            if told is None or not link.is_joined:
                return
            site = self._open(told)
            link.move(Seat(self, site))
            self._links[site.endpoint].add(link)
            self._empty_since.pop(site.endpoint, None)
            site.desk.join(link, {name: value for name, value in about.items() if name != "pass"})
            at = f"{self.address}/{site.desk.name}"
            self._tell(site.endpoint, {"type": "ready", "address": at})
        except (FrameError, InvalidError) as fault:
            sys.stderr.write(f"serve: worker link {link.number} refused: {fault}\n")
            link.close()

    async def _who(self, token: str, link: WorkerLink) -> Mapping[str, Json] | None:
        """What the server says of whoever has this token; None: the worker has left meanwhile.

        Raises:
            InvalidError: it is no worker of an endpoint that answers through this front.
        """
        digest = sha256(token.encode()).hexdigest()
        while link.is_joined:
            known = self._known.get(digest)
            if known is not None:
                return known
            try:
                status, body = await self._server.get("/serve/site", token.encode()) if self._server else (0, b"")
            except UnavailableError:
                await asyncio.sleep(AGAIN_S)
                continue
            about = json.loads(body) if status == 200 else {}
            if about.get("front") != self.site.endpoint:
                raise InvalidError(f"it is no worker of an endpoint of this front (the server says {status})")
            self._known[digest] = about
            self._has_news = True
            return about
        return None

    # endpoints

    def _hear(self, told: Told) -> None:
        """The server tells which there are: each is open at once, its requests wait for its first worker."""
        self._told = set()
        for about in told:
            try:
                site = self._open(about)
                self._told.add(site.endpoint)
                site.desk.fail(failed(site.desk.name, str(about["why"])) if about.get("why") else None)
            except (InvalidError, KeyError, TypeError) as fault:
                sys.stderr.write(f"serve: an endpoint behind this front is not understood: {fault}\n")

    def _open(self, about: Mapping[str, Json]) -> Site:
        """The endpoint that the server told of; what waits at one that was open is for the workers of its new job."""
        endpoint, name, job = str(about["endpoint"]), str(about["name"]), str(about["job"])
        found = self._sites.get(endpoint)
        if found is not None and self._jobs[endpoint] >= job:  # ids grow with time
            return found
        spec = EndpointSpec.from_json(about["spec"])
        if found is not None and not self._jobs[endpoint] and found.spec == spec:
            self._jobs[endpoint] = job  # so far it was only told of
            return found
        if found is not None:
            site = found
            site.renew(spec)
        else:
            place = Place(endpoint, name, self._path.with_name(f"{endpoint}.quota.json"))
            site = Site(spec, place, tell=partial(self._tell, endpoint), prover=self.prover)
        self._sites[endpoint] = site
        self._jobs[endpoint] = job
        self._links[endpoint] = set()
        self._empty_since[endpoint] = monotonic()
        self.lobby.open(site.desk, spec.hosts)
        return site

    def left(self, site: Site, link: WorkerLink) -> None:
        """A worker of an endpoint is gone."""
        links = self._links.get(site.endpoint)
        if links is not None and link in links:
            links.discard(link)
            if not links:
                self._empty_since[site.endpoint] = monotonic()

    def _forget(self, endpoint: str) -> None:
        site = self._sites.pop(endpoint)
        del self._jobs[endpoint], self._links[endpoint], self._empty_since[endpoint]
        self.lobby.close(site.desk)
        self._known = {digest: about for digest, about in self._known.items() if about["endpoint"] != endpoint}
        self._has_news = True

    def _keep(self) -> None:
        draft = self._known_file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(self._known))
        draft.replace(self._known_file)

    def _tell(self, endpoint: str, item: Mapping[str, Json]) -> None:
        """Have one of an endpoint's workers report this of it."""
        for link in self._links.get(endpoint, ()):
            link.send(Frame(Kind.TELL, [Entry(0, json.dumps({**item, "at": self.now()}).encode())]))
            break

    def _lines(self) -> Iterator[str]:
        return total_lines({site.desk.name: site.desk.meter for site in self._sites.values()})


class Seat:
    """A worker's place at the desk of its endpoint."""

    def __init__(self, gateway: Gateway, site: Site) -> None:
        self._gateway = gateway
        self._site = site
        desk = site.desk
        self.join, self.settle, self.count, self.retire = desk.join, desk.settle, desk.count, desk.retire
        self.take_back, self.heard = desk.take_back, desk.heard

    def leave(self, link: WorkerLink) -> None:
        """It is gone."""
        self._site.desk.leave(link)
        self._gateway.left(self._site, link)
