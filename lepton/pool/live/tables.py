"""The arrays of a live pool: made from nodes, and extended by accounts and classes as they are first asked for."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from lepton.core.launch import Devices
from lepton.pool.kernel import state
from lepton.pool.kernel.cells import mark_all
from lepton.pool.kernel.fragments import KINDS
from lepton.pool.kernel.state import ENDLESS, Pool, rows
from lepton.pool.live.grow import Growing
from lepton.pool.live.layout import (
    AMOUNTS,
    CPU,
    FPGA,
    GPU,
    MEMORY,
    PLAIN,
    TPU,
    Layout,
    devices_of,
    kind_number,
    need_of,
)
from lepton.pool.live.views import Wants
from lepton.pool.quota import DEFAULT, Amounts, QueueSpec
from lepton.pool.tree import line

COLUMN = {"gpu_milli": GPU, "tpu_milli": TPU, "fpga_milli": FPGA, "cpu_milli": CPU, "memory_bytes": MEMORY}
"""Device as quotas name it -> which counted amount it is."""
QUEUE = "queue"
CROWDED = 0.1
"""Of all devices, that are free."""
Account = tuple[str, str]
"""`queue`, `user` or `workspace`, and the name."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Queues and quotas as they are written down."""

    queues: Mapping[str, QueueSpec] = field(default_factory=dict)
    quotas: Mapping[Account, Amounts] = field(default_factory=dict)
    """(`user` or `workspace`, name) -> the most that may be held."""

    def chain(self, name: str) -> list[str]:
        """A queue and those above it."""
        return list(line(self.queues, name or DEFAULT)) or [name or DEFAULT]

    def shape(self) -> object:
        """What cannot change without making the arrays anew."""
        return {name: spec.parent for name, spec in self.queues.items()}, set(self.quotas)


@dataclass(frozen=True, slots=True)
class Class:
    """A class of jobs, as the arrays have it."""

    index: int
    ranks: tuple[int, ...]
    """Rank of each worker, in the order of the arrays: the largest first."""


def column_amounts(amounts: Amounts, unnamed: int) -> list[int]:
    """One number for each counted amount; `unnamed` for those that are not named."""
    found = [unnamed] * AMOUNTS
    for name, amount in amounts.items():
        found[COLUMN[name]] = amount
    return found


def guarantee_of(spec: QueueSpec) -> list[int]:
    """What a queue may always hold: of accelerators and of CPUs alone nothing unless it is named."""
    found = column_amounts(spec.guarantee, ENDLESS)
    for name in ("gpu_milli", "tpu_milli", "fpga_milli"):
        found[COLUMN[name]] = spec.guarantee.get(name, 0)
    found[PLAIN] = ENDLESS if "cpu_milli" in spec.guarantee else 0
    return found


