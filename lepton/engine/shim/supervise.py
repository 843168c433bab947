"""One shim: starts its worker, follows the whole process tree, keeps its limits, and records how it ended.

It waits in one `poll` for output, signals and the next deadline; without a deadline it does not wake at all.
"""

import errno
import os
import select
import signal
import socket
import time
import traceback
from contextlib import suppress

from lepton.engine.sandbox.kernel import PR_SET_CHILD_SUBREAPER, PR_SET_NAME, prctl
from lepton.engine.shim import records
from lepton.engine.shim.cgroup import Cgroup, make_cgroup
from lepton.engine.shim.processes import descendants, identity, proportional_bytes, resident_bytes
from lepton.engine.shim.records import Record
from lepton.engine.shim.segments import CHUNK_BYTES, SegmentWriter
from lepton.engine.shim.worker import door_of, fork_held, release, reset_signals

MEMORY_EVERY_S = 0.1
KILL_EVERY_S = 0.02
UNKILLABLE_AFTER_S = 30.0
"""A process in uninterruptible sleep survives SIGKILL; after this long the ending is recorded without it."""
RETRY_EXIT_S = 5.0
DETAIL_CHARS = 1500
NEVER = float("inf")


def hold(folder: str, variables: dict[str, str], reply: socket.socket, *, is_warm: bool) -> None:
    """Be the shim of the launch in `folder`, from here to the end of this process.

    Args:
        variables: the worker's environment; may hold secrets, and so lies in no file.
        is_warm: the worker is to go on as a fork of this process, see `Reborn`.

    `reply` is told `ok` once the worker runs or could not be executed, `taken` if the key has its shim already,
    `no <errno>` if the folder cannot be written.
    """
    os.setsid()
    reset_signals()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NAME, b"lepton-shim")
    try:
        plan = records.read(os.path.join(folder, records.PLAN)) or {}
        shim = Shim(folder, {**plan, "env": variables}, is_warm=is_warm)
        if not records.write_once(os.path.join(folder, records.SHIM), identity(os.getpid())):
            _answer(reply, "taken")
            return
    except OSError as fault:
        _answer(reply, f"no {fault.errno or 0}")
        return
    try:
        shim.start()
    except OSError as fault:
        shim.take_back()
        _answer(reply, f"no {fault.errno or 0}")
        return
    _answer(reply, "ok")
    try:
        shim.follow()
    except Exception:  # noqa: BLE001 - a record must be left whatever happens
        shim.abandon(traceback.format_exc())


