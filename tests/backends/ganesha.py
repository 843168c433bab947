"""nfs-ganesha: a real NFS 4 server in user space (Debian nfs-ganesha, nfs-ganesha-vfs)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.backends.process import Storage, absent, accepts, library, program, running, scratch
from tests.ports import free_port

CONF = """
NFS_CORE_PARAM{{NFS_Port={port};Protocols=4;Bind_addr=127.0.0.1;Enable_NLM=false;Enable_RQUOTA=false;}}
NFSv4{{RecoveryBackend=fs;Graceless=true;}}
"""
EXPORT = """
EXPORT{{Export_Id={number};Path={path};Pseudo=/{name};Access_Type={access};Squash=No_Root_Squash;SecType=sys;Protocols=4;
Transports=TCP;FSAL{{Name=VFS;}}}}
"""


@contextmanager
def ganesha(small: Path | None = None) -> Iterator[Storage]:
    """An export `data` in a fresh server; `shut` shows another folder to read only, `small` is one more if given."""
    library("nfs_rs", "nfs")
    nfsd = program("ganesha.nfsd", "apt-get install nfs-ganesha nfs-ganesha-vfs")
    if os.geteuid():
        absent("nfs-ganesha is started by root only here")
    port = free_port()
    for state in ("/run/ganesha", "/var/lib/nfs/ganesha"):
        Path(state).mkdir(parents=True, exist_ok=True)
    with scratch("ganesha") as folder:
        exports = [("data", folder / "data", "RW"), ("shut", folder / "shut", "RO")]
        exports += [("small", small, "RW")] if small else []
        text = CONF.format(port=port)
        for number, (name, path, access) in enumerate(exports, 1):
            path.mkdir(exist_ok=True)
            text += EXPORT.format(number=number, path=path, name=name, access=access)
        (folder / "shut" / "vault").mkdir()
        (folder / "g.conf").write_text(text)
        command = [nfsd, "-F", "-f", str(folder / "g.conf"), "-L", str(folder / "log"), "-p", str(folder / "pid")]
        with running(command, folder, lambda: accepts(port)):
            yield Storage(url=f"nfs://127.0.0.1:{port}/data/vault", port=port, folder=folder)
