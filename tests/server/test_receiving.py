"""The receiving door over HTTP: who may do what, what it refuses, and what is left of it when it is killed."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from click.testing import CliRunner

from lepton.api.receiving import make_receiving_app
from lepton.cli.listening import listen_at
from lepton.cli.main import cli
from lepton.core.clock import ManualClock
from lepton.core.errors import (
    ConfigError,
    LeptonError,
    NotFoundError,
    StorageFullError,
    StorageRefusedError,
    StorageUnreachableError,
)
from lepton.server.receiving import DAY_S, Receiver, Rules
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.opening import open_driver
from lepton.vault.drivers.patience import Patience
from tests.backends.door import WRITER, door, for_writer, serving, started
from tests.backends.process import Storage
from tests.contract.driver_contract import keys, opened, read
from tests.contract.past import check_past, write_after, write_before
from tests.ports import free_port
from tests.server.house import wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with door() as storage:
        yield storage


def base(storage: Storage) -> str:
    return f"http://127.0.0.1:{storage.port}/v1"


def bearer(storage: Storage) -> dict[str, str]:
    return {"authorization": f"Bearer {storage.credentials.token}"}


def versions(storage: Storage) -> int:
    """How many names are kept of what was hidden."""
    return sum(path.is_file() for path in (storage.folder / WRITER / ".kept").rglob("*"))


def test_nobody_without_the_token_does_or_sees_anything(storage: Storage) -> None:
    with closing(opened(storage, "secret")) as right:
        right.put("k", [b"x"])
        wrong = storage.credentials.token[:-1] + ("x" if storage.credentials.token[-1] != "x" else "y")
        for token in ("", wrong, storage.credentials.token[:20], storage.credentials.token + "0"):
            other = Storage(url=storage.url, credentials=Credentials(token=token))
            with closing(opened(other, "secret", patience=Patience(attempts=1))) as driver:
                for act in (
                    lambda: driver.put("k", [b"y"]),
                    lambda: driver.create_if_absent("new", b"y"),
                    lambda: driver.head("k"),
                    lambda: driver.get("k"),
                    lambda: driver.delete("k"),
                    lambda: list(driver.list()),
                ):
                    with pytest.raises(StorageRefusedError, match="know this token") as refused:
                        act()
                    assert not token or token not in f"{refused.value} {refused.value.fix} {driver!r}"
                assert not driver.append_only().holds
        assert read(right, "k") == b"x" and keys(right) == ["k"]
    for path in ("", "/", "/v1", "/v1/list", "/v1/about", "/docs", "/openapi.json"):
        answer = httpx.get(f"http://127.0.0.1:{storage.port}{path}", trust_env=False)
        assert answer.status_code in (401, 404) and answer.json()["code"] in ("unauthenticated", "not_found")
    basic = httpx.get(f"{base(storage)}/about", auth=("platform", storage.credentials.token), trust_env=False)
    assert basic.status_code == 401


def test_the_token_lies_in_a_file_of_its_owner_and_may_be_taken_away(tmp_path: Path) -> None:
    disk, port = tmp_path / "disk", free_port()
    with serving(disk, port) as storage, closing(opened(storage, "x")) as driver:
        path = disk / ".door" / f"{WRITER}.token"
        assert path.stat().st_mode & 0o777 == 0o600 and disk.stat().st_mode & 0o777 == 0o700
        assert str(path) in (tmp_path / "log").read_text()
        assert storage.credentials.token not in (tmp_path / "log").read_text()
        driver.put("k", [b"x"])
        path.unlink()
    with started(disk, port), closing(opened(storage, "x")) as driver:
        assert read(driver, "k") == b"x" and not path.exists()
    (disk / ".door" / f"{WRITER}.hash").unlink()
    with started(disk, port), closing(opened(storage, "x")) as driver:
        with pytest.raises(StorageRefusedError):
            driver.head("k")
        with closing(opened(for_writer(storage, WRITER), "x")) as other:
            assert read(other, "k") == b"x"


def test_over_tls_the_token_goes_to_who_has_the_certificate(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    port = free_port()
    with serving(tmp_path / "disk", port, "--tls-cert", str(cert), "--tls-key", str(key), scheme="doors") as storage:
        known = replace(storage, credentials=replace(storage.credentials, authority=cert.read_text()))
        with closing(opened(known, "x")) as driver:
            driver.put("k", [b"x"])
            assert read(driver, "k") == b"x" and driver.append_only().holds
        for other in (storage, replace(known, url=known.url.replace("doors:", "door:"))):
            driver = opened(other, "x", patience=Patience(attempts=1))
            with closing(driver), pytest.raises(StorageUnreachableError):
                driver.head("k")
    wrong = CliRunner().invoke(cli, ["vault", "door", "--dir", str(tmp_path / "other"), "--tls-cert", str(cert)])
    assert isinstance(wrong.exception, ConfigError) and not (tmp_path / "other").exists()
    short = CliRunner().invoke(cli, ["vault", "door", "--dir", str(tmp_path / "other"), "--keep", "23h"])
    assert short.exit_code == 2 and "1d or more" in short.output and not (tmp_path / "other").exists()


def test_a_door_that_is_told_to_end_does_though_somebody_still_sends(tmp_path: Path) -> None:
    disk, port = tmp_path / "disk", free_port()
    with started(disk, port) as process:
        token = (disk / ".door" / f"{WRITER}.token").read_text().strip()
        with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
            head = f"PUT /v1/files/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            line.sendall(f"{head}Content-Length: 100\r\n\r\nhalf".encode())
            wait_until(lambda: list((disk / WRITER / ".new").glob("*")), "the body is taken")
            process.terminate()
            assert process.wait(timeout=30) == 0
    assert not (disk / WRITER / "k").exists()


def test_writers_do_not_see_each_other(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path / "disk", port, "--writer", "one", "--writer", "two"):
        place = Storage(url=f"door://127.0.0.1:{port}/p", port=port, folder=tmp_path / "disk")
        one, two = (opened(for_writer(place, name), "x") for name in ("one", "two"))
        with closing(one), closing(two):
            one.put("k", [b"of one"])
            assert keys(two) == []
            two.put("k", [b"of two"])
            assert read(one, "k") == b"of one" and read(two, "k") == b"of two"
    with started(tmp_path / "disk", port), closing(opened(for_writer(place, "two"), "x")) as two:  # both stay
        assert read(two, "k") == b"of two"


def test_whatever_a_holder_of_the_token_sends_destroys_nothing(storage: Storage) -> None:
    with closing(opened(storage, "ledger")) as driver:
        driver.put("pack", [b"needed"])
        moment = datetime.now(UTC)
        before = versions(storage)
        driver.put("pack", [b"garbage"])
        driver.delete("pack")
        driver.delete("pack")
        assert keys(driver) == [] and versions(storage) == before + 2
        key = f"{base(storage)}/files/some/prefix/ledger/pack"
        head = bearer(storage) | {"x-http-method-override": "DELETE", "date": "Thu, 01 Jan 2099 00:00:00 GMT"}
        kept = next((storage.folder / WRITER / ".kept/some/prefix/ledger/pack").iterdir())
        for method, url in (
            ("DELETE", f"{key}?as_of={quote(moment.isoformat())}"),
            ("PUT", f"{key}?as_of={quote(moment.isoformat())}"),
            ("DELETE", f"{base(storage)}/files/.kept/some/prefix/ledger/pack/{kept.name}"),
            ("PUT", f"{base(storage)}/files/.kept/some/prefix/ledger/pack/{kept.name}"),
            ("PUT", f"{base(storage)}/files/..%2F.door%2Fplatform.hash"),
            ("GET", f"{base(storage)}/files/..%2F.door%2Fplatform.hash"),
            ("DELETE", f"{base(storage)}/files/%2Fetc%2Fpasswd"),
            ("DELETE", f"{base(storage)}/files/"),
            ("DELETE", f"{base(storage)}/list"),
            ("POST", key),
            ("PATCH", key),
        ):
            answer = httpx.request(method, url, headers=head, content=b"x", trust_env=False)
            assert answer.status_code in (404, 405, 409, 422), (method, url, answer.status_code)
            assert answer.json()["message"]
        assert versions(storage) == before + 2
        past = Storage(url=f"{storage.url}/ledger?as_of={quote(moment.isoformat())}", credentials=storage.credentials)
        with closing(open_driver(past.url, past.credentials)) as then:
            assert read(then, "pack") == b"needed" and keys(then) == ["pack"]


def test_the_past_is_read_and_not_written(storage: Storage) -> None:
    with closing(opened(storage, "past")) as driver:
        gone = write_before(driver)
        moment = datetime.now(UTC)
        write_after(driver)
    for then in (moment.isoformat(), (moment + timedelta(hours=2)).isoformat().replace("+00:00", "+02:00")):
        url = f"{storage.url}/past?as_of={quote(then)}"
        with closing(open_driver(url, storage.credentials)) as past:
            check_past(past, gone)
    with closing(open_driver(f"{storage.url}/past?as_of=2020-01-01", storage.credentials)) as past:
        assert list(past.list()) == []


def test_of_more_keys_than_one_answer_holds_none_is_missed(storage: Storage) -> None:
    with closing(opened(storage, "many")) as driver:
        names = [f"{number % 7}/{number:04}" for number in range(1100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: driver.put(name, [b"x"]), names))
        assert keys(driver) == sorted(names)
        assert keys(driver, "3/") == sorted(name for name in names if name.startswith("3/"))


def test_it_says_for_how_long_it_keeps_and_that_nothing_has_to_be_renewed(storage: Storage) -> None:
    with closing(opened(storage)) as driver:
        found = driver.append_only()
    assert found.holds and found.lock_s == 0 and "30 days" in found.reason


def test_what_is_too_large_or_has_no_room_is_refused_and_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", storage.port), timeout=30) as line:
        head = f"PUT /v1/files/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {storage.credentials.token}\r\n"
        line.sendall(f"{head}Content-Length: {1 << 50}\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 413 ")
    with serving(tmp_path / "disk", free_port(), "--free", "900T") as full, closing(opened(full)) as driver:
        for act in (
            lambda: driver.put("k", [bytes(MIB)] * 40),
            lambda: driver.create_if_absent("k", b"x"),
        ):
            with pytest.raises(StorageFullError, match="stay free"):
                act()
        assert keys(driver) == [] and not list((full.folder / WRITER / ".new").glob("*"))


def test_a_disk_holds_one_door_only(storage: Storage) -> None:
    with pytest.raises(ConfigError, match="in use by"):
        Receiver(storage.folder, [], Rules(keep_s=DAY_S), ManualClock())
    with pytest.raises(ConfigError, match="less than a day"):
        Rules(keep_s=DAY_S - 1)


@contextmanager
def in_thread(receiver: Receiver, *, idle_s: float) -> Iterator[int]:
    """A door of this process; its port."""
    settings = uvicorn.Config(make_receiving_app(receiver, idle_s=idle_s), log_config=None)
    server = uvicorn.Server(settings)
    with listen_at("127.0.0.1", 0) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
            receiver.close()


def test_a_body_that_stalls_or_drips_ends_and_leaves_nothing(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "disk", [], Rules(keep_s=DAY_S, free_bytes=0), ManualClock())
    token = receiver.made[0].read_text().strip()
    with in_thread(receiver, idle_s=0.2) as port:
        for sent in (b"", b"some of it"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
                head = f"PUT /v1/files/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                line.sendall(f"{head}Content-Length: 100\r\n\r\n".encode() + sent)
                assert line.recv(4096).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
            line.sendall(f"{head}Content-Length: 100\r\n\r\nhalf".encode())
        driver = open_driver(f"door://127.0.0.1:{port}/", Credentials(token=token))
        with closing(driver):
            assert keys(driver) == []
    assert not list((tmp_path / "disk" / WRITER / ".new").iterdir())


def test_an_object_is_at_most_so_large_whether_its_length_is_told_or_not(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path / "disk", [], Rules(keep_s=DAY_S, free_bytes=0, most_bytes=MIB), ManualClock())
    credentials = Credentials(token=receiver.made[0].read_text().strip())
    with (
        in_thread(receiver, idle_s=30) as port,
        closing(open_driver(f"door://127.0.0.1:{port}/", credentials)) as driver,
    ):
        for act in (lambda: driver.put("k", [b"x", bytes(MIB)]), lambda: driver.create_if_absent("k", bytes(MIB + 1))):
            with pytest.raises(StorageRefusedError, match=r"at most 1\.0 MiB"):
                act()
        driver.put("k", [bytes(MIB)])
        assert keys(driver) == ["k"]


def test_what_was_hidden_goes_once_the_doors_clock_has_passed_its_time_and_no_jump_hastens_that(tmp_path: Path) -> None:
    clock = ManualClock()
    receiver = Receiver(tmp_path / "disk", [], Rules(keep_s=40 * DAY_S, free_bytes=0), clock)
    folder = receiver.writers[0].folder
    folder.receive("k", [b"first"])
    clock.advance(100 * DAY_S)
    receiver.tidy()
    put = int(clock.now().timestamp() * 1e9)
    folder.receive("k", [b"second"])

    def first() -> bytes:
        handle, _ = folder.open_at("k", put - 1)
        with os.fdopen(handle, "rb") as file:
            return file.read()

    clock.advance(39 * DAY_S)
    assert receiver.tidy() == 0 and first() == b"first", "a pack of any age counts from when it was hidden"
    clock.jump(365 * DAY_S)
    assert receiver.tidy() == 0 and first() == b"first"
    clock.advance(0.9 * DAY_S)
    assert receiver.tidy() == 0
    clock.jump(-365 * DAY_S)
    assert receiver.tidy() == 0 and first() == b"first"
    clock.advance(0.2 * DAY_S)
    assert receiver.tidy() == 1
    with pytest.raises(NotFoundError):
        first()
    receiver.close()


def test_a_door_that_is_killed_keeps_whole_objects_or_none(tmp_path: Path) -> None:
    disk, port = tmp_path / "disk", free_port()
    acknowledged = 0
    moments = list[tuple[datetime, int]]()
    for turn in range(3):
        with started(disk, port) as process:
            place = Storage(url=f"door://127.0.0.1:{port}/p", port=port, folder=disk)
            with closing(opened(for_writer(place, WRITER), "x", patience=Patience(attempts=1))) as driver:
                if turn:
                    body = read(driver, "k")
                    assert len(body) == 6 * MIB and body == body[:1] * len(body)
                    assert body[0] in (acknowledged, acknowledged + 1)
                    acknowledged = body[0]
                    assert not list((disk / WRITER / ".new").iterdir())
                try:
                    for number in range(acknowledged + 1, 250):
                        driver.put("k", _watched(process.pid, number, stop=acknowledged > 8 * turn + 5, at=turn))
                        acknowledged = number
                        moments.append((datetime.now(UTC), number))
                except StorageUnreachableError:
                    pass
                assert process.wait(timeout=30) == -signal.SIGKILL
    with started(disk, port):
        for moment, number in moments:
            url = f"door://127.0.0.1:{port}/p/x?as_of={quote(moment.isoformat())}"
            with closing(open_driver(url, for_writer(place, WRITER).credentials)) as past:
                assert read(past, "k", 0, 1) == bytes([number]) and past.head("k").size_bytes == 6 * MIB


def _watched(pid: int, number: int, *, stop: bool, at: int) -> Iterator[bytes]:
    """Six MiB, amid or at the end of which the door may be killed."""
    for piece in range(6):
        yield bytes([number]) * MIB
        if stop and piece == min(at + 1, 5):
            os.kill(pid, signal.SIGKILL)


def test_errors_are_of_the_usual_form(storage: Storage) -> None:
    with httpx.Client(base_url=base(storage), headers=bearer(storage), trust_env=False) as client:
        for path, status in (
            ("/files/none", 404),
            ("/files/none?as_of=yesterday", 422),
            ("/files/none?as_of=2999-01-01", 422),
            ("/list?as_of=2999-01-01", 422),
            ("/list?limit=0", 422),
            ("/list?limit=1001", 422),
            ("/list?prefix=/etc", 422),
            ("/other", 404),
        ):
            answer = client.get(path)
            assert answer.status_code == status
            assert answer.json().keys() == {"code", "message", "fix"}
        client.put("/files/errors", content=b"body").raise_for_status()
        assert client.get("/files/errors", headers={"range": "bytes=9-"}).status_code == 416
        assert client.get("/files/errors", headers={"range": "lines=1"}).status_code == 422
        part = client.get("/files/errors", headers={"range": "bytes=1-2"})
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"od", "bytes 1-2/4")
        assert client.get("/files/errors").content == b"body"


def test_what_is_no_door_is_told(tmp_path: Path) -> None:
    with closing(open_driver("door://127.0.0.1:1/x", patience=Patience(attempts=1, connect_s=2))) as driver:
        with pytest.raises(StorageUnreachableError):
            driver.head("k")
        with pytest.raises(LeptonError):
            driver.append_only()
