"""Which versions of its files a workspace keeps: the rule that its administrator set, carried out once a day."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from lepton.core.clock import Clock, to_micros
from lepton.core.event import Event
from lepton.core.resource import Resource
from lepton.core.size import number_of
from lepton.server.jumps import Jumps
from lepton.server.people import find_named
from lepton.server.submit import Author, changed
from lepton.store import domains, events, resources, retained
from lepton.store.database import Database, Tx
from lepton.vault.backup.retention import Keep
from lepton.vault.store.branches import MAIN, TAGS
from lepton.vault.store.retention import Choice, choose, heads_of
from lepton.vault.store.state import Move
from lepton.vault.store.versions import merge_base
from lepton.vault.vault import Vault

RULE = "keep_versions"
ACTOR = "loop:pruning"
MOST_BRANCHES = 16
"""Of so many the bases of merges with each other are kept; of more, those of merges with `main`."""
MOST_TOLD = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a rule means now."""

    keep: Keep
    choice: Choice


def rule_of(tx: Tx, workspace: str) -> Keep:
    """What a workspace keeps; nothing said: all versions.

    Raises:
        NotFoundError: there is no such workspace.
    """
    return Keep(**find_named(tx, "workspace", "", workspace).spec.get(RULE, {}))


def set_rule(tx: Tx, workspace: str, keep: Keep, author: Author) -> Resource:
    """Let a workspace keep versions by a rule; raises as `rule_of`."""
    found = find_named(tx, "workspace", "", workspace)
    spec = {name: value for name, value in found.spec.items() if name != RULE}
    spec |= {RULE: {name: count for name, count in asdict(keep).items() if count}} if keep else {}
    newer = replace(found, spec=spec, updated_at=author.at)
    event = changed(found, "retention set", author, str(keep) or "all versions are kept")
    return resources.update(tx, newer, event, expected=found.revision)


class Retention:
    """Carries the rules out. Any thread may use it."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database, self._vault, self._clock, self._jumps = database, vault, clock, Jumps(database, clock)

    def plan(self, workspace: str, keep: Keep | None = None) -> Planned:
        """What a rule (None: the workspace's own) would let go of now.

        Raises:
            NotFoundError: there is no such workspace.
            IntegrityError: a version cannot be read.
        """
        rule = self._database.read(lambda tx: rule_of(tx, workspace)) if keep is None else keep
        known = self._database.read(lambda tx: domains.find(tx, workspace))
        if known is None or not rule:
            return Planned(keep=rule, choice=Choice())
        domain, now = known[1], to_micros(self._clock.now()) - int(self._jumps.doubt_s() * 1e6)
        moves = self._database.read(lambda tx: retained.moves_of(tx, domain))
        choice = choose(moves, rule, now=now, bases=self._bases(domain, moves, now))
        over = self._database.read(lambda tx: retained.let_go(tx, domain, choice.gone))
        for id in over:
            del choice.gone[id]
        return Planned(keep=rule, choice=choice)

    def carry_out(self, workspace: str) -> int:
        """Let go of what the workspace's rule says; return how many versions. Their content is pruned later."""
        planned = self.plan(workspace)
        if not planned.choice.gone:
            return 0
        return len(self._database.write(lambda tx: self._let_go(tx, workspace, planned)))

    def _let_go(self, tx: Tx, workspace: str, planned: Planned) -> list[bytes]:
        found = domains.find(tx, workspace)
        now = self._clock.now()
        gone = retained.add(tx, found[1], [*planned.choice.gone], to_micros(now)) if found else []
        if gone:
            event = Event(
                subject=workspace,
                kind="retention",
                workspace=workspace,
                verb="let go",
                why=f"{number_of(len(gone), 'version')}: kept are {planned.keep}",
                actor=ACTOR,
                at=now,
                data={"versions": [id.hex() for id in gone[:MOST_TOLD]], "count": len(gone)},
            )
            events.append(tx, event)
        return gone

    def _bases(self, domain: bytes, moves: Mapping[str, Sequence[Move]], now: int) -> set[bytes]:
        """The versions that branches were parted at, living ones and those that can come back: merges need them."""
        chunks = self._vault.domain(domain).chunks
        heads = [(name, id) for name, id in heads_of(moves, now).items() if not name.startswith(TAGS)]
        anchors = heads if len(heads) <= MOST_BRANCHES else [head for head in heads if head[0] == MAIN]
        pairs = {frozenset((a, b)) for _, a in anchors for _, b in heads if a != b}
        found = {merge_base(chunks, *pair) for pair in pairs}
        return found - {b""}
