"""A place is for packs, for backups or for parcels: whoever wants it for another is told what it holds."""

import os
from pathlib import Path

import pytest

from lepton.core.errors import ConfigError, ConflictError, InvalidError, LeptonError, NotFoundError
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import BACKUPS_MARK, PARCELS_MARK, Use, taking, uses_of
from tests.server.house import API, open_house
from tests.server.test_storage import call, packs_in, run

BODY = os.urandom(200_000)


def refused_call(kind: type[LeptonError], text: str, *words: object) -> LeptonError:
    done = call(*words)
    assert isinstance(done.exception, kind) and text.lower() in done.exception.message.lower(), (
        done.output,
        done.exception,
    )
    return done.exception


class Site:
    """A platform with a file, a recovery key, and another platform that parcels go to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.there = folder, folder / "data", folder / "there"
        with open_house(self.data) as house:
            assert house.http.put(f"{API}/vault/files/a?workspace=default", content=BODY).status_code == 201
        with open_house(self.there):
            pass
        self.ours, self.theirs = (run("site-key", "--data", data).strip() for data in (self.data, self.there))
        run("recovery-key", "--out", folder / "kit.json", "--data", self.data)

    def words(self, use: Use, place: Path) -> tuple[object, ...]:
        """The command that uses a place."""
        if use is Use.BACKUPS:
            return ("backup", "--new", "--to", place, "--data", self.data)
        if use is Use.PARCELS:
            return ("send", "lepton://default/a", "--for", self.theirs, "--to", place, "--data", self.data)
        return ("storage", "--move-to", place, "--data", self.data)

    def use(self, use: Use, place: Path) -> None:
        run(*self.words(use, place))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def state_of(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("held", Use)
def test_a_place_is_for_one_use_only(site: Site, held: Use) -> None:
    place = site.folder / "place"
    site.use(held, place)
    assert uses_of(LocalDriver(place)) == {held}
    before = state_of(place)
    for other in set(Use) - {held}:
        fault = refused_call(ConflictError, str(held), *site.words(other, place))
        assert str(place) in fault.message and fault.fix
        if other is Use.PACKS:
            with (
                pytest.raises(ConflictError, match=str(held).capitalize()),
                open_house(site.folder / "third", storage=str(place)),
            ):
                pass
    assert state_of(place) == before
    if held is not Use.PACKS:
        site.use(held, place)


@pytest.mark.parametrize("held", [Use.BACKUPS, Use.PARCELS])
def test_what_lies_there_tells_even_without_a_mark(site: Site, held: Use) -> None:
    place = site.folder / "place"
    site.use(held, place)
    (place / (BACKUPS_MARK if held is Use.BACKUPS else PARCELS_MARK)).unlink()
    for other in set(Use) - {held}:
        refused_call(ConflictError, str(held).capitalize(), *site.words(other, place))


def test_backups_do_not_begin_where_packs_lie_of_which_nobody_knows(site: Site) -> None:
    place = site.folder / "place"
    site.use(Use.PARCELS, place)
    for path in [place / PARCELS_MARK, *(place / "parcels").iterdir()]:  # as while the first of an older Lepton is sent
        path.unlink()
    refused_call(ConflictError, "nothing says whose", *site.words(Use.BACKUPS, place))


def test_nothing_is_let_go_of_where_an_older_version_let_parcels_in(site: Site) -> None:
    place = site.folder / "place"
    site.use(Use.PARCELS, place)
    (place / PARCELS_MARK).unlink()
    parcels = site.folder / "parcels"
    (place / "parcels").rename(parcels)
    (place / "domains").rename(site.folder / "domains")
    site.use(Use.BACKUPS, place)
    parcels.rename(place / "parcels")
    for domain in (site.folder / "domains").iterdir():
        domain.rename(place / "domains" / domain.name)
    before = packs_in(place)
    run("backup", "--to", place, "--data", site.data)
    refused_call(ConflictError, "Parcels lie at", "forget", "--at", place, "--keep-last", 1, "--data", site.data)
    assert set(before) <= set(packs_in(place))
    run("receive", "lepton://default/got", "--from", place, "--sent-by", site.ours, "--data", site.there)


@pytest.mark.parametrize("within", ["domains/x", "dumps", "dumps/x", "parcels", "backups/deep/er"])
def test_no_place_lies_among_what_belongs_to_another(site: Site, within: str) -> None:
    outer = site.folder / "place"
    site.use(Use.BACKUPS, outer)
    for use in (Use.PARCELS, Use.PACKS):
        fault = refused_call(ConflictError, str(outer), *site.words(use, outer / within))
        assert fault.fix
    other = site.folder / "other"
    site.use(Use.PARCELS, other / within)
    refused_call(ConflictError, "parcels", *site.words(Use.BACKUPS, other))


def test_the_data_directory_is_for_nothing_else(site: Site) -> None:
    for place in (site.data, site.data / "vault", site.data / "x"):
        refused_call(InvalidError, "lies in the data directory", *site.words(Use.PARCELS, place))
        refused_call(InvalidError, "lies in the data directory", *site.words(Use.BACKUPS, place))
    for place in (site.data, site.data / "x"):
        refused_call(LeptonError, "data", *site.words(Use.PACKS, place))
    fresh = site.folder / "fresh"
    for place in (fresh, fresh / "x"):
        with pytest.raises(ConfigError, match="the data directory"), open_house(fresh, storage=str(place)):
            pass
    for place in (site.there, site.there / "vault"):  # of another platform
        if place.name == "vault":
            for use in Use:
                refused_call(ConflictError, "acks of a platform lie at", *site.words(use, place))


@pytest.mark.parametrize("use", Use)
def test_the_data_directory_of_another_platform_is_no_place(site: Site, use: Use) -> None:
    before = state_of(site.there)
    refused_call(ConflictError, "data directory of a platform", *site.words(use, site.there))
    assert state_of(site.there) == before


def test_backups_do_not_begin_in_or_around_the_storage_of_packs(site: Site) -> None:
    site.use(Use.PACKS, site.folder / "a" / "packs")
    refused_call(ConflictError, "lie in each other", *site.words(Use.BACKUPS, site.folder / "a" / "packs" / "b"))
    refused_call(ConflictError, "lie in each other", *site.words(Use.BACKUPS, site.folder / "a"))
    site.use(Use.BACKUPS, site.folder / "a" / "backups")


def test_of_two_who_take_a_place_at_once_neither_harms_the_other(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path)
    with pytest.raises(ConflictError, match="Parcels lie at"), taking(driver, "x", Use.BACKUPS, BACKUPS_MARK):
        driver.put(BACKUPS_MARK, [b"{}"])
        driver.put("parcels/1", [b"came meanwhile"])
    assert uses_of(driver) == {Use.PARCELS}


def test_what_lies_where_something_else_is_looked_for_is_said(site: Site) -> None:
    place = site.folder / "place"
    site.use(Use.PARCELS, place)
    refused_call(NotFoundError, "but parcels", "verify", "--at", place, "--data", site.data)
    other = site.folder / "other"
    site.use(Use.BACKUPS, other)
    words = ("receive", "lepton://default/x", "--from", other, "--sent-by", site.ours, "--data", site.there)
    refused_call(NotFoundError, "but backups", *words)
