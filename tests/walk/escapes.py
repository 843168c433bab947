"""Ways out of a worker, tried from inside one: standard library only, sent to a job as its program.

Each function tries one way. Being refused is an `OSError`; what it returns is what it got hold of. None does any harm
where it is open.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_USERS, NEW_MOUNTS, SEIZE = 0x10000000, 0x00020000, 0x4206
Way = Callable[[dict[str, Any]], object]
WAYS: dict[str, Way] = {}
CLOSED: dict[str, Way] = {}
"""Ways that are open to who sees all that its user sees."""


def way(function: Way) -> Way:
    WAYS[function.__name__] = function
    return function


def closed(function: Way) -> Way:
    CLOSED[function.__name__] = function
    return function


def call(number: int, *arguments: Any) -> int:
    answer = LIBC.syscall(number, *arguments)
    if answer == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(answer)


def refused_as(number: int, *codes: int) -> Callable[[dict[str, Any]], object]:
    """A way that is a call that could do nothing; refused only if it fails as a filter would make it fail."""

    def attempt(_: dict[str, Any]) -> object:
        try:
            return call(number, 1, 1, 1, 1, 1, 1)
        except OSError as fault:
            if fault.errno not in (codes or (1,)):
                return f"it got as far as {fault}"
            raise

    return attempt


def read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(64) or b"nothing, but opened"


CALLS = {"bpf": 321, "perf_event_open": 298, "io_uring_setup": 425, "keyctl": 250, "add_key": 248, "request_key": 249}
CALLS |= {"userfaultfd": 323, "kexec_load": 246, "init_module": 175, "finit_module": 313, "delete_module": 176}
CALLS |= {"open_by_handle_at": 304, "reboot": 169, "swapon": 167, "setns": 308, "pivot_root": 155, "chroot": 161}
CALLS |= {"open_tree": 428, "move_mount": 429, "fsopen": 430, "fspick": 433, "mount_setattr": 442, "acct": 163}
CALLS |= {"fanotify_init": 300, "kcmp": 312, "sethostname": 170, "settimeofday": 164, "syslog": 103, "umount": 166}
if os.uname().machine == "x86_64":
    WAYS |= {f"call_{name}": refused_as(number) for name, number in CALLS.items()}
    WAYS["call_clone3"] = refused_as(435, 38)
    WAYS["call_of_the_x32_kind"] = refused_as(0x40000000 + 39, 38)


@way
def read_the_token(told: dict[str, Any]) -> object:
    return read(f"{told['data']}/token")


@way
def read_the_key(told: dict[str, Any]) -> object:
    return read(f"{told['data']}/key")


@way
def read_the_database(told: dict[str, Any]) -> object:
    return read(f"{told['data']}/lepton.db")


@way
def read_the_vault(told: dict[str, Any]) -> object:
    return os.listdir(f"{told['data']}/vault")


@way
def see_other_names(told: dict[str, Any]) -> object:
    return not_found(set(os.listdir(told["data"])) - {"engine", "door"})


@way
def see_other_launches(told: dict[str, Any]) -> object:
    return not_found(set(os.listdir(f"{told['data']}/engine")) - {own_launch()})


@way
def read_what_another_job_wrote(told: dict[str, Any]) -> object:
    return read(f"{told['other']}/work/secret.txt")


@way
def read_another_jobs_log(told: dict[str, Any]) -> object:
    return os.listdir(f"{told['other']}/log")


@way
def write_into_the_data_directory(told: dict[str, Any]) -> object:
    return os.open(f"{told['data']}/left-here", os.O_WRONLY | os.O_CREAT)


@way
def make_a_folder_there(told: dict[str, Any]) -> object:
    return os.mkdir(f"{told['data']}/engine/left-here")


@way
def delete_a_file_there(told: dict[str, Any]) -> object:
    return os.unlink(f"{told['data']}/decoy")


@way
def move_the_data_directory(told: dict[str, Any]) -> object:
    os.rename(told["data"], f"{told['data']}-moved")
    return os.rename(f"{told['data']}-moved", told["data"])


@way
def write_its_own_ending(told: dict[str, Any]) -> object:
    return os.open(f"{told['data']}/engine/{own_launch()}/exit.json", os.O_WRONLY | os.O_CREAT)


@way
def change_its_own_launch(told: dict[str, Any]) -> object:
    return os.open(os.environ["LEPTON_LAUNCH"], os.O_WRONLY)


@way
def change_the_servers_address(told: dict[str, Any]) -> object:
    return os.open(os.environ["LEPTON_URL_FILE"], os.O_WRONLY)


@way
def follow_a_link_to_the_token(told: dict[str, Any]) -> object:
    os.symlink(f"{told['data']}/token", "a-link")
    return read("a-link")


@way
def hard_link_the_token(told: dict[str, Any]) -> object:
    return os.link(f"{told['data']}/token", "a-name")


@way
def go_by_its_own_root(told: dict[str, Any]) -> object:
    return read(f"/proc/self/root{told['data']}/token")


@way
def go_up_from_its_folder(told: dict[str, Any]) -> object:
    return read("../../../token")


@way
def go_by_the_servers_root(told: dict[str, Any]) -> object:
    return read(f"/proc/{told['server']}/root{told['data']}/token")


@way
def go_by_the_first_process(told: dict[str, Any]) -> object:
    return read(f"/proc/1/root{told['data']}/token")


@way
def go_by_the_servers_folder(told: dict[str, Any]) -> object:
    return os.listdir(f"/proc/{told['server']}/cwd/")


@way
def go_by_the_shims_root(told: dict[str, Any]) -> object:
    return read(f"/proc/{os.getppid()}/root{told['data']}/token")


@way
def open_the_servers_files(told: dict[str, Any]) -> object:
    got = set()
    for fd in range(64):
        try:
            got.add(os.readlink(f"/proc/{told['server']}/fd/{fd}"))
        except OSError:
            continue
    return not_found(got)


@way
def read_the_servers_variables(told: dict[str, Any]) -> object:
    return read(f"/proc/{told['server']}/environ")


@way
def read_another_jobs_variables(told: dict[str, Any]) -> object:
    return read(f"/proc/{told['other_pid']}/environ")


@way
def read_its_shims_variables(told: dict[str, Any]) -> object:
    return read(f"/proc/{os.getppid()}/environ")


@way
def read_the_servers_memory(told: dict[str, Any]) -> object:
    return os.open(f"/proc/{told['server']}/mem", os.O_RDONLY)


@way
def read_its_shims_memory(told: dict[str, Any]) -> object:
    return os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)


@way
def read_the_servers_map(told: dict[str, Any]) -> object:
    return read(f"/proc/{told['server']}/maps")


@way
def trace_the_server(told: dict[str, Any]) -> object:
    return LIBC_checked(LIBC.ptrace(SEIZE, told["server"], 0, 0))


@way
def trace_another_job(told: dict[str, Any]) -> object:
    return LIBC_checked(LIBC.ptrace(SEIZE, told["other_pid"], 0, 0))


@way
def copy_the_servers_memory(told: dict[str, Any]) -> object:
    return copied(told["server"])


@way
def copy_another_jobs_memory(told: dict[str, Any]) -> object:
    return copied(told["other_pid"])


@way
def take_a_file_of_the_server(told: dict[str, Any]) -> object:
    return call(438, os.pidfd_open(told["server"]), 0, 0)


@way
def signal_the_server(told: dict[str, Any]) -> object:
    return os.kill(told["server"], signal.SIGCONT) or "signalled"


@way
def signal_another_job(told: dict[str, Any]) -> object:
    return os.kill(told["other_pid"], signal.SIGCONT) or "signalled"


@way
def signal_its_shim(told: dict[str, Any]) -> object:
    return os.kill(os.getppid(), signal.SIGCONT) or "signalled"


@way
def signal_the_zygote(told: dict[str, Any]) -> object:
    return os.kill(told["zygote"], signal.SIGCONT) or "signalled"


@way
def signal_the_server_by_its_descriptor(told: dict[str, Any]) -> object:
    return signal.pidfd_send_signal(os.pidfd_open(told["server"]), signal.SIGCONT) or "signalled"


@way
def mount_something(_: dict[str, Any]) -> object:
    here = os.getcwd().encode()
    LIBC_checked(LIBC.mount(b"none", here, b"tmpfs", 0, None))
    return LIBC_checked(LIBC.umount2(here, 2))


@way
def lift_the_veil(told: dict[str, Any]) -> object:
    return LIBC_checked(LIBC.umount2(told["data"].encode(), 2))


@way
def be_root_of_its_own_users(_: dict[str, Any]) -> object:
    return LIBC_checked(LIBC.unshare(NEW_USERS))


@way
def have_mounts_of_its_own(_: dict[str, Any]) -> object:
    return LIBC_checked(LIBC.unshare(NEW_MOUNTS))


@way
def fork_into_users_of_its_own(_: dict[str, Any]) -> object:
    pid = call(56, NEW_USERS | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


@way
def join_the_servers_mounts(told: dict[str, Any]) -> object:
    return os.open(f"/proc/{told['server']}/ns/mnt", os.O_RDONLY)


@way
def gain_by_executing(_: dict[str, Any]) -> object:
    """A program that is executed has no more than what it comes from: neither capabilities nor another user."""
    said = subprocess.run(["grep", "-E", "NoNewPrivs|CapEff|CapPrm", "/proc/self/status"], capture_output=True)
    found = dict(line.split(b":\t") for line in said.stdout.splitlines())
    strong = int(found[b"CapEff"], 16) & ~0x8045FB or int(found[b"CapPrm"], 16) & ~0x8045FB
    return not_found({"more"} if strong or found[b"NoNewPrivs"] != b"1" else set())


@way
def run_a_setuid_program(_: dict[str, Any]) -> object:
    with open("setuid", "wb") as stream, open("/bin/id", "rb") as source:
        stream.write(source.read())
    os.chmod("setuid", 0o4755)
    said = subprocess.run(["./setuid", "-u"], capture_output=True, user=None, check=True)
    return not_found({said.stdout} - {f"{os.getuid()}\n".encode()})


@way
def read_a_disk(_: dict[str, Any]) -> object:
    got = set()
    for name in os.listdir("/dev"):
        path = f"/dev/{name}"
        if stat.S_ISBLK(os.stat(path).st_mode) if os.path.exists(path) else False:
            try:
                os.close(os.open(path, os.O_RDONLY))
                got.add(path)
            except OSError:
                continue
    return not_found(got)


@way
def make_a_disk(told: dict[str, Any]) -> object:
    os.mknod("disk", stat.S_IFBLK | 0o600, told["disk"])
    return read("disk")


@way
def read_the_machines_memory(_: dict[str, Any]) -> object:
    return os.open("/dev/mem", os.O_RDONLY)


@way
def set_what_runs_when_programs_crash(_: dict[str, Any]) -> object:
    return os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@way
def press_the_magic_key(_: dict[str, Any]) -> object:
    return os.open("/proc/sysrq-trigger", os.O_WRONLY)


@way
def leave_its_control_group(_: dict[str, Any]) -> object:
    got = set()
    for folder, _folders, _files in os.walk("/sys/fs/cgroup"):
        for name in ("tasks", "cgroup.procs", "memory.limit_in_bytes", "memory.max"):
            try:
                os.close(os.open(f"{folder}/{name}", os.O_WRONLY))
                got.add(f"{folder}/{name}")
            except OSError:
                continue
    return not_found(got)


@way
def call_an_abstract_socket(told: dict[str, Any]) -> object:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect(f"\0{told['abstract']}") or "connected"


@way
def find_open_files(told: dict[str, Any]) -> object:
    """Whatever the shim and the zygote have open is closed; a replica has what it has opened itself."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # it was of the listing
    return not_found({place for fd, place in found.items() if fd > 2 and not told["opens_files"]})


