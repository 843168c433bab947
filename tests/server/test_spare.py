"""What is damaged and needed by nobody is no failure, and goes: who follows the advice comes to `all is well`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.errors import IntegrityError
from lepton.store import domains
from tests.server.house import House, open_house
from tests.server.test_backups import BODY, Place, packs_in, spoiled

SPOILS: dict[str, Callable[[Path], object]] = {
    "a box": lambda path: spoiled(path, 100_000),
    "its header": lambda path: spoiled(path, 3),
    "the id in its header": lambda path: spoiled(path, 40),
    "its directory": lambda path: spoiled(path, path.stat().st_size - 100),
    "its end": lambda path: spoiled(path, path.stat().st_size - 3),
    "all behind its boxes": lambda path: path.write_bytes(path.read_bytes()[:-150] + bytes(150)),
    "cut": lambda path: os.truncate(path, 5000),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "gone": Path.unlink,
    "another pack": lambda path: path.write_bytes(
        min(packs_in(path.parents[4]), key=lambda p: p.name == path.name).read_bytes()
    ),
}
TOLD = ("its header", "the id in its header", "its directory", "its end", "longer")
"""The pack itself says what it was."""
KNOWN = (*TOLD, "all behind its boxes")
"""Boxes are whole, and where they lie is in the server's index."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill()
    return made


def vault(*words: object) -> Result:
    return CliRunner().invoke(cli, ["vault", *map(str, words)])


def well(*words: object) -> str:
    done = vault(*words)
    assert done.exit_code == 0, done.exception
    return done.output


def large(folder: Path) -> Path:
    (pack,) = (path for path in packs_in(folder) if path.stat().st_size > len(BODY))
    return pack


def pruned(house: House) -> None:
    """What a server does in three days."""
    for _ in range(4):
        for workspace, domain in house.platform.database.read(domains.every):
            house.pruning().prune(workspace, domain)
        house.clock.advance(80_000)


def test_what_was_damaged_and_sent_again_is_no_failure_and_goes(place: Place) -> None:
    contents, digests, packs = dict[str, bytes](), dict[str, str](), dict[str, Path]()
    data = ("--data", place.data)
    with open_house(place.data) as house:
        for spoil in SPOILS:
            before, contents[spoil] = set(packs_in(place.data / "vault")), os.urandom(300_000)
            digests[spoil] = house.store(contents[spoil])
            (packs[spoil],) = set(packs_in(place.data / "vault")) - before
        for spoil, pack in packs.items():
            SPOILS[spoil](pack)
        told = str(vault("verify", *data).exception)
        assert all(pack.name in told for pack in packs.values())
        assert {spoil for spoil in SPOILS if digests[spoil] not in told} == set(TOLD) - {"longer"}
        fault = vault("repair", *data).exception
        assert isinstance(fault, IntegrityError) and "send" in fault.fix
        assert {spoil for spoil in SPOILS if digests[spoil] not in fault.message} == set(KNOWN)
        for spoil, content in contents.items():
            if spoil not in KNOWN:
                house.store(content)
            assert house.http.get(f"/api/v1/vault/objects/{digests[spoil]}").content == content
        for words in ("verify", "repair", "verify"):
            told = well(words, *data)
            assert all((pack.name in told) is (spoil not in TOLD) for spoil, pack in packs.items()), words
        pruned(house)
        assert {spoil for spoil, pack in packs.items() if pack.exists()} == set(TOLD)
    assert "packs are whole" in well("verify", *data) and "0 of" in well("repair", *data)