class Shim:
    """The state of one shim."""

    def __init__(self, folder: str, plan: Record, *, is_warm: bool) -> None:
        self.folder, self.plan, self.is_warm = folder, plan, is_warm
        self.log = SegmentWriter(os.path.join(folder, records.LOG), plan["log_limit_bytes"])
        self.started_at = time.time()
        self.pid = 0
        self.status: int | None = None
        """Wait status of the worker's main process."""
        self.reason = ""
        self.detail = ""
        self.is_stopping = self.is_killing = self.has_children = False
        self.timeout_at = self.kill_at = self.give_up_at = NEVER
        self.memory_at = NEVER
        self.peak_bytes = 0
        self.output = -1
        self.poll = select.poll()
        self.wake = _wake_on(signal.SIGTERM, signal.SIGCHLD)
        self.poll.register(self.wake, select.POLLIN)
        self.cgroup = Cgroup([], has_memory=False)

    def start(self) -> None:
        """Start the worker, recorded before its first instruction."""
        plan = self.plan
        records.reserve_exit(self.folder)
        self.cgroup = make_cgroup(plan["cgroup"], memory_bytes=plan["memory_bytes"], cpu_milli=plan["cpu_milli"])
        held = fork_held(plan, self.cgroup.join, is_warm=self.is_warm)
        self.plan = {**plan, "env": {}}
        self.pid, self.output, self.has_children = held.pid, held.output, True
        self.poll.register(self.output, select.POLLIN)
        record = {**identity(held.pid), "started_at": self.started_at, "cgroups": self.cgroup.paths}
        record["doors"] = door_of(plan["env"])
        records.write(os.path.join(self.folder, records.WORKER), record)
        self.detail = release(held)
        if self.detail:
            self.reason = "not_started"
        self.cgroup.confirm(held.pid)
        now = time.monotonic()
        self.timeout_at = now + plan["timeout_s"] if plan["timeout_s"] else NEVER
        if plan["memory_bytes"] and not self.cgroup.has_memory:
            self.memory_at = now

    def follow(self) -> None:
        """Serve output, signals and deadlines until the whole tree has ended; then record it."""
        while self.has_children and time.monotonic() < self.give_up_at:
            self.wait()
            self.reap()
            self.act(time.monotonic())
        self.end()

    def take_back(self) -> None:
        """Undo a start that could not be recorded, as if nobody had tried."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.cgroup.remove()
        for name in (records.WORKER, records.EXIT_DRAFT, records.SHIM):
            with suppress(OSError):
                os.unlink(os.path.join(self.folder, name))

    def abandon(self, why: str) -> None:
        """Kill everything and record that the shim itself has failed."""
        self.reason, self.detail = "lost", why[-DETAIL_CHARS:]
        self.kill()
        while self.has_children and time.monotonic() < self.give_up_at:
            self.signal_tree(signal.SIGKILL)
            self.reap()
            select.select([], [], [], KILL_EVERY_S)
        self.end()

    def wait(self) -> None:
        """Sleep until something happens; copy output."""
        now = time.monotonic()
        next_at = now + KILL_EVERY_S if self.is_killing else min(self.timeout_at, self.kill_at, self.memory_at)
        pause_ms = None if next_at == NEVER else max(0, int((next_at - now) * 1000) + 1)
        for fd, _ in self.poll.poll(pause_ms):
            if fd == self.wake:
                self.take_signals(os.read(fd, 512))
            else:
                self.copy()

    def take_signals(self, numbers: bytes) -> None:
        """SIGTERM asks to stop; SIGCHLD only wakes."""
        if signal.SIGTERM in numbers:
            wish = records.read(os.path.join(self.folder, records.STOP)) or self.plan
            self.stop("stopped", wish["grace_s"])

    def copy(self) -> bool:
        """Copy one chunk of output to the log; False when there is none now."""
        try:
            chunk = os.read(self.output, CHUNK_BYTES) if self.output >= 0 else b""
        except BlockingIOError:
            return False
        if chunk:
            self.log.write(chunk)
        elif self.output >= 0:
            self.poll.unregister(self.output)
            os.close(self.output)
            self.output = -1
        return bool(chunk)

    def reap(self) -> None:
        """Collect the dead. As subreaper this process inherits every orphan, so no child means an empty tree."""
        was_running = self.status is None
        while self._reap_one():
            pass
        if was_running and self.status is not None and self.has_children:
            self.main_ended()

    def _reap_one(self) -> bool:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            self.has_children = False
            return False
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss << 10)
        if pid == self.pid:
            self.status = status
        return pid != 0

    def main_ended(self) -> None:
        """What the worker leaves behind is killed; while stopping it has the rest of the grace."""
        if self.is_stopping and not self.is_killing:
            self.signal_tree(signal.SIGTERM)
        else:
            self.kill()

    def act(self, now: float) -> None:
        """Carry out what is due."""
        if now >= self.timeout_at:
            self.timeout_at = NEVER
            self.stop("timeout", self.plan["grace_s"])
        if now >= self.memory_at:
            self.watch_memory(now)
        if now >= self.kill_at:
            self.kill()
        if self.is_killing:
            self.signal_tree(signal.SIGKILL)

    def stop(self, reason: str, grace_s: float) -> None:
        """Ask the worker to end; the kill follows after the grace. A later call may only shorten it."""
        self.kill_at = min(self.kill_at, time.monotonic() + grace_s)
        if self.is_stopping or self.is_killing or self.status is not None:
            return
        self.reason, self.is_stopping = reason, True
        os.kill(self.pid, signal.SIGTERM)
        self.signal_tree(signal.SIGCONT)  # who was halted can hear it now

    def kill(self) -> None:
        """Kill everything, from now until nothing is left."""
        if not self.is_killing:
            self.is_killing = True
            self.kill_at = NEVER
            self.give_up_at = time.monotonic() + UNKILLABLE_AFTER_S
            self.signal_tree(signal.SIGKILL)

    def signal_tree(self, number: int) -> None:
        """Send a signal to every descendant."""
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def watch_memory(self, now: float) -> None:
        """Without a control group: kill the tree when it holds more than it may."""
        limit = self.plan["memory_bytes"]
        tree = descendants(os.getpid())
        used = resident_bytes(tree)
        if used > limit:
            used = proportional_bytes(tree)
        self.peak_bytes = max(self.peak_bytes, used)
        self.memory_at = now + MEMORY_EVERY_S
        if used > limit and not self.is_killing:
            self.reason, self.memory_at = "out_of_memory", NEVER
            self.detail = f"It held {used} bytes and may hold {limit}."
            self.kill()

    def end(self) -> None:
        """Record the ending; on a full disk try until there is room."""
        while self.copy():
            pass
        self.log.close()
        record = {**self.verdict(), "started_at": self.started_at, "ended_at": time.time()}
        self.cgroup.remove()
        while not _try_exit(self.folder, record):
            select.select([], [], [], RETRY_EXIT_S)

    def verdict(self) -> Record:
        """Why it ended, in the words of `ExitReason`."""
        status = self.status
        code = os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None
        number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        reason, detail = self.reason, self.detail
        if not reason and status != 0 and self.cgroup.oom_kills():
            reason, detail = "out_of_memory", f"It may hold {self.plan['memory_bytes']} bytes."
        if not reason:
            reason = "signal" if number is not None else "done" if code == 0 else "failed"
        if reason == "failed":
            detail = _fault(self.folder) or detail
        if reason == "not_started":
            code = number = None
        if self.has_children:
            detail += " Some of its processes could not be killed."
        peak = self.peak_bytes
        return {
            "reason": reason,
            "code": code,
            "signal": number,
            "detail": detail[:DETAIL_CHARS],
            "peak_memory_bytes": peak,
        }


def _answer(reply: socket.socket, text: str) -> None:
    """Tell the engine; one that was killed meanwhile is no fault of the worker."""
    with reply, suppress(OSError):
        reply.send(text.encode(), socket.MSG_NOSIGNAL)


def _wake_on(*numbers: int) -> int:
    """A descriptor that becomes readable with the number of each of these signals."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return read_end


def _fault(folder: str) -> str:
    """The reason that the worker left for its failing; empty if none."""
    try:
        fd = os.open(os.path.join(folder, records.WORK, records.FAULT), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(fd, "rb") as stream:
            return stream.read(DETAIL_CHARS).decode(errors="replace").rstrip("\0")
    except OSError:
        return ""


def _try_exit(folder: str, record: Record) -> bool:
    try:
        records.write_exit(folder, record)
    except OSError as fault:
        return fault.errno in (errno.ENOENT, errno.EROFS, errno.EACCES)  # nobody is left to read it
    return True
