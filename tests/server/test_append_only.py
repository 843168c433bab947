"""A place whose storage keeps what lies there: checked at each backup, and nothing is let go of there."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from lepton.core.errors import (
    ConflictError,
    IntegrityError,
    InvalidError,
    LeptonError,
    NotFoundError,
    StorageRefusedError,
)
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.opening import open_driver
from lepton.vault.drivers.s3 import S3Driver
from tests.backends.seaweed import KEY, SECRET, after_all, asked, make_bucket, retain, seaweed, sent
from tests.server.house import House, open_house
from tests.server.test_schedules import DAY, Clockwork, call, refused, run


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with seaweed() as storage:
        yield f"http://127.0.0.1:{storage.port}"


@pytest.fixture(scope="module")
def ledger(endpoint: str) -> str:
    """The address of a bucket whose default lock lasts a day, up to its prefix."""
    make_bucket(endpoint, "ledger")
    retain(endpoint, "ledger", days=1)
    return "s3://ledger/{}?endpoint=" + endpoint


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEPTON_STORAGE_USER", KEY)
    monkeypatch.setenv("LEPTON_STORAGE_SECRET", SECRET)
    with open_house(tmp_path / "data") as house:
        house.version()
    run("recovery-key", "--out", tmp_path / "kit", "--data", tmp_path / "data")
    return tmp_path / "data"


def locked_place(endpoint: str, bucket: str, *, days: int) -> str:
    """For backups, in a new bucket that locks what comes for so many days."""
    make_bucket(endpoint, bucket)
    retain(endpoint, bucket, days=days)
    return f"s3://{bucket}/x?endpoint={endpoint}"


def test_a_schedule_refuses_a_storage_that_is_not_append_only(data: Path, endpoint: str, tmp_path: Path) -> None:
    make_bucket(endpoint, "loose")
    for place in (tmp_path / "safe", f"s3://loose/x?endpoint={endpoint}"):
        for dry in ((), ("--dry-run",)):
            words = ("schedule", "--to", place, "--every", "1d", "--append-only", "--data", data, *dry)
            refused(ConflictError, "not append-only", *words)
    assert run("backups", "--data", data).strip().count("\n") == 0


def test_an_append_only_place_lets_nothing_go_and_says_so(data: Path, ledger: str) -> None:
    place = ledger.format("x")
    words = ("schedule", "--to", place, "--every", "1d", "--keep-last", 1, "--data", data)
    for said in (run(*words, "--append-only", "--dry-run"), run(*words), run(*words, "--append-only")):
        assert "all are kept, whatever --keep-" in said and "is locked for 1 days" in said
    run("backup", "--to", place, "--append-only", "--data", data)
    run("backup", "--to", place, "--data", data)
    assert "lets go of" not in run(*words)
    for dry in ((), ("--dry-run",)):
        fault = refused(
            ConflictError, "keeps what lies there", "forget", "--at", place, "--keep-last", 1, "--data", data, *dry
        )
        assert "lifecycle" in fault.fix and "need" in fault.fix


def test_a_storage_that_is_no_longer_append_only_gets_no_scheduled_backup_and_an_alert(
    data: Path, endpoint: str
) -> None:
    place = locked_place(endpoint, "was", days=1)
    with open_house(data) as house:
        clockwork = present(house)
        run("schedule", "--to", place, "--every", "1d", "--append-only", "--data", data)
        assert clockwork.after(1).last_number == 1 and not clockwork.alerts("firing")
        retain(endpoint, "was", days=1, mode="GOVERNANCE")
        stands = clockwork.after(DAY)
        assert stands.last_number == 1 and "not append-only" in stands.fault
        (alert,) = clockwork.alerts("firing")
        assert "not append-only" in alert["spec"]["cause"]
        retain(endpoint, "was", days=1)
        assert clockwork.after(DAY).last_number == 2 and not clockwork.alerts("firing")
        run("schedule", "--to", place, "--every", "1d", "--data", data)  # said again, without it
        retain(endpoint, "was", days=1, mode="GOVERNANCE")
        assert clockwork.after(DAY).last_number == 3


def test_what_backups_need_stays_locked_as_long_as_they_are_made(data: Path, endpoint: str) -> None:
    place = locked_place(endpoint, "long", days=4)
    with open_house(data) as house:
        clockwork = present(house)
        run("schedule", "--to", place, "--every", "12h", "--append-only", "--data", data)
        assert clockwork.after(1).last_number == 1
        first = locks(endpoint, "long")
        assert all(until >= house.clock.now() + timedelta(days=4, minutes=-5) for until in first.values())
        assert clockwork.after(DAY / 2).last_number == 2
        second = locks(endpoint, "long")
        assert {key for key in first if second[key] != first[key]} <= {"x/lepton-backup-owner"}  # written each time
        assert clockwork.after(DAY / 2).last_number == 3
        third = locks(endpoint, "long")
        assert third.keys() > first.keys()
        assert all(until >= house.clock.now() + timedelta(days=4, minutes=-5) for until in third.values())
        assert not clockwork.alerts("firing")
        told = house.ask("GET", "/events?scope=platform&limit=1000")["items"]
        events = [event["why"] for event in told if event["verb"] == "locked"]
        assert len(events) == 2 and f"{len(third)} objects at {place} until" in events[-1]
    other = place.replace("/x?", "/y?")
    words = ("backup", "--to", other, "--new", "--append-only", "--data", data)
    assert "All that lies there is locked until" in run(*words)
    said = run(*words)
    assert "is made" in said and "is locked until" not in said


def present(house: House) -> Clockwork:
    """Its clockwork, at the time of the bucket, which goes by its own."""
    assert house.clock is not None
    house.clock.advance((datetime.now(UTC) - house.clock.now()).total_seconds())  # type: ignore[attr-defined]
    return Clockwork(house)


def locks(endpoint: str, bucket: str) -> dict[str, datetime]:
    """Until when each object is locked."""
    listed = asked(endpoint, "GET", bucket, query="list-type=2").text
    found = {}
    for key in re.findall("<Key>(.*?)</Key>", listed):
        told = asked(endpoint, "GET", f"{bucket}/{key}", query="retention").text
        (until,) = re.findall("<RetainUntilDate>(.*?)</RetainUntilDate>", told)
        found[key] = datetime.fromisoformat(until)
    return found


def test_what_somebody_with_the_key_has_hidden_is_restored_from_the_past_and_comes_back(
    data: Path, endpoint: str, ledger: str, tmp_path: Path
) -> None:
    place = ledger.format("hidden")
    for _ in range(2):
        run("backup", "--to", place, "--data", data)
    past = f"{place}&as_of={quote(after_all(endpoint, 'ledger').isoformat())}"
    hide_all(endpoint, "ledger", "hidden/")
    assert refused_at(place, data)
    kit = ("--recovery-key", tmp_path / "kit")
    assert "are whole" in run("verify", "--at", past, *kit)
    assert "are whole" in run("verify", "--at", past, "--data", data)
    assert run("backups", "--at", past, "--data", data).count("\n") == 3
    run("restore", "--from", past, *kit, "--into", tmp_path / "again")
    assert (tmp_path / "again" / "lepton.db").exists()
    refused(StorageRefusedError, "is the past", "backup", "--to", past, "--data", data)
    refused(StorageRefusedError, "is the past", "schedule", "--to", past, "--every", "1d", "--data", data)
    for how in (("--data", data), kit):
        run("repair", "--at", place, "--from", past, *how)
        assert "are whole" in run("verify", "--at", place, *kit)
        hide_all(endpoint, "ledger", "hidden/")
    run("repair", "--at", place, "--from", past, *kit)
    run("backup", "--to", place, "--data", data)
    assert "are whole" in run("verify", "--at", place, "--data", data)


def hide_all(endpoint: str, bucket: str, prefix: str) -> None:
    """As somebody would who has the key: one object is written over, the next deleted."""
    listed = asked(endpoint, "GET", bucket, query="list-type=2").text
    keys = re.findall(f"<Key>({prefix}.*?)</Key>", listed)
    assert keys
    for number, key in enumerate(keys):
        body = {"method": "PUT", "body": b"garbage"} if number % 2 else {"method": "DELETE"}
        assert sent(endpoint, path=f"{bucket}/{key}", **body).status_code in (200, 204)  # type: ignore[arg-type]


def refused_at(place: str, data: Path) -> bool:
    """Whether what lies there cannot be read."""
    return isinstance(call("verify", "--at", place, "--data", data).exception, LeptonError)


def test_a_backup_names_what_somebody_has_hidden_and_its_first_version_stays_locked(data: Path, endpoint: str) -> None:
    place = locked_place(endpoint, "over", days=4)
    with open_house(data) as house:
        clockwork = present(house)
        run("schedule", "--to", place, "--every", "12h", "--append-only", "--data", data)
        assert clockwork.after(1).last_number == 1
        after_all(endpoint, "over")
        write_over(endpoint, "over", "x/domains/", "x/dumps/")
        stands = clockwork.after(DAY)  # locks are renewed
        assert stands.last_number == 2
        assert "were written over or deleted" in stands.fault and "x/domains/" not in stands.fault
        assert "domains/" in stands.fault and "as_of=" in stands.fault
        for key, ends in version_locks(endpoint, "over", "x/domains/").items():
            assert all(end >= house.clock.now() + timedelta(days=4, minutes=-5) for end in ends), key
        (alert,) = clockwork.alerts("firing")
        assert "written over" in alert["spec"]["cause"]
    words = ("backup", "--to", place, "--append-only", "--data", data)
    fault = refused(IntegrityError, "3 files at", *words)
    (past,) = re.findall("--from '(.*?)'", fault.fix)
    run("repair", "--at", place, "--from", past, "--data", data)
    assert "are whole" in run("verify", "--at", place, "--data", data)
    assert "is made" in run(*words)
    for number in (1, 2):
        assert sent(endpoint, "DELETE", f"over/x/backups/{number:08}").status_code == 204
        assert sent(endpoint, "DELETE", f"over/x/manifests/{number:08}").status_code == 204
    refused(IntegrityError, "4 files at", *words)


def write_over(endpoint: str, bucket: str, *prefixes: str) -> None:
    """With zeros of the same size."""
    listed = asked(endpoint, "GET", bucket, query="list-type=2").text
    found = re.findall("<Key>(.*?)</Key>.*?<Size>(.*?)</Size>", listed)
    wanted = [(key, int(size)) for key, size in found if key.startswith(prefixes)]
    assert wanted
    for key, size in wanted:
        asked(endpoint, "PUT", f"{bucket}/{key}", body=bytes(size))


def version_locks(endpoint: str, bucket: str, prefix: str) -> dict[str, list[datetime]]:
    """Until when each version of an object is locked."""
    found = dict[str, list[datetime]]()
    driver = open_driver(f"s3://{bucket}?endpoint={endpoint}", Credentials(user=KEY, secret=SECRET))
    assert isinstance(driver, S3Driver)
    for version in driver.versions():
        if version.key.startswith(prefix) and version.etag:
            told = asked(endpoint, "HEAD", f"{bucket}/{version.key}", query=f"versionId={version.id}").headers
            until = datetime.fromisoformat(told["x-amz-object-lock-retain-until-date"])
            found.setdefault(version.key, []).append(until)
    assert any(len(ends) > 1 for ends in found.values())
    return found


def test_the_past_is_worked_on_although_backups_were_made_since(
    data: Path, ledger: str, endpoint: str, tmp_path: Path
) -> None:
    place, kit = ledger.format("then"), tmp_path / "kit"
    run("backup", "--to", place, "--data", data)
    past = f"{place}&as_of={quote(after_all(endpoint, 'ledger').isoformat())}"
    run("backup", "--to", place, "--data", data)
    run("backup", "--to", tmp_path / "safe", "--new", "--data", data)
    run("recovery-key", "--refresh", kit, "--data", data)
    for key in (("--data", data), ("--recovery-key", kit)):
        assert "are whole" in run("verify", "--at", past, *key)
        assert "Backup 1 restores" in run("drill", "--at", past, *key)
        run("restore", "--from", past, "--only", "default", "--into", tmp_path / f"out{key[0]}", *key)
    said = run("restore", "--from", past, "--recovery-key", kit, "--into", tmp_path / "again")
    assert "older than backup 3, of which the recovery key knows" in said and "no older" not in said
    early = past.partition("as_of=")[0] + "as_of=2020-01-01"
    told = refused(NotFoundError, "No backups lie at", "verify", "--at", early, "--data", data)
    assert "later" in told.fix and "but" not in told.message
    for wrong, why in ((past + "&as_of=2020-01-01", "twice"), (early.replace("2020", "2220"), "yet to come")):
        refused(InvalidError, why, "verify", "--at", wrong, "--data", data)


def test_a_backup_on_demand_is_as_append_only_as_the_schedule_of_its_place(data: Path, endpoint: str) -> None:
    place = locked_place(endpoint, "asked", days=1)
    run("schedule", "--to", place, "--every", "1d", "--append-only", "--data", data)
    assert "All that lies there is locked" in run("backup", "--to", place, "--data", data)
    retain(endpoint, "asked", days=1, mode="GOVERNANCE")
    refused(ConflictError, "not append-only", "backup", "--to", place, "--data", data)
    retain(endpoint, "asked", days=1)
    after_all(endpoint, "asked")
    write_over(endpoint, "asked", "x/domains/")
    told = refused(IntegrityError, "were written over", "backup", "--to", place, "--data", data)
    assert "FAILED: " in run("backups", "--data", data) and told.message[:30] in run("backups", "--data", data)
    run("repair", "--at", place, "--from", re.findall("--from '(.*?)'", told.fix)[0], "--data", data)
    run("backup", "--to", place, "--data", data)
    assert "good" in run("backups", "--data", data)
