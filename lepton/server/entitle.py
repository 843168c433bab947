"""Queues and quotas: made, changed and ended while work runs, each change with its event."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lepton.core.errors import ConflictError, InvalidError, NotFoundError, StaleError
from lepton.core.resource import Json, Resource
from lepton.pool.quota import DEFAULT, Amounts, QueueSpec, QuotaSpec, quota_name
from lepton.pool.shape import in_words
from lepton.pool.tree import check_tree, children, guaranteed
from lepton.server.landscape import Land, present, read_queues
from lepton.server.people import delete_named, find_named, make_named
from lepton.server.submit import Author, changed
from lepton.store import events, resources
from lepton.store.database import Tx

MOST_NEWS = 10_000
"""Changes of jobs between a look and a commit."""
MOST_TOLD = 3
"""Jobs that a refusal names."""


def queue_specs(tx: Tx) -> dict[str, QueueSpec]:
    """Every queue that there is, by name; that of jobs which name none is always among them."""
    return read_queues(resources.alive(tx, "queue"))


def set_queue(tx: Tx, name: str, spec: QueueSpec, author: Author, land: Land) -> tuple[Resource, Sequence[str]]:
    """Make a queue, or give it another spec; return it, and in words what of it cannot be kept at present.

    Args:
        land: as it is before.
    Raises:
        InvalidError: it cannot stand in the tree of queues, or names a workspace that is not there.
    """
    for workspace in spec.workspaces:
        if resources.by_name(tx, "workspace", "", workspace) is None:
            raise InvalidError(f"There is no workspace '{workspace}'", fix="List them: lepton workspaces list")
    queues = {**land.queues, name: spec}
    check_tree(queues)
    stored = _put(tx, "queue", name, spec.to_json(), author)
    return stored, overpromised(queues, present(land))


def find_queue(tx: Tx, name: str) -> Resource:
    """A queue that may be ended, if nothing is in it.

    Raises:
        ConflictError: it is that of jobs which name none.
        NotFoundError: there is none.
    """
    if name == DEFAULT:
        raise ConflictError(
            f"Queue '{DEFAULT}' is always there: jobs that name no queue wait in it",
            fix=f"To take its limits away: lepton pool queues set {DEFAULT} --limit '' --guarantee '' --admit ''",
        )
    found = resources.by_name(tx, "queue", "", name)
    if found is None:
        raise NotFoundError(f"There is no queue '{name[:80]}'", fix="See those that there are: lepton pool queues")
    return found


def delete_queue(tx: Tx, found: Resource, author: Author, *, seq: int, living: Sequence[str]) -> None:
    """End a queue.

    Args:
        seq: number of an event, and
        living: the jobs that lived in it then; what has changed since is read.
    Raises:
        ConflictError: jobs live in it, or queues stand below it.
    """
    name = found.name
    below = children(queue_specs(tx), name)
    if below:
        raise ConflictError(
            f"Queue '{name}' has {', '.join(below)} below it", fix="Delete those first, or give them another parent."
        )
    jobs = _living(tx, name, seq, living)
    if jobs:
        more = f" and {len(jobs) - MOST_TOLD} more" if len(jobs) > MOST_TOLD else ""
        raise ConflictError(
            f"Jobs live in queue '{name}': {', '.join(jobs[:MOST_TOLD])}{more}",
            fix="Wait for them, or stop them: lepton jobs stop JOB (of an endpoint: lepton serve delete).",
        )
    delete_named(tx, found, author)


def _living(tx: Tx, queue: str, seq: int, before: Sequence[str]) -> list[str]:
    """Ids of the jobs that wait or run in a queue now."""
    news = events.subjects_after(tx, seq, kind="job", limit=MOST_NEWS)
    changed = {subject for _, subject in news}
    if len(news) == MOST_NEWS:
        raise StaleError("Very many jobs have changed this moment", fix="Try again.")
    now = [job.id for job in resources.many(tx, sorted(changed)) if job.spec.get("queue") == queue and not job.is_final]
    return [*(job for job in before if job not in changed), *now]


def set_quota(tx: Tx, spec: QuotaSpec, author: Author) -> Resource:
    """Limit a user or a workspace, or change that limit.

    Raises:
        NotFoundError: there is no such user or workspace.
    """
    find_named(tx, spec.of, "", spec.who)
    return _put(tx, "quota", quota_name(spec.of, spec.who), spec.to_json(), author)


def find_quota(tx: Tx, of: str, who: str) -> Resource:
    """The quota of a user or a workspace.

    Raises:
        NotFoundError: there is none.
    """
    found = resources.by_name(tx, "quota", "", quota_name(of, who))
    if found is None:
        raise NotFoundError(f"There is no quota of {of} '{who[:80]}'", fix="List them: lepton pool quota")
    return found


def _put(tx: Tx, kind: str, name: str, spec: Mapping[str, Json], author: Author) -> Resource:
    """Store a spec under that name. One that is there already, the same, is left alone."""
    found = resources.by_name(tx, kind, "", name)
    if found is None:
        return make_named(tx, kind, name, spec, author)
    why = difference(found.spec, spec)
    if not why:
        return found
    newer = replace(found, spec=spec, updated_at=author.at)
    return resources.update(tx, newer, changed(found, "changed", author, f"{name}: {why}"), expected=found.revision)


def difference(old: Mapping[str, Json], new: Mapping[str, Json]) -> str:
    """What a change changes, in words; empty if nothing."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in new.items()}
    other = [name for name, value in plain.items() if _plain(old.get(name)) != _plain(value)]
    return "; ".join(f"{name} {_said(old.get(name))} -> {_said(plain[name])}" for name in other)


def _plain(value: Json) -> Json:
    """What two values are compared by: nothing said is the same in whatever form."""
    return None if value in ("", [], (), {}) else value


def _said(value: Json) -> str:
    """A value of a spec as people say it."""
    if isinstance(value, Mapping):
        return ", ".join(in_words(device, amount) for device, amount in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "all"
    return str(value) if value or value == 0 else "none"


def overpromised(queues: Mapping[str, QueueSpec], there: Amounts) -> Sequence[str]:
    """In words: of which devices more is guaranteed than there is."""
    roots = guaranteed([queues[name] for name in children(queues, "")])
    return [
        f"{in_words(device, amount)} are guaranteed, and the nodes that are there have "
        f"{in_words(device, there.get(device, 0))}"
        for device, amount in roots.items()
        if amount > there.get(device, 0)
    ]
