"""Files of a workspace: a tree of names on branches, each change a version. Any thread may use it.

`/vault/files` of the door and `lepton vault` speak to this. What is large comes and goes as streams; what a change
needs to know of the branch is asked of the version that it is made on, also where others move the branch meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from lepton.core.errors import ConflictError, InvalidError, NotFoundError
from lepton.server.allowance import Allowance
from lepton.server.damage import named
from lepton.server.matching import ANY, Match
from lepton.server.sealing import Sealing
from lepton.vault.archive import read_archive, write_archive
from lepton.vault.backup.progress import Progress, Steps, counted, silent
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import read, write
from lepton.vault.store.branches import MAIN, Author
from lepton.vault.store.folders import PLAIN_MODE, facts_of
from lepton.vault.store.pages import Entry, check_name
from lepton.vault.store.refs import resolve
from lepton.vault.store.tree import Change, Tree
from lepton.vault.store.versions import Version, merge_base
from lepton.vault.vault import Domain

T = TypeVar("T")
DRAFT = "draft."
"""Branches that are called so gather a large copy."""
AT_ONCE = 10_000
"""Names of a large change that are held in memory."""
Edits = Iterable[tuple[str, Entry | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """A version of a workspace's files."""

    workspace: str
    ref: str = MAIN
    at: int | None = None
    """Where the branch stood at this time, in microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What somebody sends."""

    pieces: Iterable[bytes]
    limit: int
    """The most bytes that are taken."""
    modified_at: int
    mode: int = PLAIN_MODE
    size_bytes: int = 0
    """How many bytes that is, as the sender says; 0: it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How files are copied."""

    is_move: bool = False
    progress: Progress = silent


COPY = How()


