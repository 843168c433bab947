"""Files sent to another site, and received from one, through a storage that both can reach.

*Sent*: the files are sealed once more in a domain that nobody else has, into the storage; the parcel's own file comes
last, so what was cut short is no parcel. *Received*: its file says, signed, what lies in it; the content is checked and
sealed once more for the workspace, and becomes one new version. Both work on the data directory, beside a server.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from lepton.core.clock import to_micros
from lepton.core.errors import IntegrityError, LeptonError, NotFoundError
from lepton.core.size import number_of
from lepton.server.allowance import Allowance
from lepton.server.backups import keys_of
from lepton.server.files import At, Files, below, written
from lepton.server.house import House
from lepton.server.people import find_named
from lepton.server.sending import begin, sweep
from lepton.store import events, facts
from lepton.store.database import Tx
from lepton.store.migrate import migrate
from lepton.store.open import open_empty
from lepton.store.vault import SqlState, packs_present
from lepton.vault.backup.frozen import FrozenState, numbered
from lepton.vault.backup.progress import Progress, Steps, counted
from lepton.vault.backup.target import Target
from lepton.vault.driver import Driver
from lepton.vault.parcel import ForeignParcelError, Parcel, Site, SiteKey, new_id, open_parcel, parcel_path, seal_parcel
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import read, write
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.files import pack_folder
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.pages import Entry
from lepton.vault.store.sealing import ID_BYTES, fresh_key
from lepton.vault.store.tree import Tree
from lepton.vault.uses import PARCELS, Use, uses_of
from lepton.vault.vault import Domain, Vault

T = TypeVar("T")
Edits = dict[str, Entry | None]
SENT = "sent"
"""Fact: the order of the last parcel that was sent."""
AGAIN, MEND = "Have it sent again.", "Have the vault made whole: lepton vault repair --from URL; then send again."
MOST_SHOWN = 80
AT_ONCE = 1000
"""Files that are sealed between two commits of a parcel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """A parcel that is to be received."""

    sender: SiteKey
    id: str = ""
    """Empty: the newest that the sender has sent to this site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A parcel that was sent."""

    id: str
    files: int
    size_bytes: int
    stored_bytes: int
    """Of its packs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A parcel that was received."""

    id: str
    version: str
    """Of the branch, that its files have made."""
    files: int
    size_bytes: int
    name: str
    at: int
    """When it was sent, microseconds since 1970."""
    passed: dict[str, str]
    """Parcels with newer names that are damaged -> what is wrong."""


def site_of(house: House) -> Site:
    """What a platform opens and signs parcels with."""
    return Site(opens=house.keys.own("site"), signs=house.keys.own("site signer"))


