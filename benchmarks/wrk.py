"""Load by `wrk`: one request again and again over kept connections from one core, and what it measured."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOAD_CORE = os.environ.get("LOAD_CORE", "1" if (os.cpu_count() or 1) > 1 else "0")
SCRIPT = """
local file = io.open({body!r}, "rb")
wrk.method, wrk.path, wrk.body = {method!r}, {path!r}, file:read("*a")
file:close()
for name, value in pairs({headers}) do wrk.headers[name] = value end
done = function(summary, latency, requests)
  local e = summary.errors
  local form = 'FOUND {{"count": %d, "micros": %d, "p50": %f, "p90": %f, "p99": %f, "status": %d, "broken": %d}}\\n'
  io.write(string.format(form, summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout))
end
"""
KEYED = """
request = function()
  wrk.headers["Authorization"] = "Bearer key-" .. math.random(0, {keys} - 1)
  return wrk.format()
end
"""

NAMED = """
request = function()
  return wrk.format(nil, string.format({path!r}, math.random(0, {names} - 1)))
end
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    method: str = "POST"
    keys: int = 0
    """Each request bears one of so many tokens; 0: none but what `headers` say."""
    names: int = 0
    """Each request puts one of so many numbers where `path` says %d; 0: the path is one."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run measured."""

    count: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    errors: int

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.count / self.seconds


def is_there() -> bool:
    """Whether this machine has wrk."""
    return shutil.which("wrk") is not None


def command(url: str, ask: Ask, folder: Path, *, connections: int, seconds: float, core: str = LOAD_CORE) -> list[str]:
    """The command line of one run; its script and body are left in `folder`."""
    body = folder / "wrk-body"
    body.write_bytes(ask.body)
    pairs = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in ask.headers.items())
    text = SCRIPT.format(body=str(body), method=ask.method, path=ask.path, headers="{" + pairs + "}")
    script = folder / f"wrk-{connections}.lua"
    text += KEYED.format(keys=ask.keys) if ask.keys else ""
    script.write_text(text + (NAMED.format(path=ask.path, names=ask.names) if ask.names else ""))
    pinned = ["taskset", "-c", core] if core else []
    lasting = f"-d{max(1, round(seconds))}s"
    return [*pinned, "wrk", "-t1", f"-c{connections}", lasting, "--timeout", "20s", "-s", str(script), url]


def run(url: str, ask: Ask, folder: Path, *, connections: int, seconds: float) -> Load:
    """Load a server for a while.

    Raises:
        RuntimeError: wrk said nothing that can be read.
    """
    done = subprocess.run(
        command(url, ask, folder, connections=connections, seconds=seconds),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    return read(done.stdout, done.stderr)


def read(told: str, why: str = "") -> Load:
    """What a run has written.

    Raises:
        RuntimeError: it is not what a run writes.
    """
    lines = [line for line in told.splitlines() if line.startswith("FOUND ")]
    if not lines:
        raise RuntimeError(f"wrk: {told[-500:]} {why[-500:]}")
    found = json.loads(lines[0].removeprefix("FOUND "))
    return Load(
        count=found["count"],
        seconds=found["micros"] / 1e6,
        p50_ms=found["p50"] / 1000,
        p90_ms=found["p90"] / 1000,
        p99_ms=found["p99"] / 1000,
        errors=found["status"] + found["broken"],
    )