class Tables:
    """The arrays, and where each account and class stands in them."""

    def __init__(self, layout: Layout, rights: Rights) -> None:
        self.layout = layout
        self.rights = rights
        self.grow = Growing(empty_pool(layout), nodes=len(layout.machines), cells=len(layout.cells))
        self.accounts: dict[Account, int] = {}
        self.past: dict[Account, tuple[float, float]] = {}
        """Account -> the mean of what it has held, and as of when: of tables that these take the place of."""
        self._classes: dict[tuple[object, ...], Class] = {}
        self.grow.add("parts", KINDS)  # the kinds of workers that are expected
        mark_all(self.grow.pool)

    @property
    def pool(self) -> Pool:
        """The arrays as they are now; stale after anything was added."""
        return self.grow.pool

    def still(self, layout: Layout) -> Self:
        """The same tables with arrays of their own (`Growing.still`)."""
        found = copy(self)
        found.layout, found.grow, found.accounts = layout, self.grow.still(), self.accounts.copy()
        return found

    @property
    def is_crowded(self) -> bool:
        """Whether few whole devices are left."""
        free = int((self.pool.tally * np.arange(self.pool.tally.shape[1])).sum())
        return free * state.WHOLE <= CROWDED * int(self.pool.capacity[[GPU, TPU, FPGA]].sum())

    def change_rights(self, rights: Rights) -> None:
        """Other amounts and weights for the accounts that there are."""
        self.rights = rights
        for account in self.accounts:
            self._write_account(account)

    def account(self, account: Account) -> int:
        """Row of an account."""
        if account not in self.accounts:
            self.accounts[account] = self.grow.add("accounts")
            for name in ("used", "guarantee", "limit"):
                self.grow.add(name)
            self.grow.add("crowds", state.RANKS)
            row = self.pool.accounts[self.accounts[account]]
            row.link = -1
            row.usage, row.usage_at = self.past.get(account, (0.0, 0.0))
            self._write_account(account)
        return self.accounts[account]

    def pasts(self) -> dict[Account, tuple[float, float]]:
        """What tables that take the place of these must know of the past."""
        rows = self.pool.accounts
        now = {name: (float(rows[at].usage), float(rows[at].usage_at)) for name, at in self.accounts.items()}
        return {**self.past, **now}

    def _write_account(self, account: Account) -> None:
        at, pool = self.accounts[account], self.pool
        if account[0] == QUEUE:
            spec = self.rights.queues.get(account[1], QueueSpec())
            pool.guarantee[at], pool.limit[at] = guarantee_of(spec), column_amounts(spec.limit, ENDLESS)
            pool.accounts[at].weight = spec.weight
        else:
            limit = self.rights.quotas.get(account, {})
            pool.guarantee[at], pool.limit[at] = 0, column_amounts(limit, ENDLESS)
            pool.accounts[at].weight = 1.0

    def accounts_of(self, wants: Wants) -> list[Account]:
        """Where a job counts: its queue, those above, then the quotas it falls under."""
        queues = [(QUEUE, name) for name in self.rights.chain(wants.queue)]
        quotas = [("user", wants.user), ("workspace", wants.workspace)]
        return queues + [each for each in quotas if each in self.rights.quotas]

    def class_of(self, wants: Wants, types: tuple[str, ...]) -> Class:
        """The class of a job that gets types of devices in this order, or any."""
        accounts = tuple(self.accounts_of(wants))
        key = (wants.workers, wants.labels, wants.within, accounts, wants.rank, wants.is_pinned, types)
        if key not in self._classes:
            self._classes[key] = self._add_class(wants, accounts, types)
        return self._classes[key]

    def _add_class(self, wants: Wants, accounts: tuple[Account, ...], types: tuple[str, ...]) -> Class:
        ranks = sorted(range(len(wants.workers)), key=lambda rank: _size(wants.workers[rank]), reverse=True)
        cells, scopes = self.layout.cells_for(wants, types)
        numbers = [self.account(each) for each in accounts]
        index = self.grow.add("classes")
        self.grow.add("need")
        begin, end = self.grow.extend(cells)
        account_begin, account_end = self.grow.extend(numbers)
        scope_begin, scope_end = self.grow.extend(
            [number for tier, first, last in scopes for number in (tier, begin + first, begin + last)]
        )
        part, part_end = self._add_parts([wants.workers[rank] for rank in ranks])
        self.grow.reserve("room", self.grow.count("classes"))
        row = self.pool.classes[index]
        row.account, row.accounts, row.accounts_end = numbers[0], account_begin, account_end
        row.queues_end = account_begin + sum(kind == QUEUE for kind, _ in accounts)
        row.rank, row.is_pinned, row.root = wants.rank, wants.is_pinned, -1
        row.devices = sum(devices_of(worker)[0] for worker in wants.workers)
        row.touches = sum(max(devices_of(worker)[0], devices_of(worker)[1] > 0) for worker in wants.workers)
        row.part, row.part_end, row.cells, row.cells_end = part, part_end, begin, end
        row.scopes, row.scopes_end = scope_begin, scope_end
        self.pool.need[index] = need_of(wants.workers)
        self._link(index, cells, numbers)
        return Class(index, tuple(ranks))

    def _add_parts(self, workers: list[Devices]) -> tuple[int, int]:
        """Rows of `parts` for workers, equal ones together."""
        first = self.grow.count("parts")
        for at, worker in enumerate(workers):
            if at and worker == workers[at - 1]:
                self.pool.parts[self.grow.count("parts") - 1].workers += 1
                continue
            row = self.grow.add("parts")
            part = self.pool.parts[row]
            part.devices, part.milli = devices_of(worker)
            part.workers, part.cpu, part.memory = 1, worker.cpu_milli, worker.memory_bytes
            part.kind = kind_number(worker)
        return first, self.grow.count("parts")

    def expect(self, kinds: "Sequence[tuple[Devices, float]]") -> None:
        """Have workers placed so that what is left suits these: what each needs, and how often such come."""
        self.pool.size[state.EXPECTED] = min(KINDS, len(kinds))
        for row, (worker, share) in zip(self.pool.parts[:KINDS], kinds, strict=False):
            row.devices, row.milli = devices_of(worker)
            row.cpu, row.memory = worker.cpu_milli, worker.memory_bytes
            row.kind, row.share = kind_number(worker), share

    def _link(self, klass: int, cells: list[int], accounts: list[int]) -> None:
        first = self.grow.add("links", len(cells) + len(accounts))
        pool = self.pool
        places = [pool.cells[each] for each in cells] + [pool.accounts[each] for each in accounts]
        for link, place in enumerate(places, first):
            pool.links[link].klass, pool.links[link].after, place.link = klass, place.link, link


def _size(worker: Devices) -> tuple[int, int, int, int]:
    return (*devices_of(worker), worker.cpu_milli, worker.memory_bytes)


def empty_pool(layout: Layout) -> Pool:
    """The arrays with nodes and nothing else."""
    nodes, cells = layout.nodes(), layout.cell_rows()
    words = int(cells.word_end.max(initial=0))
    return Pool(
        nodes=nodes,
        cells=cells,
        tally=np.zeros((len(cells), layout.levels), np.int64),
        bits=np.zeros((layout.levels, words), np.uint64),
        shares=np.full((len(nodes), max(1, layout.levels - 1)), state.WHOLE, np.int64),
        classes=rows(16, state.CLASS),
        parts=rows(16, state.PART),
        lists=np.zeros(64, np.int64),
        links=rows(64, state.LINK),
        accounts=rows(8, state.ACCOUNT),
        used=np.zeros((8, AMOUNTS), np.int64),
        guarantee=np.zeros((8, AMOUNTS), np.int64),
        limit=np.zeros((8, AMOUNTS), np.int64),
        crowds=rows(8 * state.RANKS, state.CROWD),
        renewed_at=np.full(1, -np.inf),
        pace=np.zeros(6),
        need=np.zeros((16, AMOUNTS), np.int64),
        capacity=layout.capacity(),
        jobs=rows(64, state.JOB),
        workers=rows(64, state.WORKER),
        room=rows(64, state.ROOM),
        plan=rows(64, state.PLAN),
        size=state.size_of_nothing(),
    )
