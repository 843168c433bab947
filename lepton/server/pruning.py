"""Once a day, let go of versions that workspaces do not keep, and of content that nothing names any more."""

import logging

from lepton.core.clock import Clock, believed, to_micros
from lepton.core.errors import IntegrityError, NotFoundError, StaleError
from lepton.server.backups import PLATFORM
from lepton.server.jumps import Jumps
from lepton.server.ownership import Ownership
from lepton.server.retention import Retention
from lepton.store import domains, facts, holdings, retained
from lepton.store.database import Database
from lepton.store.vault import versions_named
from lepton.vault.store.blobs import read_blob
from lepton.vault.store.compacting import FEW
from lepton.vault.store.prune import LEASE_S, Caution, Pruned, Roots, prune
from lepton.vault.vault import Vault

log = logging.getLogger("lepton")
EVERY_S = 86_400
LAST = "pruned_at"
ORPHAN_S = 30 * 86_400
"""In a storage that others can reach, what no row names may be what another copy of this database has written."""


class Pruning:
    """The loop."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, ownership: Ownership) -> None:
        self._database, self._vault, self._clock, self._ownership = database, vault, clock, ownership
        self._retention, self._jumps = Retention(database, vault, clock), Jumps(database, clock)

    def turn(self) -> None:
        """Prune if the last time was a day ago. What cannot be read stops only the domain that it lies in.

        Raises:
            StorageSharedError: another copy of the database uses the storage; nothing is removed.
        """
        now = to_micros(self._clock.now())
        self._jumps.doubt_s()
        last = int(self._database.read(lambda tx: facts.get(tx, LAST)) or 0)
        if not last:  # a new platform has nothing to prune
            self._database.write(lambda tx: facts.put(tx, LAST, str(now)))
        if not last or now - believed(last, now) < EVERY_S * 1_000_000:
            return
        if last > now:
            log.warning("the last pruning lies ahead, for the clock was set back since: it is done again now")
        self._ownership.check()
        for workspace, domain in self._database.read(domains.every):
            try:
                if workspace != PLATFORM:
                    self._retention.carry_out(workspace)
                done = self.prune(workspace, domain)
            except (StaleError, IntegrityError, NotFoundError) as fault:
                log.warning("pruning of %s: %s", workspace or "the platform", fault)
            else:
                log.info("pruning of %s: %s", workspace or "the platform", done)
        self._database.write(lambda tx: facts.put(tx, LAST, str(now)))

    def prune(self, workspace: str, domain: bytes) -> Pruned:
        """Prune one domain; raises as `vault.store.prune.prune`."""
        chunks = self._vault.domain(domain).chunks
        is_ours = workspace == PLATFORM  # dumps of earlier backups lie where those are
        versions = self._database.read(lambda tx: versions_named(tx, domain, heads_only=is_ours))
        gone = self._database.read(lambda tx: retained.let_go(tx, domain, versions))
        blobs = self._database.read(lambda tx: holdings.blobs(tx, domain))
        roots = Roots(
            versions=[id for id in versions if id not in gone],
            records=gone,
            blobs=(read_blob(blob) for blob in blobs),
            with_parents=not is_ours and not gone,
        )
        now = to_micros(self._clock.now())
        doubt_s = self._jumps.doubt_s()
        orphan_s = ORPHAN_S if self._ownership.is_shared else LEASE_S
        caution = Caution(lease_s=LEASE_S + doubt_s, orphan_s=orphan_s + doubt_s, check=self._ownership.check)
        return prune(chunks, roots, now=now, caution=caution, compacts=FEW)
