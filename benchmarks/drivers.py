"""CPU of each driver of the vault beside its bare library: 64 MB up and down in chunks of 8 MB, to real servers here.

    LEPTON_TEST_HADOOP=... python -m benchmarks.drivers > benchmarks/DRIVERS.md

Needs what `.ci/run` installs. MB/s of CPU time of this process (user and system), median of five rounds; servers run
beside it and are not counted. The bare library does the same without a draft, a turn, a flush or a check.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hdfs_native
import httpx
import nfs_rs
import obstore
import paramiko
import smbclient
from obstore.store import S3Store

from lepton.vault.driver import Driver
from lepton.vault.drivers.credentials import Credentials
from lepton.vault.drivers.opening import open_driver
from tests.backends import rclone
from tests.backends.ganesha import ganesha
from tests.backends.hadoop import hadoop
from tests.backends.openssh import openssh
from tests.backends.process import Storage, scratch
from tests.backends.samba import samba
from tests.backends.seaweed import seaweed

CHUNK, CHUNKS, ROUNDS = 8 << 20, 8, 5
Bare = tuple[Callable[[], None], Callable[[], int]]


def chunks() -> Iterator[bytes]:
    """64 MB; the same bytes each time."""
    for number in range(CHUNKS):
        yield bytes([number]) * CHUNK


def speed(act: Callable[[], Any]) -> str:
    """Median MB/s of CPU."""
    used = []
    for _ in range(ROUNDS):
        before = time.process_time()
        act()
        used.append(time.process_time() - before)
    return f"{CHUNK * CHUNKS / 1e6 / max(statistics.median(used), 1e-3):,.0f}"


def row(name: str, driver: Driver, bare: Bare) -> None:
    """One line of the table."""
    with closing(driver):
        up, down = bare
        mine = speed(lambda: driver.put("k", chunks())), speed(lambda: sum(map(len, driver.get("k"))))
        print(f"| {name} | {mine[0]} | {speed(up)} | {mine[1]} | {speed(down)} |", flush=True)


def local(folder: Path) -> Bare:
    """Plain files."""
    path = folder / "bare"

    def up() -> None:
        with path.open("wb", buffering=0) as file:
            file.writelines(chunks())

    def down() -> int:
        with path.open("rb", buffering=0) as file:
            return sum(map(len, iter(lambda: file.read(CHUNK), b"")))

    return up, down


def s3(storage: Storage) -> Bare:
    """obstore."""
    keys = storage.credentials
    store = S3Store(
        bucket="vault",
        endpoint=f"http://127.0.0.1:{storage.port}",
        access_key_id=keys.user,
        secret_access_key=keys.secret,
        region="us-east-1",
        client_options={"allow_http": True},
    )

    def up() -> None:
        obstore.put(store, "bare", chunks(), chunk_size=CHUNK, max_concurrency=2)

    return up, lambda: sum(len(part) for part in obstore.get(store, "bare").stream(CHUNK))


def smb(storage: Storage) -> Bare:
    """smbprotocol's smbclient."""
    keys = storage.credentials
    shared = {"username": keys.user, "password": keys.secret, "port": storage.port, "encrypt": True}
    path = r"\\127.0.0.1\data\bare"

    def up() -> None:
        with smbclient.open_file(path, mode="wb", buffering=0, **shared) as file:
            for chunk in chunks():
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]

    def down() -> int:
        with smbclient.open_file(path, mode="rb", buffering=0, share_access="r", **shared) as file:
            return sum(map(len, iter(lambda: file.read(CHUNK), b"")))

    return up, down


def nfs(storage: Storage) -> Bare:
    """nfs-rs."""
    client = nfs_rs.Client.connect(f"nfs://127.0.0.1:{storage.port}/data", versions=["4.1"], noresvport=False)

    def up() -> None:
        with client.open("/vault/bare", "wb") as file:
            for chunk in chunks():
                file.write(chunk)

    def down() -> int:
        with client.open("/vault/bare", "rb") as file:
            return sum(map(len, iter(lambda: file.read(CHUNK), b"")))

    return up, down


