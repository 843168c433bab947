"""Content that nothing names is let go of, day by day; what is named stays."""

import hashlib
import os

from lepton.server.pruning import Pruning
from lepton.store import domains
from tests.server.house import API, House, error_of, wait_until


def test_an_upload_that_lied_is_let_go_of_and_an_object_is_not(house: House) -> None:
    kept = house.store(os.urandom(40_000))
    large = os.urandom(40 << 20)  # more than a pack, so that a part is stored before the lie is seen
    error_of(house.http.put(f"{API}/vault/objects/{hashlib.sha256(b'x').hexdigest()}", content=large), 422, "integrity")
    platform = house.platform
    packs = house.config.data / "vault" / "domains"
    rows = "SELECT pack FROM vault_packs"
    wait_until(lambda: len(platform.database.read(lambda tx: tx.rows(rows))) == 2, "the part is stored", 60)
    pruning = Pruning(platform.database, platform.objects.vault, platform.clock)
    (domain,) = (id for workspace, id in platform.database.read(domains.every) if workspace == "default")
    assert pruning.prune("default", domain).marked == 1
    house.clock.advance(90_000)
    assert pruning.prune("default", domain).removed == 1
    assert len([path for path in packs.rglob("*") if path.is_file()]) == 1
    assert house.http.get(f"{API}/vault/objects/{kept}").status_code == 200