@way
def go_by_an_open_file(told: dict[str, Any]) -> object:
    for name in os.listdir("/proc/self/fd"):
        try:
            os.close(os.open("token", os.O_RDONLY, dir_fd=int(name)))
        except OSError:
            continue
        return f"by {name}"
    raise FileNotFoundError


@way
def meet_other_gangs(_: dict[str, Any]) -> object:
    gang = os.environ["LEPTON_GANG_FOLDER"]
    return not_found(set(os.listdir(os.path.dirname(gang))) - {os.path.basename(gang)})


@way
def type_into_a_terminal(_: dict[str, Any]) -> object:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        try:
            return fcntl.ioctl(theirs.fileno(), 0x5412, b"x")
        except OSError as fault:
            if fault.errno != 1:
                return f"it got as far as {fault}"
            raise


@way
def change_the_platform(told: dict[str, Any]) -> object:
    return os.open(told["program"], os.O_WRONLY)


@closed
def read_shadow(_: dict[str, Any]) -> object:
    return read("/etc/shadow")


@closed
def list_the_home(told: dict[str, Any]) -> object:
    return not_found(set(os.listdir(told["home"])))


@closed
def read_the_users_file(told: dict[str, Any]) -> object:
    return read(told["file"])


@closed
def read_what_lies_beside_the_package(told: dict[str, Any]) -> object:
    return read(told["project"])