def hdfs(storage: Storage) -> Bare:
    """hdfs-native."""
    client = hdfs_native.Client(f"hdfs://{urlsplit(storage.url).netloc}")

    def up() -> None:
        with client.create("/bare", hdfs_native.WriteOptions(overwrite=True)) as file:
            for chunk in chunks():
                file.write(chunk)

    def down() -> int:
        file = client.read("/bare")
        return sum(len(file.read_range(at, CHUNK)) for at in range(0, len(file), CHUNK))

    return up, down


def http(url: str, auth: tuple[str, str] | None, up: str, query: str = "") -> Bare:
    """httpx; redirects followed by hand, as WebHDFS wants the body in the second request."""
    client = httpx.Client(auth=auth, trust_env=False, timeout=60)

    def put() -> None:
        answer = client.put(f"{url}{up}") if up else None
        target = answer.headers["location"] if answer is not None else url
        assert client.put(target, content=chunks()).status_code in (201, 204)

    def get() -> int:
        answer = client.get(f"{url}{query}", follow_redirects=True)
        return len(answer.content)

    return put, get


def sftp(storage: Storage) -> Bare:
    """paramiko."""
    transport = paramiko.Transport(("127.0.0.1", storage.port))
    key = paramiko.Ed25519Key(file_obj=StringIO(storage.credentials.private_key))
    transport.connect(username=storage.credentials.user, pkey=key)
    client = paramiko.SFTPClient.from_transport(transport)
    assert client is not None
    path = f"{storage.folder}/files/bare"

    def up() -> None:
        with client.open(path, "wb") as file:
            file.set_pipelined(True)
            for chunk in chunks():
                file.write(chunk)

    def down() -> int:
        target = BytesIO()
        client.getfo(path, target)
        return target.tell()

    return up, down


def main() -> None:
    """Print the table."""
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("bench"))
        weed, smbd, nfsd = (stack.enter_context(start()) for start in (seaweed, samba, ganesha))
        cluster, sshd, dav = (stack.enter_context(start()) for start in (hadoop, openssh, rclone.webdav))
        print("# Drivers of the vault: MB/s of CPU, 64 MB in chunks of 8 MB\n")
        print("Made by `python -m benchmarks.drivers` on 2 cores; the server's own CPU is not counted.\n")
        print("| storage | put | put, bare library | get | get, bare library |\n| --- | --- | --- | --- | --- |")
        root = f"http://127.0.0.1:{cluster.port}/webhdfs/v1/bare2?user.name=root&op="
        web = f"webhdfs://127.0.0.1:{cluster.port}/web"
        login = (dav.credentials.user, dav.credentials.secret)
        row("folder (bare: no flush)", open_driver(str(folder / "vault")), local(folder))
        row("S3, SeaweedFS (obstore)", open_driver(weed.url, weed.credentials), s3(weed))
        row("SMB 3 encrypted, Samba (smbprotocol)", open_driver(smbd.url, smbd.credentials), smb(smbd))
        row("NFS 4.1, ganesha (nfs-rs)", open_driver(nfsd.url), nfs(nfsd))
        row("HDFS (hdfs-native)", open_driver(cluster.url), hdfs(cluster))
        row(
            "WebHDFS (httpx)",
            open_driver(web, Credentials(user="root")),
            http(root, None, "CREATE&overwrite=true", "OPEN"),
        )
        row("SFTP, OpenSSH (paramiko)", open_driver(sshd.url, sshd.credentials), sftp(sshd))
        bare = http(f"http://127.0.0.1:{dav.port}/bare", login, "")
        row("WebDAV, rclone (httpx)", open_driver(dav.url, dav.credentials), bare)


if __name__ == "__main__":
    main()
