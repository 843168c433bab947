"""What older versions kept is read, checked, and can be taken away."""

from hashlib import sha256
from pathlib import Path

import pytest

from lepton.core.errors import IntegrityError, InvalidError, NotFoundError
from lepton.vault.driver import CHUNK_BYTES
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.plain import PlainObjects

BODY = bytes(range(256)) * 5000
DIGEST = sha256(BODY).hexdigest()


def test_an_object_is_read_whole_and_in_ranges_and_goes(tmp_path: Path) -> None:
    objects = PlainObjects(LocalDriver(tmp_path))
    assert objects.put(BODY) == DIGEST and objects.size(DIGEST) == len(BODY)
    assert b"".join(objects.open(DIGEST)) == BODY
    assert b"".join(objects.open(DIGEST, start=9, stop=20)) == BODY[9:20]
    objects.delete(DIGEST)
    for gone in (lambda: objects.size(DIGEST), lambda: objects.open(DIGEST)):
        with pytest.raises(NotFoundError):
            gone()
    with pytest.raises(InvalidError):
        objects.size("../key")


@pytest.mark.parametrize("at", [0, CHUNK_BYTES + 3, len(BODY) - 1])
def test_damage_is_told_before_the_last_chunk(tmp_path: Path, at: int) -> None:
    objects = PlainObjects(LocalDriver(tmp_path))
    objects.put(BODY)
    damaged = bytearray(BODY)
    damaged[at] ^= 1
    (tmp_path / "objects" / DIGEST[:2] / DIGEST[2:]).write_bytes(damaged)
    seen = b""
    with pytest.raises(IntegrityError):
        for chunk in objects.open(DIGEST):
            seen += chunk
    assert len(seen) < len(BODY)