@closed
def change_a_program(_: dict[str, Any]) -> object:
    return os.open(os.__file__, os.O_WRONLY)


@closed
def change_the_machines_settings(_: dict[str, Any]) -> object:
    return os.open("/etc/hosts", os.O_WRONLY)


@closed
def read_logs(_: dict[str, Any]) -> object:
    return os.listdir("/var/log")


@closed
def read_the_root_folder(_: dict[str, Any]) -> object:
    return os.open("/left-here", os.O_WRONLY | os.O_CREAT)


@closed
def read_shared_memory(told: dict[str, Any]) -> object:
    return read(f"/dev/shm/{told['memory']}")


@closed
def attach_shared_memory(told: dict[str, Any]) -> object:
    return call(29, told["segment"], 0, 0o600)  # shmget


@closed
def call_a_socket_by_its_path(told: dict[str, Any]) -> object:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect(told["socket"]) or "connected"


@closed
def write_to_terminals(_: dict[str, Any]) -> object:
    return not_found(set(os.listdir("/dev/pts")) - {"ptmx"})


@closed
def see_others_temporary_files(told: dict[str, Any]) -> object:
    return not_found(set(os.listdir(os.path.dirname(told["file"]))) - {"data", "tmp"})


def LIBC_checked(answer: int) -> str:  # noqa: N802
    if answer == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return f"answered {answer}"


