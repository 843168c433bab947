"""What a workspace may keep, with many writers at once: nobody is over it, and who was refused takes no room."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

from lepton.server.files import At, How
from lepton.vault.store.branches import Author
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


def limit(house: House, size: int, workspace: str = "default") -> None:
    house.ask("PUT", "/vault/quota", {"workspace": workspace, "limit_bytes": size})


def slowly(body: bytes, *before: Callable[[], object]) -> Iterator[bytes]:
    """A body without a length, with something done before each of its first pieces."""
    for number, at in enumerate(range(0, len(body), MIB // 2)):
        if number < len(before):
            before[number]()
        yield body[at : at + MIB // 2]


def test_what_says_its_length_has_it_reserved_and_is_refused_before_it_comes(house: House) -> None:
    limit(house, 60 * MIB)
    reserved, go_on = Event(), Event()
    other = house.visitor(house.token)

    def halting() -> Iterator[bytes]:
        body = noise("first", 40 * MIB)
        yield body[: 30 * MIB]  # more than lies in buffers: it is reserved by now
        reserved.set()
        assert go_on.wait(20)
        yield body[30 * MIB :]

    def first() -> int:
        sized = {"content-length": str(40 * MIB)}
        return house.http.put(f"{V}/files/first?workspace=default", content=halting(), headers=sized).status_code

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(first)
        assert reserved.wait(20)
        put(other, "second", noise("second", 25 * MIB), status=413)
        digest = hashlib.sha256(noise("third", 25 * MIB)).hexdigest()
        answer = other.put(f"{V}/objects/{digest}?workspace=default", content=noise("third", 25 * MIB))
        error_of(answer, 413, "storage_quota")
        put(other, "fits", noise("fits", 15 * MIB))
        go_on.set()
        assert waits.result() == 201
    assert stored(house) <= 60 * MIB
    assert read(other, "first") == noise("first", 40 * MIB) and read(other, "fits") == noise("fits", 15 * MIB)


def test_of_many_who_write_at_once_those_that_fit_get_in_and_nobody_is_locked_out(house: House) -> None:
    limit(house, 20 * MIB)
    together = Barrier(6)

    def write(number: int) -> int:
        body = noise(f"{number}", 8 * MIB)
        visitor = house.visitor(house.token)
        pieces = slowly(body, together.wait)
        return visitor.put(f"{V}/files/n{number}?workspace=default", content=pieces, timeout=60).status_code

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(write, range(6)))
    assert sorted(answers) == [201, 201, 413, 413, 413, 413]
    assert stored(house) < 16.5 * MIB
    for number, status in enumerate(answers):
        if status == 201:
            assert read(house.http, f"n{number}") == noise(f"{number}", 8 * MIB)
    put(house.http, "more", noise("more", 3 * MIB))


def test_what_lies_in_packs_already_counts_once(house: House) -> None:
    limit(house, 45 * MIB)
    put(house.http, "packs", noise("packs", 44 * MIB))
    limit(house, 90 * MIB)
    assert (
        house.http.put(f"{V}/files/more?workspace=default", content=slowly(noise("more", 45 * MIB))).status_code == 201
    )


def test_a_version_of_what_another_workspace_holds_counts_in_this_one(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    limit(house, 2 * MIB, "lab")
    digest = house.store(noise("model", 3 * MIB))
    wish = {"kind": "raw", "name": "v", "files": [{"path": "f", "digest": digest, "size_bytes": 3 * MIB}]}
    assert house.ask("POST", "/catalog/versions?workspace=lab", wish, status=413)["code"] == "storage_quota"
    limit(house, 4 * MIB, "lab")
    house.ask("POST", "/catalog/versions?workspace=lab", wish, status=201)


def test_a_copy_from_another_workspace_holds_up_no_writer(house: House) -> None:
    house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
    put(house.http, "f", noise("f", 3 * MIB))
    seen: list[int] = []

    def tell(done: int, total: int) -> None:
        seen.append(done)
        put(house.http, "between", noise(f"{len(seen)}", 100), workspace="lab")

    source, target = At(workspace="default"), At(workspace="lab")
    done = house.platform.files.copy(source, "f", target, "g", Author(by="ann"), how=How(progress=tell))
    assert done == 1 and seen and seen[-1] == 3 * MIB
    assert read(house.http, "g", workspace="lab") == noise("f", 3 * MIB)
    assert read(house.http, "between", workspace="lab") == noise(f"{len(seen)}", 100)
