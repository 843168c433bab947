"""Samba: a real SMB 3 server that demands encryption (Debian samba), with one share to write and one only to read."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lepton.vault.drivers.credentials import Credentials
from tests.backends.process import Storage, absent, accepts, library, program, running, scratch
from tests.ports import free_port

PASSWORD = "a password with spaces and \u00fcmlauts"
CONF = """
[global]
 server role = standalone server
 map to guest = never
 smb ports = {port}
 bind interfaces only = yes
 interfaces = 127.0.0.1/8
 server min protocol = SMB3_00
 smb encrypt = required
 passdb backend = tdbsam:{folder}/priv/passdb.tdb
 private dir = {folder}/priv
 lock directory = {folder}/lock
 state directory = {folder}/state
 cache directory = {folder}/cache
 pid directory = {folder}/run
 ncalrpc dir = {folder}/run/ncalrpc
 log file = {folder}/samba.log
 load printers = no
 disable spoolss = yes
[data]
 path = {folder}/share
 read only = no
[shut]
 path = {folder}/share
 read only = yes
[small]
 path = {folder}/small
 read only = no
"""


@contextmanager
def samba(small: Path | None = None) -> Iterator[Storage]:
    """A share `data` in a fresh server, which `shut` shows too; `small` is another folder, if one is given."""
    library("smbprotocol", "smb")
    smbd, smbpasswd = program("smbd", "apt-get install samba"), program("smbpasswd", "apt-get install samba")
    if os.geteuid():
        absent("Samba is started by root only here")
    user, port = pwd.getpwuid(os.geteuid()).pw_name, free_port()
    with scratch("samba") as folder:
        for name in ("priv", "lock", "state", "cache", "run", "run/ncalrpc", "share", "small"):
            (folder / name).mkdir()
        if small:
            (folder / "small").rmdir()
            (folder / "small").symlink_to(small)
        conf = folder / "conf"
        conf.write_text(CONF.format(port=port, folder=folder))
        twice = f"{PASSWORD}\n{PASSWORD}\n".encode()
        subprocess.run([smbpasswd, "-c", conf, "-s", "-a", user], input=twice, check=True, capture_output=True)
        command = [smbd, "-F", "--no-process-group", "-s", str(conf)]
        with running(command, folder, lambda: accepts(port)):
            yield Storage(
                url=f"smb://127.0.0.1:{port}/data/some/folder",
                credentials=Credentials(user=user, secret=PASSWORD),
                port=port,
                folder=folder,
            )
