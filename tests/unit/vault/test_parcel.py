"""What a parcel is called is signed, also of those that an older Lepton sent."""

import pytest

from lepton.core.errors import IntegrityError
from lepton.vault.parcel import Parcel, Site, open_parcel, seal_parcel

HERE, THERE = (Site(opens=bytes([number]) * 32, signs=bytes([number + 1]) * 32) for number in (1, 3))
AT = 1_795_000_000_123_456  # 2026-11-18 11:06:40.123456 UTC
ID = "20261118T110640123456-0a1b2c3d"


def sealed(id: str) -> bytes:
    empty = {"files": 0, "size_bytes": 0, "keys": (), "packs": ()}
    ids = {"domain": bytes(16), "vault_root": bytes(32), "version": bytes(32)}
    parcel = Parcel(id=id, order=AT, at=AT, name="x", **ids, **empty)  # type: ignore[arg-type]
    return seal_parcel(parcel, recipient=THERE.key, sender=HERE)


@pytest.mark.parametrize(
    ("id", "name", "is_it"),
    [
        (ID, ID, True),
        (ID, ID[:-1] + "e", False),
        (ID, "20261118T110640-0a1b2c3d", False),
        (ID, "20991118T110640123456-0a1b2c3d", False),
        ("", ID, True),
        ("", ID[:-1] + "e", True),
        ("", "20261118T110640-0a1b2c3d", True),
        ("", "20261118T110640123457-0a1b2c3d", False),
        ("", "20261118T110641-0a1b2c3d", False),
        ("", "", False),
    ],
)
def test_a_parcel_opens_under_the_name_that_it_was_sent_with(id: str, name: str, is_it: bool) -> None:
    body = sealed(id)
    if is_it:
        assert open_parcel(body, name, recipient=THERE, sender=HERE.key).at == AT
        return
    with pytest.raises(IntegrityError, match="was sent as 20261118T110640"):
        open_parcel(body, name, recipient=THERE, sender=HERE.key)