def test_a_backup_that_needs_nothing_of_the_damage_is_whole(place: Place) -> None:
    place.new_key()
    pack = large(place.data / "vault")
    place.back_up()
    spoiled(pack, 100_000)
    spoiled(place.safe / pack.relative_to(place.data / "vault"), 100_000)
    data, at = ("--data", place.data), ("--at", place.safe)
    assert "weights.bin" in str(vault("repair", *at, *data).exception)
    with open_house(place.data) as house:
        house.store(BODY)
    well("backup", "--to", place.safe, *data)
    assert "Lost: backup 1: default: raw/w@1/weights.bin" in str(vault("repair", *at, *data).exception)
    assert "weights.bin" in str(vault("verify", *at, "--backup", 1, *data).exception)
    well("forget", *at, "--backup", 1, *data)
    for words in (("backup", "--to", place.safe), ("verify", *at), ("verify",), ("repair", *at), ("repair",)):
        assert (pack.name in well(*words, *data)) is (words[0] != "backup")
    pack.unlink()
    well("backup", "--to", place.safe, *data)
    with open_house(place.data) as house:
        pruned(house)
    well("backup", "--to", place.safe, *data)
    assert "packs are whole" in well("verify", *at, *data)
    assert "packs are whole" in well("verify", *data)


def test_what_is_whole_of_a_damaged_pack_moves_out_and_what_an_older_pack_has_too(place: Place) -> None:
    with open_house(place.data) as house:
        (domain,) = (id for workspace, id in house.platform.database.read(domains.every) if workspace == "default")
        chunks = house.platform.objects.vault.domain(domain).chunks
        before = set(packs_in(place.data / "vault"))
        batch = chunks.writing()
        for id in chunks.index.held_by(bytes.fromhex(large(place.data / "vault").name)):
            batch.put(chunks.get(id), again=True)
        batch.put(os.urandom(20_000))
        batch.finish()
        (newer,) = set(packs_in(place.data / "vault")) - before
        spoiled(newer, 100_000)
        data = ("--data", place.data)
        assert "weights.bin" in str(vault("verify", *data).exception)
        assert "moved out" in well("repair", *data)
        assert house.http.get(f"/api/v1/vault/objects/{place.digest}").content == BODY
        assert newer.name in well("verify", *data)
        pruned(house)
        assert not newer.exists()
        assert "whole" in well("verify", *data)


def test_older_versions_are_named_and_whole_again_with_what_is_sent(place: Place) -> None:
    content, data = os.urandom(300_000), ("--data", place.data)
    with open_house(place.data) as house:
        before = set(packs_in(place.data / "vault"))
        house.http.put("/api/v1/vault/files/old", content=content)
        (pack,) = set(packs_in(place.data / "vault")) - before
        house.http.delete("/api/v1/vault/files/old")
        house.http.put("/api/v1/vault/files/new", content=b"new")
        spoiled(pack, 1000)
        told = vault("repair", *data).exception
        assert isinstance(told, IntegrityError) and "default: version " in told.message and ": old" in told.message
        assert "main: " not in told.message
        house.http.put("/api/v1/vault/files/other", content=content)
        assert pack.name in well("repair", *data)
        pruned(house)
        assert not pack.exists() and "packs are whole" in well("verify", *data)


def test_a_pack_that_cannot_be_read_is_not_pruned_while_it_may_hold_what_is_needed(place: Place) -> None:
    before = set(packs_in(place.data / "vault"))
    with open_house(place.data) as house:
        small = house.store(b"one chunk")
    (pack,) = set(packs_in(place.data / "vault")) - before
    place.new_key()
    place.back_up()
    for spoil in ("all behind its boxes", "gone"):
        SPOILS[spoil](pack)
        for index in (place.data / "vault-index").iterdir():
            index.unlink()
        with open_house(place.data) as house:
            pruned(house)
            assert house.http.get(f"/api/v1/vault/objects/{small}").status_code == 500
        assert "1 of" in well("repair", "--from", place.safe, "--data", place.data)
        assert "whole" in well("verify", "--data", place.data)


@pytest.mark.parametrize("spoil", [lambda path: spoiled(path, 5), Path.unlink, lambda path: os.truncate(path, 0)])
def test_whose_a_place_is_is_written_anew(place: Place, spoil: Callable[[Path], object]) -> None:
    place.new_key()
    place.back_up()
    mark, words = place.safe / "lepton-backup", ("--at", place.safe, "--data", place.data)
    kept = mark.read_bytes()
    spoil(mark)
    assert vault("verify", *words).exit_code != 0
    assert "Nothing is damaged" in well("repair", *words)
    assert mark.read_bytes() == kept and "packs are whole" in well("verify", *words)
    place.back_up()
