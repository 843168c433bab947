"""What a workspace may keep, with many writers at once: nobody is over it, and who was refused takes no room."""

import hashlib
from collections.abc import Iterator

from tests.server.house import API, House, error_of
from tests.server.test_files import put, read

V = f"{API}/vault"
MIB = 1 << 20


def noise(seed: str, size: int) -> bytes:
    return hashlib.shake_256(seed.encode()).digest(size)


def stored(house: House) -> int:
    return int(house.ask("GET", "/vault/quota")["stored_bytes"])


def test_what_was_refused_beside_small_writers_leaves_nothing(house: House) -> None:
    other = house.visitor(house.token)
    body = noise("large", 48 * MIB)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), MIB):
            put(other, f"small/{at}", noise(f"{at}", 100))
            yield body[at : at + MIB]

    for _ in range(2):
        answer = house.http.put(f"{V}/objects/{'0' * 64}?workspace=default", content=pieces())
        error_of(answer, 422, "integrity")
        assert stored(house) < MIB
    assert read(other, "small/0") == noise("0", 100)
