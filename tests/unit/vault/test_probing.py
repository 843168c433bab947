"""What a probe says of a storage that is busy while it is probed."""

from pathlib import Path

import pytest

from lepton.core.errors import StorageUnreachableError
from lepton.vault.driver import Driver, Head
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.drivers.probing import TRIES, probe


class Busy(LocalDriver):
    """Does not answer the first so many writers of a key that must be absent."""

    left = 0

    def create_if_absent(self, key: str, body: bytes) -> Head:
        if Busy.left:
            Busy.left -= 1
            raise StorageUnreachableError("It does not answer", fix="Try again.")
        return super().create_if_absent(key, body)


@pytest.mark.parametrize(("faults", "can"), [(TRIES - 1, True), (10_000, False)])
def test_a_busy_moment_does_not_count_as_what_a_storage_cannot_do(tmp_path: Path, faults: int, can: bool) -> None:
    def open_one() -> Driver:
        return Busy(tmp_path)

    Busy.left = faults
    found = probe(open_one, only=["create_if_absent", "exact_names"])
    assert (found.create_if_absent, found.exact_names) == (can, True)
    assert ("does not answer" in found.why_not.get("create_if_absent", "")) is not can
    assert not list(tmp_path.glob("probe-*"))
