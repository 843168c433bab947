"""Content that nothing names is let go of, day by day; what is named stays."""

import os

from lepton.store import domains
from tests.server.house import API, House


def test_what_was_stored_and_never_named_is_let_go_of_and_an_object_is_not(house: House) -> None:
    kept = house.store(os.urandom(40_000))
    platform = house.platform
    packs = house.config.data / "vault" / "domains"
    (domain,) = (id for workspace, id in platform.database.read(domains.every) if workspace == "default")
    lost = platform.objects.vault.domain(domain).chunks.writing()
    lost.put(os.urandom(40_000))
    lost.finish()  # and then its writer died
    pruning = house.pruning()
    assert pruning.prune("default", domain).marked == 1
    house.clock.advance(90_000)
    assert pruning.prune("default", domain).removed == 1
    assert len([path for path in packs.rglob("*") if path.is_file()]) == 1
    assert house.http.get(f"{API}/vault/objects/{kept}").status_code == 200