def send(house: House, at: At, name: str, place: Target, recipient: SiteKey, *, progress: Progress) -> Sent:
    """Seal a file, or all that lies in a folder, for another site; what an earlier one left half done is removed.

    Raises:
        NotFoundError: there is nothing of that name.
        IntegrityError: something of it is damaged; nothing is sent.
        StorageUnreachableError, StorageRefusedError, StorageFullError: the storage does not take it.
    """
    files, domain, target = _files(house, at.workspace), os.urandom(ID_BYTES), place.driver
    tree, source = files.tree(at), files.domain(at.workspace)
    single = tree.find(name) if name else None
    count, size = (1, single.blob.size_bytes) if single else tree.totals(below(name))
    if not count:
        raise NotFoundError(f"There is no file {name[:200]!r}", fix="See lepton vault ls.")
    tell, under = counted(progress, size), len(below(name.rpartition("/")[0] if single else name))
    wanted = iter([(name, single)] if single else tree.scan(prefix=below(name)))
    now, order = _next_order(house)
    id = new_id(order)
    sending = begin(house, place, id, domain)
    with TemporaryDirectory(prefix="lepton-parcel-") as folder, closing(open_empty(Path(folder))) as database:
        migrate(database, house.clock)
        root, state = fresh_key(), SqlState(database)
        vault = Vault(target, state, KeyRing(state, root), indexes=Path(folder) / "index", clock=house.clock)
        try:
            vault.make(domain, tenant=os.urandom(ID_BYTES))
            own = vault.domain(domain)
            while some := list(islice(wanted, AT_ONCE)):
                batch = own.chunks.writing()
                edits = _again(source, [(path[under:], entry) for path, entry in some], own, batch, tell, MEND)
                version = own.branches.commit(MAIN, edits, batch, Author(by=""))
                sending.go_on()
            packs = database.read(packs_present)[domain]
            parcel = Parcel(
                id=id,
                order=order,
                at=now,
                name=name or at.workspace,
                files=count,
                size_bytes=size,
                domain=domain,
                vault_root=root,
                version=version,
                keys=keys_of(state, domain),
                packs=packs,
            )
            target.put(parcel_path(id), [seal_parcel(parcel, recipient=recipient, sender=site_of(house))])
        except BaseException:
            vault.close()
            for head in list(target.list(pack_folder(domain))):
                target.delete(head.key)
            sending.end()
            raise
        vault.close()
    sending.end()
    _note(house, at, f"{name or 'all files'}: {number_of(count, 'file')}, {size} bytes, parcel {id}, for {recipient}")
    return Sent(id=id, files=count, size_bytes=size, stored_bytes=sum(size for _, size in packs))


def receive(house: House, place: Target, which: Which, at: At, folder: str, *, progress: Progress) -> Received:
    """Store the files of a parcel below a folder of a workspace: one new version of the branch, or nothing.

    Raises:
        NotFoundError: there is none, or no such workspace or branch.
        IntegrityError: it is damaged, from or for somebody else, renamed, or older than one that was received.
        StorageQuotaError: the workspace has no room for it.
    """
    files, source = _files(house, at.workspace), place.driver
    sweep(house, place)
    id, parcel, passed = _found(house, source, which)
    with TemporaryDirectory(prefix="lepton-parcel-") as indexes:
        state = FrozenState(parcel.keys, {parcel.domain: numbered(parcel.packs)})
        ring = KeyRing(state, parcel.vault_root)
        with closing(Vault(source, state, ring, indexes=Path(indexes), clock=house.clock)) as vault:
            theirs = vault.domain(parcel.domain)
            tree = _checked(theirs, id, parcel)
            files.version(at)  # the branch must be there
            ours, tell = files.domain(at.workspace), counted(progress, parcel.size_bytes)
            author = Author(by=house.actor, message=f"received {parcel.name[:200]}, parcel {id}")

            def stored(batch: Batch) -> bytes:
                coming.begin(batch)
                scanned = _told(f"Parcel {id}", tree.scan(), AGAIN)
                renamed = ((below(folder) + name, entry) for name, entry in scanned)
                return ours.branches.commit(at.ref, _again(theirs, renamed, ours, batch, tell, AGAIN), batch, author)

            allowance = Allowance(house.database)
            with allowance.bringing(at.workspace, ours.chunks, parcel.size_bytes) as coming:
                version = written(ours, stored, doubts=True)
    house.database.write(lambda tx: _remember(tx, which.sender, parcel.order))
    return Received(
        id=id,
        version=version.hex(),
        files=parcel.files,
        size_bytes=parcel.size_bytes,
        name=parcel.name,
        at=parcel.at,
        passed=passed,
    )


def _files(house: House, workspace: str) -> Files:
    house.database.read(lambda tx: find_named(tx, "workspace", "", workspace))
    return Files(house.sealing(), Allowance(house.database))


