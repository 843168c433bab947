"""Fronts that several endpoints share: who may name one, which hosts are free, and when one may go."""

from collections.abc import Iterator, Sequence, Set
from ipaddress import ip_address
from urllib.parse import urlsplit

from lepton.core.errors import IllegalMoveError, InvalidError, NameTakenError, NotFoundError
from lepton.core.ids import is_id
from lepton.core.resource import Resource
from lepton.serve.spec import EndpointSpec
from lepton.server.people import find_named
from lepton.store import resources
from lepton.store.database import Tx


def find_front(tx: Tx, workspace: str, ref: str) -> Resource:
    """A front by id or name; only those of its own workspace can be shared by an endpoint.

    Raises:
        NotFoundError: there is none.
        InvalidError: it is an endpoint, but no front.
    """
    if is_id(ref):
        found = resources.get(tx, ref, kind="endpoint")
        if found.workspace != workspace or found.is_final:
            raise NotFoundError(f"There is no front {ref!r} in '{workspace}'", fix="lepton serve list")
    else:
        found = find_named(tx, "endpoint", workspace, ref)
    if not found.spec["endpoint"].get("is_front"):
        raise InvalidError(f"'{found.name}' is no front, it serves something itself", fix="lepton serve front NAME")
    return found


def check_hosts(tx: Tx, spec: EndpointSpec, *, but: str) -> None:
    """Refuse a host that another endpoint of the same front has, or that is an address of the front itself.

    Args:
        but: id of the endpoint that is changed; empty: a new one.
    Raises:
        InvalidError: one is the front's: who asks for another endpoint by its path would reach this one.
        NameTakenError: one is taken.
    """
    if spec.is_front and but:
        for other in behind(tx, but):
            _check_own(resources.get(tx, but).name, {spec.host.lower()}, other.spec["endpoint"].get("hosts") or ())
    if not spec.hosts:
        return
    front = resources.get(tx, spec.front, kind="endpoint")
    _check_own(front.name, set(_names(tx, front)), spec.hosts)
    for other in behind(tx, spec.front):
        taken = set(spec.hosts).intersection(other.spec["endpoint"].get("hosts") or ())
        if taken and other.id != but:
            raise NameTakenError(f"The host {min(taken)} is that of '{other.name}'", fix="Choose another.")


def _check_own(front: str, own: Set[str], hosts: Sequence[str]) -> None:
    for host in hosts:
        if host in own or is_local(host):
            raise InvalidError(
                f"{host} is an address of the front '{front}' itself, at which all its endpoints are found by path",
                fix="Give a name that is this endpoint's alone.",
            )


def _names(tx: Tx, front: Resource) -> Iterator[str]:
    """What a front and its machine are known as."""
    yield front.spec["endpoint"]["host"].lower()
    address = str(front.status.get("address") or "")
    if address:
        yield urlsplit(address if "://" in address else f"//{address}").hostname or ""
    job = front.status.get("job")
    places = resources.get(tx, job, kind="job").status.get("placement") or () if job else ()
    for node in filter(None, (resources.by_name(tx, "node", "", place["node"]) for place in places)):
        yield node.name
        yield str(node.status.get("labels", {}).get("hostname", "")).lower()


def is_local(host: str) -> bool:
    """Whether a host is the machine itself, whichever it is."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def check_unused(tx: Tx, front: Resource) -> None:
    """Refuse to take down a front through which others answer.

    Raises:
        IllegalMoveError: there are such.
    """
    names = sorted(other.name for other in behind(tx, front.id)) if front.spec["endpoint"].get("is_front") else []
    if names:
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise IllegalMoveError(
            f"'{names[0]}'{others} answer through the front '{front.name}'", fix="Take them down first, or change them."
        )


def behind(tx: Tx, front: str) -> Iterator[Resource]:
    """The living endpoints that answer through a front."""
    for endpoint in resources.alive(tx, "endpoint"):
        if endpoint.spec["endpoint"].get("front") == front and not endpoint.spec.get("is_deleted"):
            yield endpoint