def copied(pid: int) -> object:
    here = ctypes.create_string_buffer(8)
    ours = struct.pack("@PN", ctypes.addressof(here), 8)
    return call(310, pid, ours, 1, ours, 1, 0)


def not_found(got: set[Any]) -> object:
    if not got:
        raise FileNotFoundError
    return sorted(map(str, got))


def own_launch() -> str:
    return os.path.basename(os.path.dirname(os.environ["LEPTON_LAUNCH"]))


def attempt(function: Way, told: dict[str, Any]) -> str:
    """Empty if the way is shut; else what it led to."""
    try:
        return f"open: {function(told)!r}"
    except (OSError, FileNotFoundError):
        return ""
    except Exception as fault:  # noqa: BLE001  a way that is not tried proves nothing
        return f"not tried: {fault!r}"


def main(told: dict[str, Any]) -> dict[str, str]:
    """Try every way; way -> what it led to."""
    ways = {**WAYS, **CLOSED} if told["closed"] else WAYS
    ways = {name: ways[name] for name in told["only"] or ways}
    ways = {"find_open_files": find_open_files, **ways}  # before any are opened here
    found = {name: attempt(function, told) for name, function in ways.items()}
    sees = os.path.exists(told["file"]), os.access(f"{told['home']}", os.R_OK)
    return {**found, "sees": json.dumps(sees)}


if __name__ == "__main__":
    json.dump(main(json.loads(os.environ["TOLD"])), sys.stdout)
