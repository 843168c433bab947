"""The chunks of one domain: put, kept once, read by their ids.

A writer works in a `Batch`: it fills packs of its own, so that they can go with it if it is given up; full ones are
uploaded behind its back. `finish` returns when everything it put, or found to be there, is durable: what is small by
then goes into one pack with what others finish meanwhile, so that many small uploads are stored at once. The order of a
pack's birth: its bytes to the storage, then its row and its sealed key in one transaction, then the index. What dies
before that transaction leaves a file that nobody names, for prune to remove.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import lru_cache
from itertools import chain
from threading import BoundedSemaphore, Lock
from typing import TypeVar
from weakref import WeakValueDictionary

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.vault.driver import Driver
from lepton.vault.store.batch import Batch
from lepton.vault.store.codecs import Codec, Octets, Tier
from lepton.vault.store.files import PackFile, pack_path
from lepton.vault.store.filling import Filling, Spot, side_by_side, windows
from lepton.vault.store.index import Found, Index
from lepton.vault.store.keyring import KeyRing
from lepton.vault.store.packs import Entry, PackReader, PackWriter
from lepton.vault.store.pools import Pools
from lepton.vault.store.rescue import known
from lepton.vault.store.sealing import ID_BYTES, fresh_key
from lepton.vault.store.state import FRESH, Pack, State, add_pack

log = logging.getLogger("lepton")
T = TypeVar("T")
UPLOADS = 2
READS_AHEAD = 2
READERS = 512


class Chunks:
    """The chunks of one domain over one driver. Any thread may use it.

    Args:
        index: of this domain, and of nobody else's at the same time.
        pools: threads, shared with other domains; None: some of its own.
    """

    tier = Tier.WARM
    """How what is written is expected to be read."""
    most_shared = 2 << 20
    """A batch that ends with less in its pack shares one with others that end."""

    def __init__(
        self, driver: Driver, state: State, ring: KeyRing, index: Index, *, domain: bytes, pools: Pools | None = None
    ) -> None:
        self.domain, self.keys = domain, ring.domain(domain)
        self.driver, self.state, self._ring, self.index = driver, state, ring, index
        self._lock, self._following = Lock(), Lock()
        self._shared: Filling | None = None
        """The open pack of batches that have ended, and are not stored yet."""
        self._pending: dict[bytes, tuple[Filling, Entry]] = {}
        """Chunks that are not in the index yet."""
        self._unindexed: dict[bytes, Filling] = {}
        """Their packs."""
        self._written: WeakValueDictionary[bytes, Filling] = WeakValueDictionary()
        """Packs whose writers are still there."""
        self._room = BoundedSemaphore(UPLOADS)
        self._pools, self._are_own = pools or Pools(UPLOADS, READS_AHEAD), pools is None
        self._is_bound = False
        self._reader = lru_cache(READERS)(lambda pack: self._reading(pack, self._ring.pack(pack)))

    def writing(self, *, doubts: bool = False) -> Batch:
        """Begin to write; what other processes have written or removed so far is known then.

        Args:
            doubts: what is there already is read, and stored again where it cannot be.
        """
        self.follow()
        return Batch(self, doubts=doubts)

    def close(self) -> None:
        """End what is being uploaded, and let go; what was put but never finished is lost."""
        for _ in range(UPLOADS):  # once all the room is ours, nothing is under way
            self._room.acquire()
        self._room.release(UPLOADS)
        if self._are_own:
            self._pools.close()
        self.index.close()

    def get(self, id: bytes) -> Octets:
        """One chunk; raises as `read`."""
        return next(self.read([id]))

    def page(self, id: bytes, form: Callable[[Octets], T]) -> T:
        """A chunk that lists others, in a form: it is asked for again and again, so it is kept. Raises as `read`."""
        return self._pools.kept.get((self.domain, id), form, lambda: self.get(id))

    def is_pack(self, name: str) -> bool:
        """Whether a file of that name is a pack that counts, or is about to."""
        with self._lock:
            is_ours = any(pack.hex() == name for pack in self._unindexed)
        return is_ours or self.index.is_pack(name)

    def unstored(self, measure: Callable[[], int]) -> tuple[Mapping[bytes, int], int]:
        """Packs that are not stored yet, with their bytes; and what `measure` says at the same moment."""
        with self._lock:
            return {id: each.writer.size_bytes for id, each in self._unindexed.items() if each.writer}, measure()

    def has(self, id: bytes) -> bool:
        """Whether a chunk lies in any pack."""
        try:
            return bool(self._find([id]))
        except IntegrityError:
            return False

    def read(self, ids: Iterable[bytes]) -> Iterator[Octets]:
        """Chunks in the order asked for; those that lie side by side are fetched at once, a little ahead.

        Raises:
            IntegrityError: one is damaged, or in no pack.
        """
        runs = (run for window in windows(ids) for run in side_by_side(self._find(window)))
        first, second = next(runs, None), next(runs, None)
        if first and not second:
            yield from self._read_run(first, lambda: self._fetch(first))
            return
        ahead: list[tuple[Sequence[Spot], Future[Octets]]] = []
        for run in chain(filter(None, (first, second)), runs):
            ahead.append((run, self._pools.reads.submit(self._fetch, run)))
            if len(ahead) > READS_AHEAD:
                run, fetched = ahead.pop(0)
                yield from self._read_run(run, fetched.result)
            self._pools.passed(run[-1][1].start - run[0][1].start)
        for run, fetched in ahead:
            yield from self._read_run(run, fetched.result)

    def is_whole(self, found: Found) -> bool:
        """Whether a chunk can be read from where it lies."""
        try:
            self._reader(found.pack).read(found.entry)
        except (IntegrityError, NotFoundError):
            return False
        return True

    def follow(self) -> None:
        """Learn of the packs that came and went since, by whatever process.

        A pack that cannot be read now stands in nobody's way: its chunks are not found, and put again are stored again.
        """
        with self._following:
            if not self._is_bound:
                self._bind()
            while packs := self.state.packs(self.domain, after=self.index.seq):
                for pack in packs:
                    if pack.is_gone:
                        self.index.drop(pack)
                    else:
                        self._learn(pack)

    def _bind(self) -> None:
        """Once: see that the index is of this state, which may have been set back; try again what was unreadable."""
        seq, last = self.index.last()
        found = self.state.packs(self.domain, after=seq - 1, limit=1) if seq else ()
        if seq and (not found or (found[0].seq == seq and found[0].id != last)):
            self.index.clear()
        self._read_again()
        self._is_bound = True

    def _read_again(self) -> None:
        """Try packs again that could not be read: they may have been repaired."""
        for pack in self.index.unread():
            self._learn(pack)

    def _learn(self, pack: Pack) -> None:
        """Follow what a pack holds."""
        entries, is_all = self._known(pack)
        self.index.add(pack, entries, is_read=is_all)

    def _known(self, pack: Pack) -> tuple[Sequence[Entry], bool]:
        """What a pack holds that can be read, and whether that is all."""
        with self._lock:
            ours = self._unindexed.get(pack.id)
        if ours:
            ours.is_over = self.index.holds_any([entry.id for entry in ours.entries])
            return ours.entries, True
        try:
            return known(self._reader(pack.id), pack.size_bytes)
        except (IntegrityError, NotFoundError) as fault:
            log.warning("pack %s cannot be read: %s", pack.id.hex(), fault)
            return (), False

    def _find(self, ids: Sequence[bytes]) -> Sequence[Spot]:
        """Where chunks lie, in their order."""
        self._pools.check()
        with self._lock:
            known: dict[bytes, Spot] = {id: self._pending[id] for id in ids if id in self._pending}
        for learn in (self.follow, self._read_again, None):
            rest = [id for id in ids if id not in known]
            known |= {id: (found.pack, found.entry) for id, found in self.index.find(rest).items()} if rest else {}
            if learn is None or all(id in known for id in rest):
                break
            learn()
        lost = next((id for id in ids if id not in known), None)
        if lost is not None:
            raise IntegrityError(
                f"The chunk {lost.hex()} is in no pack", fix="lepton vault repair takes it from another copy."
            )
        return [known[id] for id in ids]

    def _read_run(self, run: Sequence[Spot], fetched: Callable[[], Octets]) -> Iterator[Octets]:
        """The chunks of a run; where its pack has gone or is damaged, from where they lie by now."""
        done = 0
        try:
            for chunk in self._opened(run, fetched()):
                yield chunk
                done += 1
        except (IntegrityError, NotFoundError):
            self.follow()
            rest = run[done:]
            spots = self._find([entry.id for _, entry in rest])
            if list(spots) == list(rest):
                raise
            for spot in spots:
                yield from self._opened([spot], self._fetch([spot]))

    def _fetch(self, run: Sequence[Spot]) -> Octets:
        """The boxes of a run."""
        (pack, first), (_, last) = run[0], run[-1]
        if isinstance(pack, Filling) and (writer := pack.writer):
            return writer.boxes(first, last)
        id = pack.id if isinstance(pack, Filling) else pack
        if pack is id:
            self._reader(id)  # its key may have gone
        return PackFile(self.driver, self.domain, id).read(first.start, last.start + last.box)

    def _opened(self, run: Sequence[Spot], fetched: Octets) -> Iterator[Octets]:
        pack, first = run[0]
        reader = pack.reader if isinstance(pack, Filling) else self._reader(pack)
        with memoryview(fetched) as body:
            for _, entry in run:
                start = entry.start - first.start
                yield reader.open(entry, body[start : start + entry.box])

    def _reading(self, pack: bytes, key: bytes) -> PackReader:
        source = PackFile(self.driver, self.domain, pack)
        return PackReader(source, domain=self.domain, pack=pack, key=key, id_key=self.keys.chunk_id)

    def known(self, ids: Sequence[bytes], batch: Batch) -> dict[bytes, Filling | Found]:
        """Where chunks are already, or are about to be; then the batch waits for those packs too."""
        self._pools.check()
        with self._lock:
            found: dict[bytes, Filling | Found] = {id: self._pending[id][0] for id in ids if id in self._pending}
            for filling in found.values():
                assert isinstance(filling, Filling)
                batch.relies_on(filling)
        rest = [id for id in ids if id not in found]
        there = self.index.find(rest) if rest else {}
        with self._lock:
            for id, each in there.items():
                written = self._written.get(each.pack)
                if written is not None and written.is_leaving:
                    continue
                found[id] = each
                if written is not None:
                    batch.relies_on(written)
        return found

    def add(self, id: bytes, length: int, codec: Codec, body: Octets, *, batch: Batch) -> Filling:
        """Put an encoded chunk into the open pack of the batch; send that off where it is full."""
        with self._lock:
            filling = self._pending[id][0] if id in self._pending else batch.own or self._begin(batch)
            batch.relies_on(filling)
            batch.taken_bytes += length
            if id in self._pending:
                return filling
            assert filling.writer is not None
            batch.own = filling
            self._pending[id] = filling, filling.writer.add(id, length, codec, body)
            if not filling.is_large and filling.writer.size_bytes >= self.most_shared:
                filling.is_large = True
                self._pools.own(1)
            is_full = filling.is_large and filling.writer.size_bytes >= self._pools.own_bytes
        if is_full:
            self._send(filling)
        return filling

    def _begin(self, owner: Batch | None = None) -> Filling:
        pack, key = os.urandom(ID_BYTES), fresh_key()
        writer = PackWriter(domain=self.domain, pack=pack, key=key, tier=self.tier)
        filling = Filling(pack, key, writer, self._reading(pack, key))
        filling.owner = owner
        self._unindexed[pack] = self._written[pack] = filling
        return filling

    def _close(self, filling: Filling) -> None:
        """Nothing more is put into it; whoever calls has the lock, and sends it off or takes it out."""
        filling.is_open = False
        if filling.owner:
            filling.owner.own = None
        elif filling is self._shared:
            self._shared = None

    def forget(self, batch: Batch) -> None:
        """Drop what nobody else relies on: open packs, and those that lie in the storage already."""
        with self._lock:
            for filling in batch.filled:
                filling.batches.discard(batch)
            lonely = {filling for filling in batch.filled if not filling.batches}
            unsent = {filling for filling in lonely if filling.is_open}
            for filling in unsent:
                self._close(filling)
                self._take_out(filling)
        whole = [filling for filling in lonely - unsent if not filling.done.exception()]  # waits for what is under way
        with self._lock:
            leaving = [filling for filling in whole if not filling.batches and not filling.is_over]
            for filling in leaving:
                filling.is_leaving = True
        gone = self.state.take_back(self.domain, [filling.id for filling in leaving]) if leaving else ()
        if gone:
            self.follow()
        for pack in gone:  # what dies before this leaves files that nobody names, for prune to remove
            self.driver.delete(pack_path(self.domain, pack))

    def flush(self, batch: Batch) -> Sequence[Filling]:
        """Send off what a batch relies on and is open still, whoever fills it; what it has to wait for then.

        What is small is put into one pack with what others finish, until that can be sent.
        """
        with self._lock:
            for filling in [each for each in batch.filled if each.is_open and each.owner and not each.is_large]:
                self._pour(filling)
            filled = [*batch.filled]
        for filling in filled:
            if filling.is_open:
                self._send(filling)
        return filled

    def _pour(self, small: Filling) -> None:
        """Put what one pack holds into the shared one, in its place."""
        shared = self._shared
        if shared is None or not shared.has_room_for(small):
            shared = self._shared = self._begin()
        self._close(small)
        self._take_out(small)
        for entry in shared.take(small):
            self._pending[entry.id] = shared, entry
        for batch in small.batches:
            batch.filled.discard(small)
            batch.relies_on(shared)

    def _send(self, filling: Filling) -> None:
        """Send a pack off once there is room, unless another has; till then others may add to it."""
        self._room.acquire()
        with self._lock:
            is_ours = filling.is_open
            if is_ours:
                self._close(filling)
        try:
            if is_ours:
                self._pools.uploads.submit(self._upload, filling)
            else:
                self._room.release()
        except RuntimeError as fault:  # it is the end
            self._room.release()
            self._end(filling, fault)

    def _upload(self, filling: Filling) -> None:
        fault: BaseException | None = None
        try:
            self._store(filling)
        except BaseException as found:  # noqa: BLE001  every batch that put into this pack must hear of it
            fault = found
        self._end(filling, fault)
        self._room.release()

    def _store(self, filling: Filling) -> None:
        """The order matters: bytes, then the row, then the index."""
        assert filling.writer is not None
        size, parts = filling.writer.close()
        self.driver.put(pack_path(self.domain, filling.id), parts)
        pack = Pack(filling.id, size, len(filling.entries), marked_at=FRESH)
        add_pack(self.state, self._ring, pack, filling.key, domain=self.domain)
        self.follow()

    def _end(self, filling: Filling, fault: BaseException | None) -> None:
        with self._lock:
            self._take_out(filling)
        size = filling.writer.size_bytes if filling.writer else 0
        filling.writer, filling.entries = None, ()  # from now on it is read from the storage
        self._pools.passed(size, was_written=True)
        filling.done.set_exception(fault) if fault else filling.done.set_result(None)

    def _take_out(self, filling: Filling) -> None:
        del self._unindexed[filling.id]
        if filling.is_large:
            self._pools.own(-1)
        for entry in filling.entries:
            self._pending.pop(entry.id, None)