def _checked(theirs: Domain, id: str, parcel: Parcel) -> Tree:
    """The list of a parcel's files."""
    try:
        tree = theirs.branches.tree(parcel.version)
        totals = tree.totals("")
    except IntegrityError as fault:
        raise IntegrityError(f"Parcel {id} cannot be read whole: {fault.message}", fix=AGAIN) from fault
    if totals != (parcel.files, parcel.size_bytes):
        raise IntegrityError(f"Parcel {id} does not hold what it says", fix=AGAIN)
    return tree


def _told(what: str, items: Iterable[T], fix: str) -> Iterator[T]:
    """The same, and damage on the way with a name, and with what helps there."""
    try:
        yield from items
    except IntegrityError as fault:
        raise IntegrityError(f"{what} cannot be read whole: {fault.message}", fix=fix) from fault


def _again(
    source: Domain, some: Iterable[tuple[str, Entry]], own: Domain, batch: Batch, tell: Steps, fix: str
) -> Edits:
    """Files of one domain once more, in another."""
    edits: Edits = {}
    for name, entry in some:
        pieces = _told(name, read(source.chunks, entry.blob), fix)
        blob = write(batch, own.cutter, (bytes(piece) for piece in pieces))
        if blob.sha256 != entry.blob.sha256:
            raise IntegrityError(f"{name} is not what it was", fix=fix)
        edits[name] = Entry(blob, entry.modified_at, entry.facts)
        tell(blob.size_bytes)
    return edits


def _found(house: House, source: Driver, which: Which) -> tuple[str, Parcel, dict[str, str]]:
    """Id of the parcel, what it says, and those passed over that are damaged."""
    names = (
        [which.id]
        if which.id
        else sorted((head.key.removeprefix(PARCELS) for head in source.list(PARCELS)), reverse=True)
    )
    last: LeptonError | None = None
    passed = dict[str, str]()
    for name in names:
        try:
            body = b"".join(source.get(parcel_path(name)))
            parcel = open_parcel(body, name, recipient=site_of(house), sender=which.sender)
            break
        except (IntegrityError, NotFoundError) as fault:
            last = last or fault
            if not isinstance(fault, ForeignParcelError | NotFoundError):
                passed[name[:MOST_SHOWN]] = fault.message
    else:
        if which.id and last:
            raise last
        why = f": of the newest, {last}" if last else ""
        others = " and ".join(sorted(map(str, uses_of(source) - {Use.PARCELS})))
        raise NotFoundError(
            f"No parcel of that site for this one lies there{f', but {others}' if others else ''}{why}",
            fix="Check the address and --sent-by.",
        )
    if not which.id and parcel.order < house.database.read(lambda tx: _newest(tx, which.sender)):
        some = "; ".join(f"{each}: {fault}" for each, fault in [*passed.items()][:3])
        why = f"what lies there beside it is damaged: {some}" if some else "newer ones are gone"
        ask = "Have it sent again" if some else "Ask the sender"
        raise IntegrityError(
            f"The newest whole parcel there is {name}, and a newer one of that site was received: {why}",
            fix=f"{ask}. To receive that one all the same: --parcel {name}",
        )
    return name, parcel, passed


def _next_order(house: House) -> tuple[int, int]:
    """The time; and the same, or one more than the last parcel's, if that was sent while the clock was ahead."""
    now = to_micros(house.clock.now())

    def work(tx: Tx) -> int:
        last = facts.get(tx, SENT) or events.newest_at(tx, kind="workspace", verb="sent")  # older versions told only
        order = max(now, int(last) + 1)
        facts.put(tx, SENT, str(order))
        return order

    return now, house.database.write(work)


def _newest(tx: Tx, sender: SiteKey) -> int:
    """The order of the newest parcel that was received from a site; 0: none was."""
    return int(facts.get(tx, f"received {sender.verifies.hex()}") or 0)


def _remember(tx: Tx, sender: SiteKey, order: int) -> None:
    facts.put(tx, f"received {sender.verifies.hex()}", str(max(order, _newest(tx, sender))))


def _note(house: House, at: At, why: str) -> None:
    house.tell("sent", why, workspace=at.workspace)