class Files:
    """The files of all workspaces."""

    def __init__(self, sealing: Sealing, allowance: Allowance) -> None:
        self._sealing, self._allowance = sealing, allowance

    def domain(self, workspace: str) -> Domain:
        """Where a workspace's files lie."""
        return self._sealing.domain(workspace)

    def version(self, at: At) -> bytes:
        """The id of a version; empty for `main` of a workspace that has never had a file.

        Raises:
            NotFoundError, InvalidError: as `vault.store.refs.resolve`.
        """
        domain = self.domain(at.workspace)
        try:
            return resolve(domain.chunks, domain.branches, at.ref, at=at.at)
        except NotFoundError:
            if at.at is None and _begins(at.ref):
                return b""
            raise

    def tree(self, at: At) -> Tree:
        """The names of a version."""
        return self.domain(at.workspace).branches.tree(self.version(at))

    def find(self, at: At, name: str) -> Entry:
        """What a name stands for.

        Raises:
            NotFoundError: there is no file of that name; the message says if it is a folder.
        """
        tree = self.tree(at)
        if (entry := tree.find(name)) is not None:
            return entry
        if next(tree.folder(f"{name}/" if name else ""), None) is not None:
            raise NotFoundError(f"{name!r} is a folder", fix="Name a file, or list the folder.")
        raise NotFoundError(f"There is no file {name[:200]!r}", fix="See lepton vault ls, lepton vault log.")

    def content(self, at: At, name: str, entry: Entry, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of a file, each chunk checked before it is given.

        Raises:
            DamagedError: the next of them cannot be read.
        """
        pieces = read(self.domain(at.workspace).chunks, entry.blob, start=start, stop=stop)
        return named(f"{name!r} of {at.workspace}", (bytes(piece) for piece in pieces))

    def put(self, at: At, name: str, content: Content, author: Author, *, match: Match = ANY) -> tuple[bytes, Entry]:
        """Store a file in a new version of a branch; return the version and what the name stands for.

        Raises:
            InvalidError, ConflictError: no file can be called so.
            StaleError: `match` does not hold.
            TooLargeError: it is over the limit.
        """
        check_name(name)
        domain = self.domain(at.workspace)
        match.check(name, domain.branches.tree(self._head(at)).find(name))  # before the work, and again with it

        def stored(batch: Batch) -> tuple[bytes, Entry]:
            coming.begin(batch)
            blob = write(batch, domain.cutter, coming.bounded(content.pieces, limit=content.limit))
            entry = Entry(blob, content.modified_at, facts_of(content.mode))

            def edit(tree: Tree) -> Tree:
                match.check(name, tree.find(name))
                return tree.edited({name: entry}, batch)

            return domain.branches.change(at.ref, batch, edit, author), entry

        with self._allowance.bringing(at.workspace, domain.chunks, content.size_bytes) as coming:
            return written(domain, stored, doubts=True)

    def put_archive(self, at: At, folder: str, content: Content, author: Author) -> tuple[bytes, int]:
        """Store the files of a tar archive below a folder in one new version; return it and how many they are.

        Raises:
            InvalidError, ConflictError, TooLargeError: as `read_archive`; a name that cannot be.
        """
        domain, under = self.domain(at.workspace), below(folder)
        self._head(at)

        def stored(batch: Batch) -> tuple[bytes, int]:
            coming.begin(batch)
            pieces = coming.bounded(content.pieces, limit=content.limit)
            edits = {under + name: entry for name, entry in read_archive(batch, domain.cutter, pieces)}
            return domain.branches.commit(at.ref, edits, batch, author), len(edits)

        with self._allowance.bringing(at.workspace, domain.chunks, content.size_bytes) as coming:
            return written(domain, stored, doubts=True)

    def archive(self, at: At, names: Iterable[str], *, skips: bool = False) -> Iterator[bytes]:
        """The tar archive of some files.

        Args:
            skips: leave out what is damaged, and name it in a last member.

        Raises:
            NotFoundError: one is not there; nothing was given then.
            DamagedError: the next file cannot be read, unless such are left out.
        """
        tree = self.tree(at)
        found = [(name, tree.find(name)) for name in names]
        for name, entry in found:
            if entry is None:
                raise NotFoundError(f"There is no file {name[:200]!r}", fix="See lepton vault ls.")
        there = ((name, entry) for name, entry in found if entry)
        pieces = write_archive(self.domain(at.workspace).chunks, there, skips=skips)
        return named(f"A file of {at.workspace}", (bytes(piece) for piece in pieces))

    def remove(self, at: At, name: str, author: Author, *, is_recursive: bool = False, match: Match = ANY) -> int:
        """Take a file, or with `is_recursive` all that lies in a folder, out of a new version; return how many.

        Raises:
            NotFoundError: there is nothing of that name.
            ConflictError: it is a folder.
        """
        gone = 0

        def edit(tree: Tree, batch: Batch) -> Tree:
            nonlocal gone
            match.check(name, tree.find(name))
            names = [name] if tree.find(name) else (each for each, _ in tree.scan(prefix=below(name)))
            edited, gone = _edited(tree, ((each, None) for each in names), batch)
            if not gone:
                raise NotFoundError(f"There is no file {name[:200]!r}", fix="See lepton vault ls.")
            if not is_recursive and not tree.find(name):
                raise ConflictError(f"{name!r} is a folder", fix="Say so: lepton vault rm -r, or ?recursive=true.")
            return edited

        self._change(at, edit, author)
        return gone

    def copy(self, source: At, name: str, target: At, to: str, author: Author, *, how: How = COPY) -> int:
        """Copy or move a file or folder within a workspace, or copy it to another; return how many files.

        Within a workspace no content moves, and no progress is told. Raises NotFoundError, ConflictError, InvalidError.
        """
        tree, is_move = self.tree(source), how.is_move
        is_here = (source.workspace, source.ref, source.at) == (target.workspace, target.ref, None)
        if is_move and (source.workspace, source.ref) != (target.workspace, target.ref):
            raise InvalidError("Only within a branch can files be moved", fix="Copy them, then remove them.")
        if f"{to}/".startswith(f"{name}/") and is_move:
            raise InvalidError(f"{name!r} cannot be moved into itself", fix="Name another place.")
        if next(_renamed(tree, name, to), None) is None:
            raise NotFoundError(f"There is no file {name[:200]!r}", fix="See lepton vault ls.")
        if source.workspace != target.workspace:
            return self._seal_again(source, _Renaming(tree, name, to), target, author, how.progress)
        done = 0

        def edit(into: Tree, batch: Batch) -> Tree:
            nonlocal done
            now = into if is_here else tree  # others may have moved the branch since
            gone: Edits = ((old, None) for old, _, _ in _renamed(now, name, to)) if is_move else ()
            into, _ = _edited(into, gone, batch)
            into, done = _edited(into, ((new, entry) for _, new, entry in _renamed(now, name, to)), batch)
            return into

        self._change(target, edit, author)
        return done

    def _seal_again(self, source: At, which: "_Renaming", target: At, author: Author, progress: Progress) -> int:
        """Copy to another workspace: the content first, then a new version, so that nobody there waits for it."""
        self._head(target)
        ours, done = self.domain(target.workspace), 0
        total = sum(entry.blob.size_bytes for _, _, entry in which)
        tell = counted(progress, total)

        def stored(batch: Batch) -> bytes:
            nonlocal done
            coming.begin(batch)
            tree, done = _edited(Tree(ours.chunks), brought(batch), batch)

            def edit(into: Tree) -> Tree:
                return _edited(into, tree.scan(), batch)[0]

            return ours.branches.change(target.ref, batch, edit, author)

        def brought(batch: Batch) -> Edits:
            for old, new, entry in which:
                blob = write(batch, ours.cutter, _told(self.content(source, old, entry), tell))
                yield new, Entry(blob, entry.modified_at, entry.facts)

        with self._allowance.bringing(target.workspace, ours.chunks, total) as coming:
            written(ours, stored)
        return done

    def bring(self, at: At, draft: str, author: Author) -> bytes:
        """Make what a draft changed, since it was begun, one new version of a branch, and delete the draft.

        A draft is a branch on which a large copy is gathered, so that it is seen whole or not at all.

        Raises:
            NotFoundError: there is no such branch.
        """
        if not draft.startswith(DRAFT) or draft == at.ref:
            raise InvalidError(f"{draft!r} is no draft", fix=f"Name a branch {DRAFT}*, or merge without `draft`.")
        domain = self.domain(at.workspace)
        head = domain.branches.head(draft)
        ours = self.version(at)
        base = merge_base(domain.chunks, ours, head) if ours else b""

        def edit(tree: Tree, batch: Batch) -> Tree:
            changes = domain.branches.changes(base, head)
            return _edited(tree, ((change.name, change.new) for change in changes), batch)[0]

        made = self._change(at, edit, author)
        domain.branches.delete(draft, author)
        return made

    def has_changed(self, workspace: str, path: str, version: Version) -> bool:
        """Whether a file, or anything in a folder, is not what it was in the kept version before."""
        branches = self.domain(workspace).branches
        new, old = branches.tree_of(version), branches.tree(branches.kept_parent(version))
        ours, theirs = new.find(path), old.find(path)
        if ours or theirs:
            return ours != theirs
        return any(change.name.startswith(f"{path}/") for change in new.changes(old))

    def changes(self, workspace: str, old: bytes, new: bytes, *, prefix: str = "", after: str = "") -> Iterator[Change]:
        """Where two versions differ, by name."""
        for change in self.domain(workspace).branches.changes(old, new):
            if change.name.startswith(prefix) and change.name > after:
                yield change

    def _change(self, at: At, edit: Callable[[Tree, Batch], Tree], author: Author) -> bytes:
        self._head(at)
        domain = self.domain(at.workspace)
        return written(domain, lambda batch: domain.branches.change(at.ref, batch, lambda t: edit(t, batch), author))

    def _head(self, at: At) -> bytes:
        """Where a branch stands that is to be changed; empty: it begins with the change.

        Raises:
            NotFoundError: there is no such branch. Only `main` and drafts begin by themselves.
        """
        try:
            return self.domain(at.workspace).branches.head(at.ref)
        except NotFoundError:
            if _begins(at.ref):
                return b""
            raise


def _told(pieces: Iterator[bytes], tell: Steps) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        tell(len(piece))


def _begins(branch: str) -> bool:
    return branch == MAIN or branch.startswith(DRAFT)


def written(domain: Domain, work: Callable[[Batch], T], *, doubts: bool = False) -> T:
    """What `work` returns; what it put is forgotten where it fails.

    Args:
        doubts: content that is there already is read, and stored again where it is damaged.
    """
    with domain.chunks.writing(doubts=doubts) as batch:
        return work(batch)


def below(folder: str) -> str:
    """What the names of all that lies in a folder begin with; of none: of everything."""
    inner = folder.strip("/")
    return f"{inner}/" if inner else ""


@dataclass(frozen=True, slots=True)
class _Renaming:
    """What of a tree is copied, and to where; to be gone through again and again."""

    tree: Tree
    name: str
    to: str

    def __iter__(self) -> Iterator[tuple[str, str, Entry]]:
        return _renamed(self.tree, self.name, self.to)


def _renamed(tree: Tree, name: str, to: str) -> Iterator[tuple[str, str, Entry]]:
    """(old name, new name, entry) of a file, or of all that lies in a folder."""
    entry = tree.find(name) if name else None
    if entry:
        yield name, to, entry
        return
    old, new = below(name), below(to)
    yield from ((found, new + found[len(old) :], entry) for found, entry in tree.scan(prefix=old))


def _edited(tree: Tree, edits: Edits, batch: Batch) -> tuple[Tree, int]:
    """A tree with any number of edits, some held in memory at once; and how many they were."""
    rest, done = iter(edits), 0
    while some := dict(islice(rest, AT_ONCE)):
        tree, done = tree.edited(some, batch), done + len(some)
    return tree, done
