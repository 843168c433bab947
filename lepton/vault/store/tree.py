"""Trees: any number of names, sorted, each standing for an entry; immutable, and named by one id.

The names lie in pages that end where a keyed hash of a name says so (a "prolly tree"): equal names and entries give
equal pages whatever the order of edits was. So an edit writes one page on each level, two trees are compared by
descending only where their pages differ, and versions share all other pages.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from lepton.core.errors import ConflictError
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.pages import Below, Entry, Page, Record, Value, check_entry, check_name, read_page, record_bytes

MOST_RECORDS = 1024
FULL_BYTES = 128 << 10
"""A page ends at so many records or bytes, wherever it is."""
CUT_BITS = 8
"""A page ends behind a name in whose hash so many bits, others on each level, are 0: about every 256 records."""
EMPTY = b""


@dataclass(frozen=True, slots=True)
class Change:
    """A name that two trees do not agree on."""

    name: str
    old: Entry | None
    new: Entry | None


class Tree:
    """One tree; any thread may use it.

    Args:
        root: id of its top page; empty: the tree of no names.
    """

    def __init__(self, chunks: Chunks, root: bytes = EMPTY) -> None:
        self.root = root
        self._chunks = chunks

    def find(self, name: str) -> Entry | None:
        """What a name stands for."""
        steps = self._path(name, 0) if self.root else []
        page, at = steps[-1] if steps else (Page(0, []), 0)
        record = page.records[at] if at < len(page.records) else ("", None)
        return record[1] if record[0] == name and isinstance(record[1], Entry) else None

    def scan(self, *, prefix: str = "", start: str = "") -> Iterator[tuple[str, Entry]]:
        """Names with their entries in order: those that begin with `prefix` and do not come before `start`."""
        first = max(prefix, start)
        for page in self._pages(first, 0):
            for name, value in page.records[bisect_left(page.names, first) :]:
                if not name.startswith(prefix):
                    return
                if isinstance(value, Entry):
                    yield name, value

    def folder(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[str, Entry | None]]:
        """What lies in a folder: its files, and the folders in it, whose names end in `/` and have no entry.

        Args:
            prefix: empty, or the folder's name with a `/` at its end.
            after: begin behind this name.
        """
        start: str | None = behind(after) if after else ""
        while start is not None:
            found, start = self.scan(prefix=prefix, start=start), None
            for name, entry in found:
                inside, slash, _ = name[len(prefix) :].partition("/")
                if slash:
                    yield f"{prefix}{inside}/", None
                    start = behind(f"{prefix}{inside}/")
                    break
                yield name, entry

    def totals(self, prefix: str = "") -> tuple[int, int]:
        """(entries, bytes of content) of the names that begin with `prefix`; costs no more than a few pages."""
        if not self.root:
            return 0, 0
        return self._totals(self.root, prefix)

    def edited(self, edits: Mapping[str, Entry | None], batch: Batch) -> "Tree":
        """The tree with some names given other entries, and some (None) taken out.

        Raises:
            InvalidError: a name that cannot be.
            ConflictError: a name would be a file and a folder.
        """
        if not edits:
            return self
        for name, entry in edits.items():
            check_name(name)
            if entry is not None:
                check_entry(name, entry)
        self._check_places(edits)
        changes: list[tuple[str, Value | None]] = sorted(edits.items())
        top = self._page(self.root).level if self.root else -1
        level = 0
        while level <= top:
            changes = self._edit_level(level, changes, batch)
            level += 1
        rest = [(name, value) for name, value in changes if value is not None]
        if top < 0 and rest:
            rest = self._cut(0, rest, batch)
            level = 1
        while len(rest) > 1:
            rest = self._cut(level, rest, batch)
            level += 1
        return Tree(self._chunks, self._lowest(rest))

    def _check_places(self, edits: Mapping[str, Entry | None]) -> None:
        """Refuse edits after which a file would lie below another file."""
        good = set[str]()
        for name, entry in edits.items():
            if entry is None or self.find(name):
                continue
            for folder in _folders(name):
                if folder in good:
                    break
                if edits[folder] if folder in edits else self.find(folder):
                    raise ConflictError(f"{folder!r} is a file, so {name[:80]!r} cannot be", fix="Use another name.")
                good.add(folder)
            if any(edits.get(below, entry) for below, _ in self.scan(prefix=f"{name}/")):
                raise ConflictError(f"{name!r} is a folder, so it cannot be a file", fix="Use another name.")

    def changes(self, old: "Tree") -> Iterator[Change]:
        """Where this tree differs from an older one, by name."""
        ours, theirs = _unlike(self._tops(), old._tops())
        while max(_level(ours), _level(theirs)) > 0:
            level = max(_level(ours), _level(theirs))
            ours = self._descended(ours) if _level(ours) == level else ours
            theirs = old._descended(theirs) if _level(theirs) == level else theirs
            ours, theirs = _unlike(ours, theirs)
        yield from _compared(self._entries(theirs), self._entries(ours))

    def pages_beside(self, seen: set[bytes]) -> Iterator[tuple[bytes, Page]]:
        """Id and content of every page that was not seen, those above before those below; they count as seen then."""
        level = [self.root] if self.root else []
        while level:
            under: list[bytes] = []
            for id in (id for id in level if id not in seen):
                seen.add(id)
                page = read_page(self._chunks.get(id))  # not kept: each is looked at once
                yield id, page
                under += [value.id for _, value in page.records if isinstance(value, Below)]
            level = under

    def _edit_level(
        self, level: int, changes: Sequence[tuple[str, Value | None]], batch: Batch
    ) -> list[tuple[str, Value | None]]:
        """Carry changes out on the pages of one level; return what changes on the level above."""
        above: dict[str, Value | None] = {}
        at = 0
        while at < len(changes):
            made = _Cutting(self, level, batch)
            for page, is_last in self._pages_from(changes[at][0], level):
                end = len(changes) if is_last else bisect_left(changes, page.names[-1], key=lambda each: each[0])
                end += not is_last and end < len(changes) and changes[end][0] == page.names[-1]
                above.setdefault(page.names[-1], None)
                made.add(_merged(page.records, changes[at:end]))
                at = end
                if not made.is_open:
                    break
            above |= made.finish()
        return sorted(above.items())

    def _cut(self, level: int, records: Iterable[Record], batch: Batch) -> list[Record]:
        """Pages of one level from nothing; their records for the level above."""
        made = _Cutting(self, level, batch)
        made.add(records)
        return list(made.finish().items())

    def put_page(self, page: Page, batch: Batch) -> Record:
        """Keep a page; its record for the level above."""
        return page.records[-1][0], page.below(batch.put(page.to_bytes()))

    def is_end(self, level: int, name: str) -> bool:
        """Whether a page of that level ends behind the name."""
        hashed = blake3(name.encode(), key=self._chunks.keys.chunk_id).digest(8)
        return not int.from_bytes(hashed, "little") >> CUT_BITS * level & (1 << CUT_BITS) - 1

    def _lowest(self, tops: Sequence[Record]) -> bytes:
        """The id of the only page, or of the one below it that is not alone."""
        if not tops:
            return EMPTY
        id = _below(tops[0])
        while (page := read_page(self._chunks.get(id))).level and len(page.records) == 1:
            id = _below(page.records[0])
        return id

    def _page(self, id: bytes) -> Page:
        return self._chunks.page(id, read_page)

    def _path(self, name: str, level: int) -> list[tuple[Page, int]]:
        """From the top down to that level: pages, and in each the first record that is not before `name`."""
        page, path = self._page(self.root), list[tuple[Page, int]]()
        while True:
            at = bisect_left(page.names, name)
            if page.level == level:
                return [*path, (page, at)]
            at = min(at, len(page.records) - 1)
            path.append((page, at))
            page = self._page(_below(page.records[at]))

    def _pages_from(self, name: str, level: int) -> Iterator[tuple[Page, bool]]:
        """Pages of a level from the one where `name` belongs on, and whether each is the last."""
        pages = self._pages(name, level)
        page = next(pages)
        for following in pages:
            yield page, False
            page = following
        yield page, True

    def _pages(self, name: str, level: int) -> Iterator[Page]:
        if not self.root:
            return
        path = self._path(name, level)
        yield path.pop()[0]
        while path:
            page, at = path.pop()
            if at + 1 == len(page.records):
                continue
            path.append((page, at + 1))
            below = self._page(_below(page.records[at + 1]))
            while below.level > level:
                path.append((below, 0))
                below = self._page(_below(below.records[0]))
            yield below

    def _totals(self, id: bytes, prefix: str) -> tuple[int, int]:
        page = self._page(id)
        entries = size = 0
        before = ""
        for name, value in page.records[bisect_left(page.names, prefix) :]:
            if isinstance(value, Entry):
                here = (1, value.blob.size_bytes) if name.startswith(prefix) else (0, 0)
            elif name.startswith(prefix) and (before.startswith(prefix) if before else not prefix):
                here = value.entries, value.size_bytes
            else:
                here = self._totals(value.id, prefix)
            entries, size, before = entries + here[0], size + here[1], name
            if not name.startswith(prefix) and name > prefix:
                break
        return entries, size

    def _tops(self) -> list[tuple[int, Below]]:
        """(level, page) of the top, if there is one."""
        return [(page.level, page.below(self.root)) for page in (self._page(self.root),)] if self.root else []

    def _descended(self, pages: Sequence[tuple[int, Below]]) -> list[tuple[int, Below]]:
        below = []
        for level, page in pages:
            below += [(level - 1, value) for _, value in self._page(page.id).records if isinstance(value, Below)]
        return below

    def _entries(self, leaves: Iterable[tuple[int, Below]]) -> Iterator[tuple[str, Entry]]:
        for _, leaf in leaves:
            yield from ((name, value) for name, value in self._page(leaf.id).records if isinstance(value, Entry))


def behind(name: str) -> str:
    """The least text behind a name, or behind all that lies in a folder, whose name ends in `/`."""
    return f"{name[:-1]}{chr(ord('/') + 1)}" if name.endswith("/") else f"{name}\0"


def _folders(name: str) -> Iterator[str]:
    """Those that a name lies in, the innermost first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


