"""Backups, prune, compaction, hits on what is there, and forgetting, in any order: what a manifest names is there."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lepton.core.clock import to_micros
from lepton.core.errors import ConflictError, StaleError
from lepton.vault.backup.forgetting import LEASE_S, forget
from lepton.vault.backup.frozen import FrozenState
from lepton.vault.backup.manifest import Manifest
from lepton.vault.backup.target import BUSY_S, FORGETTING, MAKING, Busy, Known, Target, copy_packs
from lepton.vault.store.batch import Batch
from lepton.vault.store.blobs import read
from lepton.vault.store.branches import Branches
from lepton.vault.store.chunks import Chunks
from lepton.vault.store.files import pack_path
from lepton.vault.store.index import Index
from lepton.vault.store.keyring import KeyRing, SealedKey
from lepton.vault.store.pages import Entry
from lepton.vault.store.sealing import Kind
from lepton.vault.store.state import Move, Pack
from lepton.vault.uses import DOING
from tests.unit.vault.stores import ANN, DOMAIN, ROOT_KEY, TENANT, MemoryDriver, Store
from tests.unit.vault.test_prune import advance, body, run, stored

Wish = dict[str, dict[str, int]]
"""Branch -> name -> which content."""


@dataclass
class Making:
    """A backup that is being made: what was true at one moment, and what is still to be copied."""

    announced: ExitStack
    packs: list[Pack]
    moves: list[Move]
    keys: list[SealedKey]
    wanted: Wish
    is_whole: bool = True
    left: int = 0


def kill(announced: ExitStack, safe: MemoryDriver) -> None:
    """End who has announced something; what he has announced stays behind."""
    left = {key: kept for key, kept in safe.kept.items() if key.startswith(DOING)}
    announced.close()
    safe.kept |= left


class Backups(RuleBasedStateMachine):
    """A vault, a place with backups, and three who do not wait for each other."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.safe = MemoryDriver()
        self.target = Target(self.safe, "safe")
        self.target.claim("p", Known())
        self.open: list[tuple[Batch, dict[str, Entry | None], dict[str, int]]] = []
        self.known: Wish = {}
        self.making: Making | None = None
        self.made: dict[int, Making] = {}
        self.looked = 0

    def busy(self, holder: str) -> Busy:
        return Busy(holder=holder, now=to_micros(self.store.clock.now()))

    @rule(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def write(self, numbers: list[int]) -> None:
        batch = self.store.chunks.writing()
        edits: dict[str, Entry | None] = {f"n{number}": Entry(stored(self.store, batch, number)) for number in numbers}
        self.open.append((batch, edits, {f"n{number}": number for number in numbers}))

    @rule(name=st.sampled_from(["main", "x"]), which=st.integers(0, 5))
    def commit(self, name: str, which: int) -> None:
        if self.open:
            batch, edits, numbers = self.open.pop(which % len(self.open))
            try:
                self.store.branches.commit(name, edits, batch, ANN)
            except StaleError:
                return
            self.known = {**self.known, name: {**self.known.get(name, {}), **numbers}}

    @rule(name=st.sampled_from(["main", "x"]))
    def delete(self, name: str) -> None:
        if name in self.known:
            self.store.branches.delete(name)
            self.known = {other: names for other, names in self.known.items() if other != name}

    @rule(seconds=st.sampled_from([0, LEASE_S / 2, LEASE_S + 1]), compacts=st.sampled_from([0, 2]))
    def prune(self, seconds: float, compacts: int) -> None:
        advance(self.store, seconds)
        run(self.store, compacts=compacts)

    @rule()
    def begin_backup(self) -> None:
        if self.making is None:
            announced, state = ExitStack(), self.store.state
            announced.enter_context(self.target.busy(MAKING, FORGETTING, self.busy("backup")))
            packs = [pack for pack in state.packs(DOMAIN) if not pack.is_gone]
            keys = [state.find(Kind.TENANT, TENANT), state.find(Kind.DOMAIN, DOMAIN), *state.under(DOMAIN)]
            moves = list(state.heads(DOMAIN))
            self.making = Making(announced, packs, moves, [key for key in keys if key], self.known, left=len(packs))

    @rule(count=st.integers(1, 3))
    def copy(self, count: int) -> None:
        if self.making is not None:
            making = self.making
            some = making.packs[making.left - min(count, making.left) : making.left]
            wanted = {DOMAIN: [(pack.id, pack.size_bytes) for pack in some]}
            copied = copy_packs(self.store.driver, self.safe, wanted, progress=lambda size: None)
            making.left -= len(some)
            making.is_whole = making.is_whole and not copied.lost

    @rule()
    def end_backup(self) -> None:
        if self.making is not None and not self.making.left:
            making, self.making = self.making, None
            number = max(self.target.numbers(), default=0) + 1
            if making.is_whole:  # else a pack was pruned meanwhile: it begins again
                self.target.write(number, b"sealed")
                self.made[number] = making
            making.announced.close()

    @rule()
    def kill_backup(self) -> None:
        """What it has announced stays behind, as does what it has copied."""
        if self.making is not None:
            kill(self.making.announced, self.safe)
            self.making = None

    @rule(keep=st.integers(1, 2), seconds=st.sampled_from([0, LEASE_S / 2, LEASE_S + 1]))
    def forget(self, keep: int, seconds: float) -> None:
        advance(self.store, seconds)
        gone = self.target.numbers()[:-keep]
        try:
            forget(self.target, gone, self.manifest, busy=self.busy("forget"), newest=max(self.made, default=0))
        except ConflictError:  # somebody makes one, or was killed at it less than a day ago
            assert self.safe.kept and any("making" in key for key in self.safe.kept)
            return
        if self.making is not None:  # it took longer than a day, and was taken for dead
            self.making.announced.close()
            self.making = None
        self.made = {number: made for number, made in self.made.items() if number not in gone}
        self.look()

    def manifest(self, number: int) -> Manifest:
        packs = {DOMAIN: [(pack.id, pack.size_bytes) for pack in self.made[number].packs]}
        return Manifest(
            number=number, at=0, platform="p", root=b"", vault_root=b"", domain=DOMAIN, dump=b"", keys=(), packs=packs
        )

    @invariant()
    def what_is_named_is_there(self) -> None:
        if hasattr(self, "store"):
            assert self.target.numbers() == sorted(self.made)
            for made in self.made.values():
                for pack in made.packs:
                    assert len(self.safe.kept[pack_path(DOMAIN, pack.id)]) == pack.size_bytes

    def look(self) -> None:
        """Every backup reads, from its keys and packs alone."""
        for made in self.made.values():
            self.looked += 1
            state = FrozenState(made.keys, {DOMAIN: made.packs}, {DOMAIN: made.moves})
            index = Index(Path(self.folder.name) / f"look-{self.looked}.db")
            with closing(Chunks(self.safe, state, KeyRing(state, ROOT_KEY), index, domain=DOMAIN)) as chunks:
                branches = Branches(chunks, state, self.store.clock)
                for name, wanted in made.wanted.items():
                    tree = branches.tree(branches.head(name))
                    found = {path: b"".join(map(bytes, read(chunks, entry.blob))) for path, entry in tree.scan()}
                    assert found == {path: body(number) for path, number in wanted.items()}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.look()
            if self.making is not None:
                self.making.announced.close()
            self.store.close()
            self.folder.cleanup()


TestBackups = Backups.TestCase
TestBackups.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_who_was_killed_holds_others_up_for_a_day_at_most_and_itself_not_at_all() -> None:
    safe = MemoryDriver()
    target = Target(safe, "safe")

    def killed_at(now: int) -> None:
        announced = ExitStack()
        announced.enter_context(target.busy(FORGETTING, MAKING, Busy(holder="a", now=now)))
        kill(announced, safe)

    def goes(holder: str, now: int) -> bool:
        try:
            with target.busy(MAKING, FORGETTING, Busy(holder=holder, now=now)):
                return True
        except ConflictError:
            return False

    killed_at(1)
    assert not goes("b", 2)
    assert goes("a", 2) and goes("b", 3)
    killed_at(1)
    assert not goes("b", BUSY_S * 1_000_000) and goes("b", 2 + BUSY_S * 1_000_000)
    assert not safe.kept


def test_a_pack_that_a_killed_backup_left_is_not_removed_under_the_next() -> None:
    model = Backups()
    model.begin()
    model.write([1])
    model.commit("main", 0)
    model.begin_backup()
    model.copy(3)
    model.kill_backup()
    model.forget(1, LEASE_S + 1)  # it is marked
    advance(model.store, LEASE_S / 2 + 1)
    model.begin_backup()
    model.copy(3)  # it is there, and is not copied
    model.forget(1, LEASE_S / 2)
    model.end_backup()
    model.what_is_named_is_there()
    assert len(model.made) == 1
    model.teardown()
