"""More than one server, and servers that come again: leases, keys, events."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copy
from threading import Event

import pytest

from lepton.core.clock import ManualClock, to_micros
from lepton.core.errors import ConfigError, StaleError
from lepton.server.config import ServerConfig
from lepton.server.folder import lock_folder
from lepton.server.lease import Lease
from lepton.store import leases
from tests.server.house import API, House, error_of, open_house, wait_until
from tests.server.test_streams import watching


def test_one_folder_has_one_server(tmp_path: Path) -> None:
    with (
        open_house(tmp_path / "data"),
        pytest.raises(ConfigError, match="in use by process"),
        open_house(tmp_path / "data"),
    ):
        pass
    with open_house(tmp_path / "data") as again:
        assert again.ask("GET", "/security/whoami")["name"] == "admin"


def test_a_folder_is_given_back_when_nobody_can_write_to_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_house(tmp_path / "data") as house, ThreadPoolExecutor(1) as other:
        house.ask("POST", "/security/workspaces", {"name": "lab"}, status=201)
        assert house.http.put(f"{API}/vault/files/a", content=b"a" * 5000).status_code == 201
        driver, stuck, go_on = house.platform.objects.vault.driver, Event(), Event()
        get = driver.get

        def slow(key: str, **part: int) -> Iterator[bytes]:
            stuck.set()
            go_on.wait(20)
            return get(key, **part)

        monkeypatch.setattr(driver, "get", slow)
        copy_it = {"name": "a", "to": "b", "source": "default"}
        copying = other.submit(lambda: house.http.post(f"{API}/vault/copies?workspace=lab", json=copy_it))
        assert stuck.wait(10)
        closing = asyncio.run_coroutine_threadsafe(house.platform.close(), house.loop)
        with pytest.raises(TimeoutError):
            closing.result(0.3)
        with pytest.raises(ConfigError, match="in use by process"):
            lock_folder(tmp_path / "data")
        go_on.set()
        closing.result(10)
        assert error_of(copying.result(), 503, "unavailable")["message"] == "The server is ending"
        lock_folder(tmp_path / "data").close()


def test_a_killed_servers_leases_hold_up_nobody_in_its_own_folder(tmp_path: Path) -> None:
    with open_house(tmp_path / "data") as house:
        far = to_micros(house.clock.now()) + 10**15  # type: ignore[union-attr]
        job = house.submit(cpus=64, course={"seconds": 1e9})["id"]
        house.wait(job, "running")
        stuck = house.submit(cpus=64)["id"]
        steal = lambda tx: [leases.clear(tx), *(leases.take(tx, n, "dead", now=0, until=far) for n in NAMES)]  # noqa: E731
        house.platform.database.write(steal)
    with open_house(tmp_path / "data") as house:
        house.ask("POST", f"/jobs/{stuck}/stop", {})
        house.wait(stuck, "cancelled")


NAMES = ("placing", "jobs", "serving")


def holder_of(house: House, name: str) -> str:
    rows = house.platform.database.read(lambda tx: tx.rows("SELECT lock_token FROM leases WHERE name = ?", (name,)))
    return str(rows[0][0]) if rows else ""


def pair(tmp_path: Path, url: str) -> tuple[dict[str, object], dict[str, object]]:
    """Settings of two servers that share a database and its key."""
    second = tmp_path / "b"
    second.mkdir(mode=0o700)
    settings: dict[str, object] = {"database": url, "lease_s": 2.0, "heartbeat_s": 1.0, "engine": SIMULATED}
    settings["storage"] = str(tmp_path / "packs")
    return {"data": tmp_path / "a", **settings}, {"data": second, **settings}


SIMULATED = "simulated"


def test_of_two_servers_on_one_database_one_decides_and_the_other_takes_over(
    tmp_path: Path, fresh_postgres: str
) -> None:
    first, second = pair(tmp_path, fresh_postgres)
    with open_house(**first) as a:  # type: ignore[arg-type]
        wait_until(lambda: all(holder_of(a, name) for name in NAMES), "the first decides")
        copy(tmp_path / "a" / "key", tmp_path / "b" / "key")
        with open_house(**second) as b:  # type: ignore[arg-type]
            owner = holder_of(a, "jobs")
            assert not (tmp_path / "b" / "token").exists()
            b.http.headers["authorization"] = f"Bearer {a.token}"
            with watching(a.http) as events:
                job = b.submit(course={"seconds": 1e9}, cpus=64)["id"]
                told = next(event for event in events if event["kind"] == "job")
                assert (told["subject"], told["verb"]) == (job, "created")
            a.wait(job, "running")
            assert b.job(job)["state"] == "running" and holder_of(b, "jobs") == owner
            stale = next(lease for lease in a.platform.leases if lease.name == "jobs")
            for lease in a.platform.leases:
                lease.hold = lambda: False  # type: ignore[method-assign]  # as a server that hangs
            b.engine.advance(2.1)
            wait_until(lambda: holder_of(b, "jobs") not in ("", owner), "the other has taken over", 15)
            with pytest.raises(StaleError):
                a.platform.database.write(stale.check)
            waiting = b.submit(cpus=64)["id"]
            b.ask("POST", f"/jobs/{waiting}/stop", {})
            b.wait(waiting, "cancelled")


def test_a_server_with_another_key_is_refused_before_it_does_harm(tmp_path: Path, fresh_postgres: str) -> None:
    first, second = pair(tmp_path, fresh_postgres)
    with open_house(**first):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="there is no key file") as refused, open_house(**second):  # type: ignore[arg-type]
            pass
        assert "copy `key` from the first one's data directory" in refused.value.fix
        (tmp_path / "b" / "key").write_text("11" * 32 + "\n")
        with pytest.raises(ConfigError, match="not the one"), open_house(**second):  # type: ignore[arg-type]
            pass
    with open_house(tmp_path / "c"):
        pass
    (tmp_path / "c" / "key").write_text("00" * 32 + "\n")
    with pytest.raises(ConfigError, match="key"), open_house(tmp_path / "c"):
        pass


def test_a_second_server_without_the_shared_storage_is_told_to_give_it(tmp_path: Path, fresh_postgres: str) -> None:
    first, second = ({**each, "storage": ""} for each in pair(tmp_path, fresh_postgres))
    with open_house(**first):  # type: ignore[arg-type]
        copy(tmp_path / "a" / "key", tmp_path / "b" / "key")
        with pytest.raises(ConfigError, match="with another server") as refused, open_house(**second):  # type: ignore[arg-type]
            pass
        assert "start both with --storage URL" in refused.value.fix


def test_a_lease_is_renewed_in_time_even_if_its_loop_looks_round_only_at_each_heartbeat(house: House) -> None:
    """A turn just before a third has passed does not renew it; the next, a heartbeat later and slow, still does."""
    usual, clock = ServerConfig(data=Path("x")), ManualClock()
    database = house.platform.database
    mine, other = (
        Lease("heartbeat", token, database=database, clock=clock, lease_s=usual.lease_s) for token in ("a", "b")
    )
    assert mine.hold()
    clock.advance(usual.lease_s / 3 - 0.01)
    assert mine.hold()
    clock.advance(usual.heartbeat_s + 1.0)
    assert not other.hold() and mine.hold()


def test_a_lease_is_extended_by_its_holder_and_refused_to_others(house: House) -> None:
    clock = ManualClock()
    database = house.platform.database
    mine, other = (Lease("test", token, database=database, clock=clock, lease_s=10) for token in ("a", "b"))
    assert mine.hold() and not other.hold()
    clock.advance(9)
    assert mine.hold() and not other.hold()
    clock.advance(10.1)
    assert other.hold() and not mine.hold()
    with pytest.raises(StaleError):
        database.write(mine.check)
    other.release()
    assert mine.hold()


def test_a_config_that_cannot_work_is_refused() -> None:
    for settings in ({"port": 70_000}, {"lease_s": 1.0}, {"max_body_bytes": 0}, {"heartbeat_s": -1.0}):
        with pytest.raises(ConfigError):
            ServerConfig(data=Path("x"), **settings)  # type: ignore[arg-type]