class _Cutting:
    """Records of one level, cut into pages as they come."""

    def __init__(self, tree: Tree, level: int, batch: Batch) -> None:
        self._tree, self._level, self._batch = tree, level, batch
        self._records: list[Record] = []
        self._bytes = 0
        self._made: dict[str, Value] = {}

    @property
    def is_open(self) -> bool:
        """Whether the last page goes on."""
        return bool(self._records)

    def add(self, records: Iterable[Record]) -> None:
        """Take records in."""
        for record in records:
            self._records.append(record)
            self._bytes += record_bytes(record)
            is_full = len(self._records) >= MOST_RECORDS or self._bytes >= FULL_BYTES
            if is_full or self._tree.is_end(self._level, record[0]):
                self._end()

    def finish(self) -> dict[str, Value]:
        """End the last page; the pages that were made, for the level above."""
        if self._records:
            self._end()
        return self._made

    def _end(self) -> None:
        name, value = self._tree.put_page(Page(self._level, self._records), self._batch)
        self._made[name] = value
        self._records, self._bytes = [], 0


def _below(record: Record) -> bytes:
    value = record[1]
    assert isinstance(value, Below)
    return value.id


def _level(pages: Sequence[tuple[int, Below]]) -> int:
    return pages[0][0] if pages else 0


