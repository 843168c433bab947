"""Branches and tags of one domain: commit, branch, tag, compare, merge, roll back, undelete, look into the past.

A branch moves from version to version; each step is kept, so nothing that ever was committed is out of reach until a
retention rule lets it go. A tag stands still. Names of branches and tags share one set: `main` cannot be both.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock

from lepton.core.clock import Clock, to_micros
from lepton.core.errors import BadNameError, ConflictError, LetGoError, NameTakenError, NotFoundError, StaleError
from lepton.vault.store.batch import Batch
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.merging import Side, added, brought, conflicting
from lepton.vault.store.pages import Entry
from lepton.vault.store.state import Move, State
from lepton.vault.store.tree import Change, Tree
from lepton.vault.store.versions import Version, history, let_go_error, merge_base, read_version, write_version

MAIN = "main"
TAGS = "tags/"
NAME = re.compile(r"(tags/)?[a-z0-9][a-z0-9._-]{0,62}")
TRIES = 20
TURNS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who makes a version, and why."""

    by: str
    message: str = ""


NOBODY = Author(by="")


class Branches:
    """The branches and tags of one domain. Any thread may use it."""

    def __init__(self, chunks: Chunks, state: State, clock: Clock) -> None:
        self._chunks, self._state, self._clock, self._domain = chunks, state, clock, chunks.domain
        self._turns = tuple(Lock() for _ in range(TURNS))
        """Writers of one branch go one after the other."""

    def names(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, bytes]]:
        """Branches and tags with the versions that they stand at, by name."""
        return [(move.name, move.version) for move in self._state.heads(self._domain, after=after, limit=limit)]

    def head(self, name: str) -> bytes:
        """The version that a branch or tag stands at.

        Raises:
            NotFoundError: there is none by that name, or it was deleted.
        """
        return self._head(name).version

    def version(self, id: bytes) -> Version:
        """What is known of a version."""
        return read_version(self._chunks, id)

    def tree(self, id: bytes) -> Tree:
        """The names of a version; of none, where the id is empty.

        Raises:
            LetGoError: retention has let go of them.
        """
        if id:
            self._check_kept(id)
        return self.tree_of(self.version(id)) if id else Tree(self._chunks)

    def tree_of(self, version: Version) -> Tree:
        """The names of a version that is known already."""
        return Tree(self._chunks, version.root)

    def let_go(self, ids: Collection[bytes]) -> Mapping[bytes, int]:
        """Of these versions those whose files retention has let go of, and when."""
        return self._state.let_go(self._domain, ids)

    def kept_parent(self, version: Version) -> bytes:
        """The nearest that a version was made from, first parents only, whose files are kept; empty: there is none."""
        while version.parents and self.let_go(version.parents[:1]):
            version = self.version(version.parents[0])
        return version.parents[0] if version.parents else b""

    def _check_kept(self, id: bytes) -> None:
        if found := self.let_go([id]):
            raise let_go_error(id, found[id])

    def log(self, name: str) -> Iterator[tuple[bytes, Version]]:
        """The version that a branch stands at and all it was made from, newest first."""
        return history(self._chunks, self.head(name))

    def past(self, name: str, at: int) -> bytes:
        """The version that a branch stood at, at a time in microseconds since 1970.

        Raises:
            NotFoundError: it was not there then.
        """
        move = self._state.move_at(self._domain, check_branch(name), at)
        if move is None or not move.version:
            raise NotFoundError(f"{name!r} was not there at that time", fix=f"See lepton vault log {name}.")
        return move.version

    def commit(
        self, name: str, edits: Mapping[str, Entry | None], batch: Batch, author: Author, *, expect: bytes | None = None
    ) -> bytes:
        """Make a version with some names given other entries, or (None) taken out, and move the branch to it.

        When others move the branch meanwhile, the edits are made on what they left. A branch that is not there begins.

        Args:
            batch: in which the content of the edits was written; this finishes it.
            expect: the version that the branch must stand at; empty: it must not be there.

        Returns:
            The version's id; that of the head if the edits change nothing.

        Raises:
            StaleError: the branch does not stand where it was expected; or content was pruned while it was written.
        """

        return self.change(name, batch, lambda tree: tree.edited(edits, batch), author, expect=expect)

    def change(
        self,
        name: str,
        batch: Batch,
        edit: Callable[[Tree], Tree],
        author: Author,
        *,
        expect: bytes | None = None,
    ) -> bytes:
        """As `commit`, with a tree made from the head's: `edit` is called again where others move the branch meanwhile.

        What `edit` raises ends it, and nothing has happened.
        """

        def made(head: Move | None) -> Version:
            if expect is not None and expect != (head.version if head else b""):
                raise _moved(name)
            parents = [head.version] if head and head.version else []
            tree = self.tree_of(self.version(parents[0])) if parents else Tree(self._chunks)
            return self._made(edit(tree), parents, author)

        return self._advance(_refuse_tag(name), batch, made)

    def create(self, name: str, version: bytes, author: Author = NOBODY) -> None:
        """Begin a branch or tag at a version.

        Raises:
            NameTakenError: there is one by that name.
        """
        self.version(version)
        old = self._state.head(self._domain, check_branch(name))
        if old and old.version:
            raise NameTakenError(f"There is a branch or tag {name!r}", fix="Use another name.")
        self._step(name, old, version, author)

    def delete(self, name: str, author: Author = NOBODY) -> None:
        """Delete a branch or tag; `undelete` brings it back.

        Raises:
            NotFoundError: there is none.
        """
        self._step(name, self._head(name), b"", author)

    def undelete(self, name: str, author: Author = NOBODY) -> bytes:
        """Bring a deleted branch or tag back to where it stood; return that version.

        Raises:
            NotFoundError: there never was one.
            ConflictError: it is not deleted.
        """
        old = self._state.head(self._domain, check_branch(name))
        if old is None:
            raise NotFoundError(
                f"There is no branch or tag {name!r} to bring back: there never was one, or the 30 days have passed in "
                "which a deleted one can be",
                fix="See lepton vault branches.",
            )
        if old.version:
            raise ConflictError(f"{name!r} is not deleted", fix="Nothing is to be done.")
        (last,) = self._state.moves(self._domain, name, before=old.epoch, limit=1)
        self._step(name, old, last.version, author)
        return last.version

    def roll_back(self, name: str, version: bytes, author: Author) -> bytes:
        """Make a version with what an older one held, and move the branch to it; nothing is lost."""
        self._check_kept(version)
        old = self.version(version)

        def made(head: Move | None) -> Version:
            return self._made(Tree(self._chunks, old.root), [head.version] if head and head.version else [], author)

        with self._chunks.writing() as batch:
            return self._advance(_refuse_tag(name), batch, made)

    def restore(self, name: str, path: str, author: Author) -> Entry:
        """Undelete a file: give its name the entry that it last had on the branch.

        Raises:
            NotFoundError: it never was there.
            LetGoError: it is in no version that is kept.
            ConflictError: it is there.
        """
        lost = 0
        for id, _ in self.log(name):
            if self.let_go([id]):
                lost += 1
                continue
            entry = self.tree(id).find(path)
            if entry and id == self.head(name):
                raise ConflictError(f"{path!r} is there", fix="Nothing is to be done.")
            if entry:
                with self._chunks.writing() as batch:
                    self.commit(name, {path: entry}, batch, author)
                return entry
        if lost:
            raise LetGoError(
                f"{path!r} is in no version of {name!r} that is kept; retention has let go of {lost} others",
                fix="A backup from before may hold it: lepton vault restore --only",
            )
        raise NotFoundError(f"{path!r} never was in {name!r}", fix="Check the name.")

    def changes(self, old: bytes, new: bytes) -> Iterator[Change]:
        """Where two versions differ, by name."""
        return self.tree(new).changes(self.tree(old))

    def merge(self, into: str, other: bytes, author: Author, *, take: Side | None = None) -> bytes:
        """Bring what another version changed, since both were one, into a branch.

        Where retention has let go of the version that both were, nobody knows who changed what: then all names that
        either side has stay, and those with different content are conflicts.

        Args:
            take: whose entry to take where both changed a name, or where one side has a file and the other a folder;
                None: such names are refused.

        Returns:
            The version that the branch then stands at: `other` itself where the branch had nothing of its own.

        Raises:
            MergeConflictError: both changed the same names differently; its details say which.
        """
        _refuse_tag(into)
        with self._turns[hash(into) % TURNS]:
            for _ in range(TRIES - 1):
                with suppress(StaleError):  # another process has moved it meanwhile
                    return self._merged(into, other, author, take)
            return self._merged(into, other, author, take)

    def _merged(self, into: str, other: bytes, author: Author, take: Side | None) -> bytes:
        head = self._head(into)
        base = merge_base(self._chunks, head.version, other)
        if base == other:
            return head.version
        if base == head.version:
            self._step(into, head, other, author)
            return other
        ours, is_lost = self.tree(head.version), bool(base and self.let_go([base]))
        known = Tree(self._chunks) if is_lost else self.tree(base)
        changes = added(self.changes(head.version, other)) if is_lost else self.changes(base, other)
        edits, conflicts = brought(ours, known, changes, take)
        if conflicts:
            raise conflicting(conflicts, is_lost=is_lost)
        with self._chunks.writing() as batch:
            tree = ours.edited(edits, batch)
            id = write_version(batch, self._made(tree, [head.version, other], author))
            self._step(into, head, id, author, uses=batch.finish())
        return id

    def _advance(self, name: str, batch: Batch, made: Callable[[Move | None], Version]) -> bytes:
        """Move a branch to a version made from its head; made anew where another process has moved it meanwhile."""
        with self._turns[hash(name) % TURNS]:
            return self._advance_in_turn(name, batch, made)

    def _advance_in_turn(self, name: str, batch: Batch, made: Callable[[Move | None], Version]) -> bytes:
        for turn in range(TRIES):
            head = self._state.head(self._domain, name)
            version = made(head)
            if head and head.version and self.version(head.version).root == version.root:
                batch.finish()
                return head.version
            id = write_version(batch, version)
            try:
                self._step(name, head, id, Author(by=version.by, message=version.message), uses=batch.finish())
            except StaleError:
                if turn + 1 == TRIES or self._state.head(self._domain, name) == head:
                    raise
            else:
                return id
        raise _moved(name)

    def _made(self, tree: Tree, parents: list[bytes], author: Author) -> Version:
        """A version that is later than all that it is made from."""
        entries, size = tree.totals()
        at = max([to_micros(self._clock.now()), *(self.version(parent).at + 1 for parent in parents)])
        made = Version(root=tree.root, parents=parents, at=at, by=author.by, message=author.message)
        return replace(made, entries=entries, size_bytes=size)

    def _head(self, name: str) -> Move:
        head = self._state.head(self._domain, check_branch(name))
        if head is None or not head.version:
            raise NotFoundError(f"There is no branch or tag {name!r}", fix="See lepton vault branches.")
        return head

    def _step(
        self, name: str, head: Move | None, version: bytes, author: Author, *, uses: Collection[bytes] = ()
    ) -> None:
        epoch, at = (head.epoch + 1, head.at) if head else (1, 0)
        at = max(at + 1, to_micros(self._clock.now()))
        step = Move(name, epoch, version, at, author.by, author.message)
        self._state.move(self._domain, step, uses=uses)


def check_branch(name: str) -> str:
    """Return `name` if a branch, or with `tags/` before it a tag, can have it.

    Raises:
        BadNameError: it cannot.
    """
    if NAME.fullmatch(name):
        return name
    raise BadNameError(
        f"{name[:80]!r} cannot name a branch", fix="Use a-z, 0-9, '.', '_' and '-'; tags/NAME for a tag."
    )


def _refuse_tag(name: str) -> str:
    if check_branch(name).startswith(TAGS):
        raise ConflictError(f"{name!r} is a tag: it stands still", fix="Make a branch at it.")
    return name


def _moved(name: str) -> StaleError:
    return StaleError(f"{name!r} has moved since it was read", fix="Read it again and repeat the change.")
