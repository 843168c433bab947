"""Addresses, credentials and patience of storages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lepton.core.errors import ConfigError, InvalidError, LeptonError, StorageRefusedError, StorageUnreachableError
from lepton.vault.drivers.credentials import Credentials, from_environment, from_file
from lepton.vault.drivers.local import LocalDriver
from lepton.vault.drivers.opening import KINDS, address_of, open_driver, read_address
from lepton.vault.drivers.patience import Patience, retried

SECRET = "Tr0ub4dor&3"


def test_a_path_and_a_file_url_are_the_same_folder(tmp_path: Path) -> None:
    for url in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"):
        driver = open_driver(url)
        assert isinstance(driver, LocalDriver)
        assert driver.root == tmp_path / "a b"


def test_an_address_is_taken_apart() -> None:
    found = read_address("nfs://nas:2049/srv/my%20data/x/?uid=1000&export=srv")
    assert (found.scheme, found.host, found.port, found.path) == ("nfs", "nas", 2049, "srv/my data/x")
    assert found.options == {"uid": "1000", "export": "srv"}


@pytest.mark.parametrize(
    "url",
    [
        f"s3://user:{SECRET}@bucket/prefix",
        f"smb://user:{SECRET}@host/share",
        f"sftp://{SECRET}@host/folder",
        f"webdav://host:{SECRET}/folder",
        f"s3://bucket/prefix?secret={SECRET}",
        f"s3://bucket/prefix?endpoint=http://user:{SECRET}@host",
        f"smb://host/share/folder#{SECRET}",
        f"{SECRET}://host/folder",
        f"smb:///{SECRET}",
        f"file://{SECRET}/folder",
        f"smb://host/share/../{SECRET}",
        f"smb://host/share/%00{SECRET}",
        f"hdfs://host:8020/folder?http={SECRET}",
        f"nfs://host/export/folder?uid={SECRET}",
    ],
)
def test_an_address_that_cannot_be_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises((InvalidError, LeptonError)) as refused:
        open_driver(url, patience=Patience(connect_s=0.1, answer_s=0.1, attempts=1)).head("k")
    assert isinstance(refused.value, InvalidError)
    assert SECRET not in f"{refused.value} {refused.value.fix}" or url.startswith(SECRET)


@pytest.mark.parametrize("scheme", [scheme for scheme, kind in KINDS.items() if kind.extra])
def test_a_missing_package_is_told_with_the_extra_to_install(scheme: str) -> None:
    code = (
        "import sys; from lepton.core.errors import ConfigError; from lepton.vault.drivers.opening import open_driver\n"
        "for name in ('obstore', 'hdfs_native', 'smbclient', 'nfs_rs', 'paramiko'): sys.modules[name] = None\n"
        f"try: open_driver('{scheme}://host/share/folder')\n"
        "except ConfigError as fault: print(fault.fix)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"pip install 'lepton-platform[{KINDS[scheme].extra}]'"


def test_no_client_library_is_imported_before_it_is_needed() -> None:
    code = "import sys, lepton.vault.drivers.opening, lepton.vault.drivers.probing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"obstore", "hdfs_native", "smbclient", "nfs_rs", "paramiko", "httpx"} & set(done.stdout.split())


def test_credentials_show_no_secret() -> None:
    one = Credentials(user="me", secret=SECRET, token=SECRET, private_key=SECRET, authority=SECRET)
    assert SECRET not in repr(one) + str(one) + one.fingerprint()
    assert one.fingerprint() != Credentials(user="me", secret=SECRET + "!").fingerprint()
    assert one.fingerprint() == Credentials(**{n: getattr(one, n) for n in one.__dataclass_fields__}).fingerprint()


def test_credentials_come_from_the_environment_or_a_closed_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"user": "me", "secret": SECRET}))
    path.chmod(0o600)
    wanted = Credentials(user="me", secret=SECRET)
    assert from_file(path) == wanted
    assert from_environment({"LEPTON_STORAGE_USER": "me", "LEPTON_STORAGE_SECRET": SECRET}) == wanted
    assert from_environment({"LEPTON_STORAGE_FILE": str(path), "LEPTON_STORAGE_USER": "other"}) == wanted
    assert from_environment({}) == Credentials()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_with_credentials_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"secret": SECRET}))
    path.chmod(mode)
    with pytest.raises(ConfigError, match="read by others") as refused:
        from_file(path)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", '{"pass": "x"}', '{"secret": 5}', "\xff"])
def test_a_file_that_holds_no_credentials_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        from_file(path)
    with pytest.raises(ConfigError):
        from_file(tmp_path / "none")


def test_only_what_is_unreachable_is_tried_again_and_not_for_ever() -> None:
    patience, tries = Patience(attempts=3, pause_s=0), []

    def failing(kind: type[LeptonError], times: int) -> int:
        tries.append(kind)
        if len(tries) <= times:
            raise kind("no")
        return len(tries)

    assert retried(lambda: failing(StorageUnreachableError, 2), patience) == 3
    tries.clear()
    with pytest.raises(StorageUnreachableError):
        retried(lambda: failing(StorageUnreachableError, 9), patience)
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(StorageRefusedError):
        retried(lambda: failing(StorageRefusedError, 9), patience)
    assert len(tries) == 1


def test_patience_states_its_longest_time() -> None:
    assert Patience(connect_s=1, answer_s=2, attempts=3, pause_s=0.5).longest_s == 3 * 3 + 0.5 + 1
    for wrong in ({"attempts": 0}, {"answer_s": 0}, {"pause_s": -1}):
        with pytest.raises(InvalidError):
            Patience(**wrong)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageRefusedError):
        open_driver(str(tmp_path / "file" / "below"))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("url", ["s3://", "s3:/bucket", "S3:/bucket", "s3:", "smb:///", "file:/folder"])
def test_an_address_that_lost_its_host_is_no_folder_of_this_machine(url: str) -> None:
    with pytest.raises(InvalidError):
        address_of(url)
    with pytest.raises(InvalidError):
        open_driver(url)