def _unlike(
    ours: Sequence[tuple[int, Below]], theirs: Sequence[tuple[int, Below]]
) -> tuple[list[tuple[int, Below]], list[tuple[int, Below]]]:
    """Both without the pages that they share."""
    mine, its = {page.id for _, page in ours}, {page.id for _, page in theirs}
    return [each for each in ours if each[1].id not in its], [each for each in theirs if each[1].id not in mine]


def _merged(records: Iterable[Record], changes: Sequence[tuple[str, Value | None]]) -> Iterator[Record]:
    """Sorted records with sorted changes carried out."""
    rest = iter(changes)
    change = next(rest, None)
    for record in records:
        while change is not None and change[0] < record[0]:
            yield from _kept(change)
            change = next(rest, None)
        if change is not None and change[0] == record[0]:
            yield from _kept(change)
            change = next(rest, None)
        else:
            yield record
    while change is not None:
        yield from _kept(change)
        change = next(rest, None)


def _kept(change: tuple[str, Value | None]) -> Iterator[Record]:
    name, value = change
    if value is not None:
        yield name, value


def _compared(old: Iterator[tuple[str, Entry]], new: Iterator[tuple[str, Entry]]) -> Iterator[Change]:
    ours, theirs = next(new, None), next(old, None)
    while ours or theirs:
        if theirs is None or (ours is not None and ours[0] < theirs[0]):
            assert ours is not None
            yield Change(ours[0], None, ours[1])
            ours = next(new, None)
        elif ours is None or theirs[0] < ours[0]:
            yield Change(theirs[0], theirs[1], None)
            theirs = next(old, None)
        else:
            if ours[1] != theirs[1]:
                yield Change(ours[0], theirs[1], ours[1])
            ours, theirs = next(new, None), next(old, None)
