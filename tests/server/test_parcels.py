"""Files handed to another site: sealed for it alone, signed, whole or not at all."""

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lepton.cli.main import cli
from lepton.core.clock import ManualClock, SystemClock, from_micros, to_micros
from lepton.core.errors import (
    IntegrityError,
    InvalidError,
    LeptonError,
    NotFoundError,
    StaleError,
    StorageUnreachableError,
)
from lepton.server import parcels, sending
from lepton.server.config import ServerConfig
from lepton.server.files import At
from lepton.server.house import open_house as opened_data
from lepton.server.house import owner
from lepton.vault.backup.target import Target
from lepton.vault.driver import Head
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.parcel import read_site_key
from tests.server.house import API, House, open_house

BODY = os.urandom(400_000)
FILES = {"set/a.bin": BODY, "set/deep/b.txt": b"words " * 999, "other": b"stays at home"}


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["vault", *map(str, words)])


def run(*words: object) -> str:
    done = call(*words)
    assert done.exception is None, (words, done.output, done.exception)
    return done.output.strip()


def refused(kind: type[LeptonError], text: str, *words: object) -> None:
    done = call(*words)
    assert isinstance(done.exception, kind) and text in done.exception.message, (done.output, done.exception)


class Sites:
    """Two platforms, and a folder that both can reach."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there, self.between = (folder / name for name in ("here", "there", "between"))
        with open_house(self.here) as house:
            for name, body in FILES.items():
                done = house.http.put(
                    f"{API}/vault/files/{name}?workspace=default&modified_at=1234567&mode=384", content=body
                )
                assert done.status_code == 201
        with open_house(self.there):
            pass
        self.ours, self.theirs = (run("site-key", "--data", data) for data in (self.here, self.there))

    def send(self, place: str = "lepton://default/set") -> str:
        return run("send", place, "--for", self.theirs, "--to", self.between, "--data", self.here)

    def receiving(self, place: str = "lepton://default/got") -> tuple[object, ...]:
        return ("receive", place, "--from", self.between, "--sent-by", self.ours, "--data", self.there)


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path)


def files_of(house: House) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = house.ask("GET", "/vault/files?recursive=true")["items"]
    return items


def test_a_folder_arrives_as_it_was_sent_and_nobody_else_can_read_it(sites: Sites) -> None:
    assert "2 files" in sites.send()
    stored = [path.read_bytes() for path in sites.between.rglob("*") if path.is_file()]
    assert stored and not any(b"words" in body or BODY[:16] in body or b"deep" in body for body in stored)
    with open_house(sites.there) as house:  # beside a running server
        assert "2 files of set" in run(*sites.receiving())
        found = files_of(house)
        assert [item["name"] for item in found] == ["got/a.bin", "got/deep/b.txt"]
        assert all((item["modified_at"], item["mode"]) == (1234567, 0o600) for item in found)
        assert house.http.get(f"{API}/vault/files/got/a.bin?workspace=default").content == BODY
        log = house.ask("GET", "/vault/log?workspace=default")["items"]
        assert len(log) == 1 and log[0]["by"] == owner() and "received set, parcel" in log[0]["message"]
        run(*sites.receiving())
        assert len(house.ask("GET", "/vault/log?workspace=default")["items"]) == 1, "the same again changes nothing"
    with open_house(sites.here) as house:
        sent = house.platform.database.read(lambda tx: tx.rows("SELECT body FROM events WHERE verb = 'sent'"))
        assert len(sent) == 1 and b"2 files" in bytes(sent[0][0])


def test_one_file_all_files_and_older_versions_can_be_sent(sites: Sites) -> None:
    run_id = sites.send("lepton://default/set/deep/b.txt").split()[1].rstrip(":")
    sites.send("lepton://default")
    with open_house(sites.there) as house:
        run(*sites.receiving("lepton://default"), "--parcel", run_id)
        assert [item["name"] for item in files_of(house)] == ["b.txt"]
        run(*sites.receiving("lepton://default"))
        assert [item["name"] for item in files_of(house)] == ["b.txt", *sorted(FILES)]
    refused(NotFoundError, "no file", "send", "lepton://default/no", *_to(sites))
    refused(NotFoundError, "no workspace", "send", "lepton://nobody/x", *_to(sites))


def test_an_older_parcel_is_not_passed_off_as_the_newest(sites: Sites) -> None:
    one = sites.send("lepton://default/set/deep/b.txt").split()[1].rstrip(":")
    two = sites.send("lepton://default/set/a.bin").split()[1].rstrip(":")
    parcels = sites.between / "parcels"
    other_tail = f"{one[:-1]}{'0' if one[-1] != '0' else '1'}"
    for name in (f"9{two[1:]}", other_tail, "zzz"):
        (parcels / name).write_bytes((parcels / one).read_bytes())
        assert f"Parcel {two} " in run(*sites.receiving())
        refused(IntegrityError, "was sent as", *sites.receiving(), "--parcel", name)
        (parcels / name).unlink()
    (parcels / two).rename(sites.between / "hidden")
    refused(IntegrityError, "a newer one of that site was received", *sites.receiving())
    assert f"Parcel {one} " in run(*sites.receiving(), "--parcel", one), "who names it means it"
    refused(IntegrityError, "a newer one of that site was received", *sites.receiving())
    (sites.between / "hidden").rename(parcels / two)
    assert f"Parcel {two} " in run(*sites.receiving())


def sent_at(sites: Sites, at: datetime, name: str, *, by_older: bool = False) -> str:
    """Send by a clock that stands at a time; as an older Lepton does, if so: by that alone."""
    with opened_data(ServerConfig(data=sites.here), ManualClock(at)) as house:
        target, key = Target(LocalDriver(sites.between), str(sites.between)), read_site_key(sites.theirs)
        sent = parcels.send(house, At(workspace="default", ref="main"), name, target, key, progress=lambda *_: None)
        if by_older:
            house.database.write(lambda tx: tx.execute("DELETE FROM facts WHERE name = 'sent'"))
    return sent.id


@pytest.mark.parametrize("by_older", [False, True])
def test_parcels_are_in_the_order_in_which_they_were_sent_whatever_the_clock_said(sites: Sites, by_older: bool) -> None:
    now = datetime.now(UTC)
    ahead = sent_at(sites, now + timedelta(days=365), "set/a.bin", by_older=by_older)
    said = run(*sites.receiving())
    assert f"Parcel {ahead} " in said and "clock was ahead" in said
    ids = [ahead]
    for days in (0, 1, -1):
        ids.append(sent_at(sites, now + timedelta(days=days), "set/deep/b.txt"))
        said = run(*sites.receiving())
        assert ("clock was ahead" in said) == (days > 0)
        told = from_micros(to_micros(now + timedelta(days=days)))
        assert f"Parcel {ids[-1]} of {told:%Y-%m-%d %H:%M} UTC" in said
    assert ids == sorted(ids) and len({*ids}) == 4
    (sites.between / "parcels" / ids[-1]).unlink()
    refused(IntegrityError, "a newer one of that site was received", *sites.receiving())


def _to(sites: Sites) -> tuple[object, ...]:
    return ("--for", sites.theirs, "--to", sites.between, "--data", sites.here)


def test_who_it_is_not_for_and_who_did_not_send_it_get_nothing(sites: Sites, tmp_path: Path) -> None:
    sites.send()
    with open_house(tmp_path / "third"):
        pass
    third = run("site-key", "--data", tmp_path / "third")
    at = ("receive", "lepton://default/x", "--from", sites.between)
    refused(NotFoundError, "for another site", *at, "--sent-by", sites.ours, "--data", tmp_path / "third")
    refused(NotFoundError, "another site", *at, "--sent-by", third, "--data", sites.there)
    assert "mistyped" in call(*at, "--sent-by", sites.ours[:-1], "--data", sites.there).output
    key = read_site_key(sites.ours)
    for at_digit in range(len("lepton-site-"), len(sites.ours)):
        digit = "a" if sites.ours[at_digit] != "a" else "b"
        with pytest.raises(InvalidError):
            assert read_site_key(sites.ours[:at_digit] + digit + sites.ours[at_digit + 1 :]) != key


def test_not_a_byte_of_a_parcel_can_be_changed(sites: Sites) -> None:
    sites.send()
    (parcel,) = (sites.between / "parcels").iterdir()
    whole = parcel.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        parcel.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert isinstance(call(*sites.receiving(), "--parcel", parcel.name).exception, IntegrityError)
    for cut in (0, 7, 100, len(whole) - 1):
        parcel.write_bytes(whole[:cut])
        assert isinstance(call(*sites.receiving(), "--parcel", parcel.name).exception, IntegrityError)
    parcel.write_bytes(whole)
    for pack in [path for path in (sites.between / "domains").rglob("*") if path.is_file()]:
        body = pack.read_bytes()
        pack.write_bytes(body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :])
    assert isinstance(call(*sites.receiving()).exception, IntegrityError)
    with open_house(sites.there) as house:
        assert files_of(house) == [], "whole or not at all"


def test_a_damaged_newest_parcel_is_told_as_damaged_and_damage_with_what_helps(sites: Sites) -> None:
    one = sites.send("lepton://default/set/deep/b.txt").split()[1].rstrip(":")
    first = {*packs(sites)}
    two = sites.send("lepton://default/set/a.bin").split()[1].rstrip(":")
    path = sites.between / "parcels" / two
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    said = run(*sites.receiving())
    assert f"Parcel {one} " in said and f"{two} lies there too" in said and "damaged" in said
    path.write_bytes(whole)
    run(*sites.receiving())
    for cut in (len(whole) // 2, 7):
        path.write_bytes(whole[:cut])
        done = call(*sites.receiving())
        assert isinstance(done.exception, IntegrityError) and "gone" not in done.exception.message
        assert two in done.exception.message and "damaged" in done.exception.message
        assert "sent again" in done.exception.fix and f"--parcel {one}" in done.exception.fix
    path.write_bytes(whole)
    for pack in {*packs(sites)} - first:
        for body in (b"", pack.read_bytes()[:-40], None):
            pack.write_bytes(body) if body is not None else pack.unlink()
            done = call(*sites.receiving("lepton://default/again"), "--parcel", two)
            assert isinstance(done.exception, IntegrityError), done.output
            assert done.exception.fix == "Have it sent again." and "repair" not in str(done.exception.fix)
    for pack in (sites.here / "vault" / "domains").rglob("packs/*/*"):
        pack.write_bytes(b"")
    done = call("send", "lepton://default/set", *_to(sites))
    assert isinstance(done.exception, LeptonError) and "lepton vault repair" in done.exception.fix


def test_what_was_cut_short_is_no_parcel(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LocalDriver.put

    def dying(self: LocalDriver, key: str, chunks: Any) -> Any:
        if key.startswith("parcels/"):
            raise StorageUnreachableError("gone", fix="")
        return whole(self, key, chunks)

    monkeypatch.setattr(LocalDriver, "put", dying)
    assert isinstance(call("send", "lepton://default/set", *_to(sites)).exception, StorageUnreachableError)
    monkeypatch.undo()
    assert not [path for path in (sites.between / "domains").rglob("*") if path.is_file()], "its packs are gone too"
    refused(NotFoundError, "No parcel", *sites.receiving())


def dies_sending(sites: Sites, where: str) -> None:
    """Send in a process of its own that is killed before it writes a key that begins so."""

    class Deadly(LocalDriver):
        def put(self, key: str, chunks: Any) -> Head:
            if key.startswith(where):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().put(key, chunks)

    child = os.fork()
    if child == 0:
        try:
            with opened_data(ServerConfig(data=sites.here), SystemClock()) as house:
                target, key = Target(Deadly(sites.between), str(sites.between)), read_site_key(sites.theirs)
                parcels.send(house, At(workspace="default", ref="main"), "set", target, key, progress=lambda *_: None)
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def packs(sites: Sites) -> list[Path]:
    return [path for path in (sites.between / "domains").rglob("*") if path.is_file()]


def test_what_a_killed_send_left_is_swept_by_a_later_one_and_nothing_else_is(sites: Sites) -> None:
    sites.send()
    whole = packs(sites)
    dies_sending(sites, "parcels/")
    left = set(packs(sites)) - set(whole)
    assert left
    sites.send("lepton://default/other")
    assert left < set(packs(sites)), "it may be under way elsewhere"
    clock = ManualClock(datetime.now(UTC) + timedelta(days=1, minutes=5))
    with opened_data(ServerConfig(data=sites.here), clock) as house:
        elsewhere = Target(LocalDriver(sites.between / "not"), str(sites.between / "not"))
        assert sending.sweep(house, elsewhere) == 0 and left < set(packs(sites))
        assert sending.sweep(house, Target(LocalDriver(sites.between), str(sites.between))) == 1
        assert sending.sweep(house, Target(LocalDriver(sites.between), str(sites.between))) == 0
    assert not left & set(packs(sites)) and set(whole) < set(packs(sites))
    run(*sites.receiving())


def test_a_parcel_whose_sender_died_after_its_last_write_stays(sites: Sites) -> None:
    sites.send()
    (parcel,) = (sites.between / "parcels").iterdir()
    with opened_data(ServerConfig(data=sites.here), SystemClock()) as house:
        (domain,) = (sites.between / "domains").iterdir()
        late = sending.Sending(
            house=house, address=str(sites.between), id=parcel.name, domain=bytes.fromhex(domain.name)
        )
        late.begin()
    clock = ManualClock(datetime.now(UTC) + timedelta(days=2))
    with opened_data(ServerConfig(data=sites.here), clock) as house:
        assert sending.sweep(house, Target(LocalDriver(sites.between), str(sites.between))) == 0
        with pytest.raises(StaleError):
            replace(late, house=house).go_on()
    run(*sites.receiving())


def test_a_quota_holds_for_what_is_received(sites: Sites) -> None:
    sites.send()
    with open_house(sites.there) as house:
        house.ask("PUT", "/vault/quota", {"workspace": "default", "limit_bytes": 1000})
        refused(LeptonError, "no room", *sites.receiving())
        assert files_of(house) == []
