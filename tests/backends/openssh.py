"""OpenSSH's SFTP server (Debian openssh-server), which lets one key in."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lepton.vault.drivers.credentials import Credentials
from tests.backends.process import Storage, absent, accepts, library, program, running, scratch
from tests.ports import free_port

CONF = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@contextmanager
def openssh() -> Iterator[Storage]:
    """A folder over SFTP."""
    library("paramiko", "sftp")
    sshd, keygen = (
        program("sshd", "apt-get install openssh-server"),
        program("ssh-keygen", "apt-get install openssh-client"),
    )
    if os.geteuid():
        absent("sshd is started by root only here")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port, user = free_port(), pwd.getpwuid(os.geteuid()).pw_name
    with scratch("openssh") as folder:
        for name in ("host", "user"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True, capture_output=True
            )
        (folder / "conf").write_text(CONF.format(port=port, folder=folder))
        (folder / "files").mkdir()
        with running([sshd, "-D", "-e", "-f", str(folder / "conf")], folder, lambda: accepts(port)):
            yield Storage(
                url=f"sftp://127.0.0.1:{port}{folder}/files",
                credentials=Credentials(
                    user=user,
                    private_key=(folder / "user").read_text(),
                    host_key=(folder / "host.pub").read_text(),
                ),
                port=port,
                folder=folder,
            )
