"""The arrays of a replay, from a trace, a cluster and a policy."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton.pool.boosting import DAY_S, EVERY_S, Fit
from lepton.pool.kernel import predict, replay, state
from lepton.pool.kernel.cells import mark_all
from lepton.pool.kernel.replay import Replay, Setting
from lepton.pool.kernel.state import Floats, Ints, Pool, Rows, rows
from lepton.pool.policy import ENDLESS, Policy, Source
from lepton.pool.trace import Cluster, Trace

LEVELS: tuple[tuple[str, ...], ...] = (("gpus",), ("queue", "gpus"), ("user", "gpus"), ("user", "gpus", "cpus"))
"""What jobs have in common that form one group of the history, from coarse to fine."""
SIDES: tuple[tuple[str, ...], ...] = (("user",), ("queue",))
"""And one group for features of trees alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a replay assumes.

    Attributes:
        is_partitioned: each queue has its own nodes and no others; else all nodes are one pool, and a queue's own
            nodes are its guarantee.
        given: (J,) predicted run times in seconds, for policies that take them.
        restore_factor: multiplies what a restart costs.
        fit: makes boosted trees from what has ended, every `EVERY_S`; None: the means of logs are all that is learned.
    """

    is_partitioned: bool = True
    given: Floats | None = None
    restore_factor: float = 1.0
    fit: Fit | None = None


def replay_of(trace: Trace, cluster: Cluster, policy: Policy, rules: Rules) -> Replay:
    """A replay that stands at its beginning. Jobs that could never fit are not in it: see `fits`."""
    workers = -(-np.maximum(trace.gpus, 1) // cluster.per_node)
    by_submit = np.argsort(trace.submit, kind="stable")
    facts = rows(len(trace), replay.FACT)
    facts.duration, facts.given = trace.duration, given_of(trace, policy, rules)
    found = begun(
        pool_of(trace, cluster, workers, rules.is_partitioned),
        facts,
        history_of(trace, is_trusted=policy.source is Source.GIVEN, has_trees=learns(policy, rules)),
        order=order_of(policy, is_shared=not rules.is_partitioned),
        setting=setting_of(policy, rules),
    )
    if learns(policy, rules) and len(trace):
        found.pause[0] = trace.submit.min() + EVERY_S
    return found._replace(by_submit=by_submit[fits(trace, cluster, rules.is_partitioned)[by_submit]])


def begun(pool: Pool, facts: Rows, history: predict.History, *, order: state.Order, setting: Setting) -> Replay:
    """A replay of all jobs of a pool, none of which is submitted yet, at its beginning."""
    jobs = len(facts)
    pool.size[state.BY_KEY] = order.margin < ENDLESS
    return Replay(
        pool=pool,
        order=order,
        setting=setting,
        history=history,
        facts=facts,
        by_submit=np.argsort(pool.jobs.submit[:jobs], kind="stable"),
        events=rows(4 * jobs + 64, replay.EVENT),
        segments=rows(jobs + 64, replay.SEGMENT),
        nodes=np.zeros(len(pool.workers) + 64, np.int64),
        at=np.zeros(7, np.int64),
        pause=np.array([np.inf]),
    )


def setting_of(policy: Policy, rules: Rules) -> Setting:
    """What a policy knows of run times, and what stopping costs."""
    return Setting(
        source=min(int(policy.source), int(Source.GIVEN)),
        is_certain=policy.is_certain,
        prior_s=float(policy.prior_s),
        pull=float(policy.pull),
        restore_factor=float(rules.restore_factor),
        is_wary=policy.is_wary,
    )


def learns(policy: Policy, rules: Rules) -> bool:
    """Whether trees are made during a replay."""
    return rules.fit is not None and policy.source is Source.HISTORY and policy.quantile > 0


def fits(trace: Trace, cluster: Cluster, is_partitioned: bool) -> NDArray[np.bool_]:
    """(J,) whether a job could run on the empty cluster."""
    own = np.array([cluster.nodes.get(name, 0) for name in trace.queues], np.int64) * cluster.per_node
    whole = sum(cluster.nodes.values()) * cluster.per_node
    largest = own[trace.queue] if is_partitioned else np.where(own[trace.queue] > 0, whole, -1)
    return np.asarray(trace.gpus <= np.where(own[trace.queue] > 0, largest, -1))


def refusals(trace: Trace, cluster: Cluster, is_refused: NDArray[np.bool_], is_partitioned: bool) -> list[str]:
    """Of each job that was refused: its id, and why."""
    whole, said = sum(cluster.nodes.values()) * cluster.per_node, []
    for job in np.flatnonzero(is_refused).tolist():
        queue, gpus = trace.queues[trace.queue[job]], int(trace.gpus[job])
        own = cluster.nodes.get(queue, 0) * cluster.per_node
        most = f"queue {queue} has {own}" if is_partitioned else f"all queues together have {whole}"
        why = f"it asks for {gpus} GPUs, and {most}" if own else f"queue {queue} has no nodes"
        said.append(f"job {trace.id[job]}: {why}")
    return said


def order_of(policy: Policy, *, is_shared: bool) -> state.Order:
    """A policy as the kernel takes it: numbers of one type, for which it is compiled once."""
    cap_s = policy.shared_cap_s if is_shared else policy.wait_cap_s
    return state.Order(
        age=float(policy.age),
        stretch=float(policy.stretch),
        weight=float(policy.weight),
        longest=float(policy.longest),
        growth=float(policy.growth),
        floor_s=float(policy.floor_s),
        margin=float(policy.margin),
        min_run_s=float(policy.min_run_s),
        turn_s=float(policy.turn_s),
        wait_cap_s=float(cap_s),
        cap_factor=float(policy.cap_factor) if cap_s >= DAY_S else 0.0,  # a short patience is meant as it is
        adapts=policy.adapts,
        blocks=policy.blocks,
        preempts=policy.preempts,
        is_remaining=policy.is_remaining,
        has_guarantees=is_shared,
        grace_s=float(policy.grace_s),
        half_life_s=float(policy.half_life_s),
        searches=policy.searches,
        rest_s=float(policy.rest_s),
    )


def given_of(trace: Trace, policy: Policy, rules: Rules) -> Floats:
    """(J,) expected run times that come from outside; what is absent or no number counts as unknown."""
    if policy.source is Source.TRUTH:
        return trace.duration
    given = np.full(len(trace), np.nan) if rules.given is None else rules.given.astype(np.float64)
    return np.where(np.isfinite(given) & (given >= 0), given, policy.prior_s)


def pool_of(trace: Trace, cluster: Cluster, workers: Ints, is_partitioned: bool) -> Pool:
    """An idle pool before the first job."""
    counts = np.array(list(cluster.nodes.values()), np.int64)
    number, words = int(counts.sum()), -(-counts // 64)
    klass, classes, parts, lists = classes_of(trace, cluster, is_partitioned)
    accounts, cells = rows(len(counts), state.ACCOUNT), cells_of(counts, words)
    accounts.weight = 1.0
    nodes = rows(number, state.NODE)
    nodes.free = cluster.per_node
    nodes.cell, nodes.is_open = np.repeat(np.arange(len(counts)), counts), 1
    pool = Pool(
        nodes=nodes,
        cells=cells,
        tally=np.zeros((len(counts), cluster.per_node + 1), np.int64),
        bits=np.zeros((cluster.per_node + 1, int(words.sum())), np.uint64),
        shares=np.full((number, 1), state.WHOLE, np.int64),
        classes=classes,
        parts=parts,
        lists=lists,
        links=links_of(classes, lists, cells, accounts),
        accounts=accounts,
        used=np.zeros((len(counts), 1), np.int64),
        guarantee=(counts * cluster.per_node)[:, None],
        limit=np.full((len(counts), 1), state.ENDLESS, np.int64),
        crowds=rows(state.RANKS * len(counts), state.CROWD),
        renewed_at=np.full(1, -np.inf),
        pace=np.zeros(6),
        need=np.asarray(classes.devices, np.int64).copy()[:, None],
        capacity=np.array([number * cluster.per_node], np.int64),
        jobs=jobs_of(trace, klass, workers),
        workers=rows(int(workers.sum()), state.WORKER),
        room=rows(max(len(trace), len(classes)), state.ROOM),
        plan=rows(len(trace), state.PLAN),
        size=state.size_of_nothing(),
    )
    mark_all(pool)
    return pool


def cells_of(counts: Ints, words: Ints) -> Rows:
    """One cell for the nodes of each queue."""
    cells = rows(len(counts), state.CELL)
    cells.end, cells.word_end = np.cumsum(counts), np.cumsum(words)
    cells.start, cells.word = cells.end - counts, cells.word_end - words
    cells.running = cells.held_for = -1
    cells.credit_at = -np.inf  # all that it may save up is there
    return cells


def links_of(classes: Rows, lists: Ints, cells: Rows, accounts: Rows) -> Rows:
    """The chains of classes that use each cell and count in each account; their beginnings are noted there."""
    each, spans = range(len(classes)), [(classes.cells, classes.cells_end), (classes.accounts, classes.accounts_end)]
    places = [np.concatenate([lists[b:e] for b, e in zip(*span, strict=True)] or [lists[:0]]) for span in spans]
    klass = np.concatenate([np.repeat(each, end - begin) for begin, end in spans])
    place = np.concatenate([places[0], len(cells) + places[1]])
    order = np.lexsort((klass, place))  # the chain of a place goes through its classes in their order
    links, first = rows(len(place), state.LINK), np.full(len(cells) + len(accounts), -1)
    is_last = np.append(place[order][1:] != place[order][:-1], True)
    links.klass, links.after = klass[order], np.where(is_last, -1, np.arange(1, len(place) + 1))
    first[place[order][::-1]] = np.arange(len(place))[::-1]
    cells.link, accounts.link = first[: len(cells)], first[len(cells) :]
    return links


def classes_of(trace: Trace, cluster: Cluster, is_partitioned: bool) -> tuple[Ints, Rows, Rows, Ints]:
    """(J,) the class of each job; the classes, one for each queue and number of devices; their parts and cells."""
    names = list(cluster.nodes)
    queue = np.array([names.index(name) if name in cluster.nodes else 0 for name in trace.queues], np.int64)
    klass, first = kinds([queue[trace.queue], trace.gpus])
    own, gpus = queue[trace.queue][first], trace.gpus[first]
    parts = [parts_of(int(each), cluster.per_node) for each in gpus]
    allowed = [[int(each)] if is_partitioned else list(range(len(names))) for each in own]
    classes = rows(len(first), state.CLASS)
    classes.account, classes.devices, classes.touches = own, gpus, gpus
    classes.part, classes.part_end = bounds(parts)
    classes.cells, classes.cells_end = bounds(allowed)
    accounts = int(sum(map(len, allowed))) + np.arange(len(first))
    classes.accounts, classes.queues_end, classes.accounts_end = accounts, accounts + 1, accounts + 1
    scopes = int(sum(map(len, allowed))) + len(first) + 3 * np.arange(len(first))
    classes.scopes, classes.scopes_end = scopes, scopes + 3
    classes.root = -1
    flat = [each for some in parts for each in some]
    part_rows = rows(len(flat), state.PART)
    part_rows.workers, part_rows.devices = [each[0] for each in flat], [each[1] for each in flat]
    whole = np.stack([np.zeros(len(first), np.int64), classes.cells, classes.cells_end], axis=1)
    lists = np.concatenate([np.array([cell for some in allowed for cell in some], np.int64), own, whole.reshape(-1)])
    return klass, classes, part_rows, lists


def kinds(columns: Sequence[Ints]) -> tuple[Ints, Ints]:
    """(J,) a number for each row that equal rows share, counted from 0; and a row of each number."""
    number = codes(columns[0])
    for column in columns[1:]:
        values = codes(column)
        number = codes(number * (values.max(initial=0) + 1) + values)
    row = np.zeros(number.max(initial=-1) + 1, np.int64)
    row[number[::-1]] = np.arange(len(number))[::-1]
    return number, row


def codes(values: Ints) -> Ints:
    """Numbers from 0 that keep the order of some integers; by a table where they lie close, else by sorting."""
    low, high = values.min(initial=0), values.max(initial=0)
    if high - low > 4 * len(values) + 1024:
        return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
    table = np.zeros(high - low + 1, np.int64)
    table[values - low] = 1
    return np.asarray((np.cumsum(table) - 1)[values - low])


def parts_of(gpus: int, per_node: int) -> list[tuple[int, int]]:
    """Workers of a job and devices of each: as many whole nodes as it fills, and one for the rest."""
    whole, rest = divmod(gpus, per_node)
    return ([(whole, per_node)] if whole else []) + ([(1, rest)] if rest or not whole else [])


def bounds(lists: Sequence[Sized]) -> tuple[Ints, Ints]:
    """Where each of some lists begins and ends when they are put one after the other."""
    lengths = np.array([len(each) for each in lists], np.int64)
    ends = np.cumsum(lengths)
    return ends - lengths, ends


def jobs_of(trace: Trace, klass: Ints, workers: Ints) -> Rows:
    """All jobs, none submitted yet."""
    jobs = rows(len(trace), state.JOB)
    jobs.klass, jobs.submit, jobs.state = klass, trace.submit, state.ABSENT
    jobs.place_end = np.cumsum(workers)
    jobs.place = jobs.place_end - workers
    jobs.saved = np.inf
    for name in ("left", "right", "before", "after"):
        setattr(jobs, name, -1)
    return jobs


def history_of(trace: Trace, *, is_trusted: bool, has_trees: bool) -> predict.History:
    """Nothing known yet. What others predict is believed until it proves wrong; what is learned, if it proves right."""
    columns = {"gpus": trace.gpus, "queue": trace.queue, "user": trace.user, "cpus": trace.cpus}
    levels, sides = LEVELS, SIDES
    if trace.program is not None:
        columns["program"] = trace.program
        levels, sides = (*levels, ("user", "program")), (*sides, ("program",))
    groups = (*levels, *sides) if has_trees else levels
    group, begin = np.zeros((len(trace), len(groups)), np.int64), 0
    for level, names in enumerate(groups):
        number, first = kinds([columns[name] for name in names])
        group[:, level] = begin + number
        begin += len(first)
    plain = plain_of(trace) if has_trees else np.zeros((0, 0))
    return predict.history(group, len(levels), plain, rows=begin, is_trusted=is_trusted)


def plain_of(trace: Trace) -> Floats:
    """(J, 4) features that come with a job: its size, CPUs, hour of the day and day of the week."""
    hour, day = trace.submit // 3600 % 24, trace.submit // 86_400 % 7
    return np.stack([np.log1p(trace.gpus), np.log1p(trace.cpus), hour, day], axis=1)
