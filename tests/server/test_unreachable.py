"""A storage that is gone is called that: nothing that lies there is taken for damaged or lost."""

from pathlib import Path

import pytest

from lepton.core.errors import StorageUnreachableError
from lepton.server.backups import back_up, keep_recovery_key, new_recovery_key
from lepton.server.checking import check_backup, check_house
from lepton.server.config import ServerConfig
from lepton.server.house import open_house as opened_data
from lepton.server.opening import open_manifest
from lepton.store.vault import packs_present
from lepton.vault.backup.target import Target
from lepton.vault.driver import Head
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.uses import BACKUPS_MARK
from tests.server.house import open_house
from tests.server.test_backups import CLOCK, quiet
from tests.server.test_dumps import Safe
from tests.server.test_storage import put


def unmount(folder: Path) -> None:
    """Leave an empty folder, as a mount point without its mount."""
    folder.rename(folder.with_name("unmounted"))
    folder.mkdir()


def test_a_vault_whose_storage_goes_while_it_is_checked_is_not_damaged(tmp_path: Path) -> None:
    data, packs = tmp_path / "data", tmp_path / "packs"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == put(house, "b", b"other") == 201
    with opened_data(ServerConfig(data=data, storage=str(packs)), CLOCK) as beside:
        gone = list[int]()

        def unmount_once(done: int, total: int) -> None:
            if not gone:
                unmount(packs)
            gone.append(done)

        with pytest.raises(StorageUnreachableError):
            check_house(beside, progress=unmount_once)
        assert len(gone) == 1, "no other pack was asked for"


def test_a_place_that_goes_while_it_is_checked_is_not_damaged(tmp_path: Path) -> None:
    safe = Safe(tmp_path)
    driver = LocalDriver(safe.safe)
    driver.pin(BACKUPS_MARK)
    target = Target(driver, str(safe.safe))
    with opened_data(safe.place.config, CLOCK) as beside:
        manifest = open_manifest(target, key=None, root=beside.opens_with)
    gone = list[int]()

    def unmount_once(done: int, total: int) -> None:
        if not gone:
            unmount(safe.safe)
        gone.append(done)

    with pytest.raises(StorageUnreachableError):
        check_backup(target, manifest, CLOCK, progress=unmount_once)


def test_dumps_are_not_let_go_of_where_the_vaults_storage_is_gone(tmp_path: Path) -> None:
    data, packs, place = tmp_path / "data", tmp_path / "packs", tmp_path / "place"
    with open_house(data, storage=str(packs)) as house:
        assert put(house, "a") == 201
    with opened_data(ServerConfig(data=data, storage=str(packs)), CLOCK) as beside:
        keep_recovery_key(beside, new_recovery_key(beside, is_another=False))
        target = Target(LocalDriver(place), str(place))
        back_up(beside, target, progress=quiet)
        before = beside.database.read(packs_present)
        unmount(packs)
        with pytest.raises(StorageUnreachableError):
            back_up(beside, target, progress=quiet)
        assert beside.database.read(packs_present) == before


def test_a_place_that_goes_while_a_backup_is_made_gets_none(tmp_path: Path) -> None:
    safe = Safe(tmp_path)
    with open_house(safe.data) as house:
        house.store(b"more" * 50_000)
    target = Target(LocalDriver(safe.safe), str(safe.safe))
    gone = list[int]()

    def unmount_once(done: int, total: int) -> None:
        if not gone:
            unmount(safe.safe)
        gone.append(done)

    with opened_data(safe.place.config, CLOCK) as beside:
        with pytest.raises(StorageUnreachableError):
            back_up(beside, target, progress=unmount_once)
        assert beside.last_backup() == 1
    assert not list(safe.safe.iterdir()), "nothing is written into the mount point"


class Spot(LocalDriver):
    """A disk with one file on a spot that cannot be read."""

    bad = ""

    def head(self, key: str) -> Head:
        if key == self.bad:
            raise StorageUnreachableError(f"{key}: Input/output error", fix="Look at the mount.")
        return super().head(key)


def test_one_pack_on_a_bad_spot_is_named_and_all_else_is_read(tmp_path: Path) -> None:
    safe = Safe(tmp_path)
    driver = Spot(safe.safe)
    driver.bad = str(safe.contents.relative_to(safe.safe))
    target = Target(driver, str(safe.safe))
    with opened_data(safe.place.config, CLOCK) as beside:
        manifest = open_manifest(target, key=None, root=beside.opens_with)
    assert list(check_backup(target, manifest, CLOCK, progress=quiet).damaged) == [driver.bad]
