"""From the records of single runs to the page SERVING.md: medians, ratios, and what was not run. Pure."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving_peers import SHOWN

Record = Mapping[str, Any]
HEAD = """# Serving beside its peers

    SERVING_BENCH=path/to/bench/serving VENVS=folder/of/the/peers python benchmarks/serving.py table

makes this page, the picture and [raw/](raw/), where every single run is one line.
{where}
Each server's whole process tree runs on one core, `wrk` on another; bodies and models are the same for all; figures
are medians of {repeats} runs taken in turns, so that the ratio holds although machines differ. CPU is user and system
time of the tree: for ours the server of the platform, its zygotes, shims, front and replica.
What mutated messages do to a front, and how to throw a million: [docs/serve.md](../docs/serve.md#what-is-thrown-at-it).
"""
ECHO_NOTE = """
Ours checks a key, counts it against a rate and a quota, keeps the deadline, counts and times the request and gives it
an id; the peers do none of it.
"""
SHORT_NOTE = """
## Short of the goal

Most goals were set on a faster machine: where the bare protocol takes 20 to 24 us here it took 10 to 16
there. Ratios hold better. Where ours is short of a goal also by them, or where the goal is no ratio:

- **Echo times the bare protocol**: two runs of all, one after the other on 2026-11-28, gave 2.71 and 2.10;
  the bare protocol's own runs differ by a fifth.
- **p50 at one connection**: nearly all of it is CPU time of our own two processes, which share a core and
  hand over twice a request: the front some 200 us (two thirds of it Python with cold caches, the rest the
  system's), the replica 107 us; two bare uvloop processes that hand over the same way take 19.5 us (profiles
  of `perf` and of the front alone, 2026-11-27). Packing a lone request in one go took it from 0.300 to 0.281
  ms.
- **CNN, torch**: 0.84 times mosec's; the goal was 0.76 times. Of our time the model is most: the bare
  protocol with the same model takes 0.86 times as much.
- **Binary input, ONNX**: 0.47 times mosec's JSON; the goal was 0.35 times. Not profiled anew; before, a scan
  of the numbers was 7 % of the replica and is gone for whole numbers.
- **A streamed token**: 0.85 times the bare protocol's, 0.45 times FastAPI's. One at a time each token is a
  frame, a wake-up of the front and a write; where 8 are ready in a turn they share them.
- **One more torch replica**: death is seen after 14 ms, its process stands after 39, and it takes 75 from
  there to load its code, make its model and say hello.
- **Its private memory**: pages that CPython 3.11 writes reference counts into are copied: of 13.3 MB of a
  torch replica whose model is a kilobyte, 10.2 are objects of what its warm process has imported, 2.1 are of
  the heap and 0.8 the interpreter's own; an echo replica has 2.7 when it is forked, 6.2 once its file is
  imported and 8 to 10 when it answers (/proc/PID/smaps, 2026-11-28). A collection adds nothing: what was
  imported is frozen.
- **1,000 endpoints, one asked**: 1.21, with runs that differ by more than that hundredth.
"""
PHOTON_NOTE = """
A typed handler, plain but for `coroutine`, 64 at a time; ours with a key and everything on, as above, and `through
FastAPI`: asked from another origin, so that the application answers. The vendor's is leptonai 0.27.3 beside FastAPI
0.115.12, with its access log, as it has no switch for it; FastAPI answers the untyped echo from a coroutine.
"""
Rows = Sequence[Sequence[str]]


class Records:
    """All records, and medians of them."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.all = list(records)

    def of(self, row: str, server: str = "", **fields: Any) -> list[Record]:
        """Those of a row and server that hold these values."""
        wanted = {"row": row, **({"server": server} if server else {}), **fields}
        return [one for one in self.all if all(one.get(name) == value for name, value in wanted.items())]

    def median(self, figure: str, row: str, server: str, **fields: Any) -> float | None:
        """Of a figure; None if nobody measured it, or requests failed."""
        found = self.of(row, server, **fields)
        values = [one[figure] for one in found if figure in one and not one.get("errors")]
        return statistics.median(values) if values else None

    def cpu(self, row: str, server: str = "lepton") -> float | None:
        """CPU microseconds a request with many connections."""
        return self.median("cpu_us", row, server, connections=32)

    def alone(self, row: str, server: str = "lepton") -> float | None:
        """Median time at one connection, in milliseconds."""
        return self.median("p50_ms", row, server, connections=1)

    def servers(self, row: str) -> list[str]:
        """Who was measured in a row."""
        return list(dict.fromkeys(one["server"] for one in self.of(row) if "absent" not in one))


def page(records: Sequence[Record], where: str, repeats: int) -> str:
    """The whole page."""
    found = Records(records)
    parts = [
        HEAD.format(where=where, repeats=repeats),
        "\n## The goals\n\n",
        table(("what", "goal", "measured", "beside it"), goals(found)),
        "\n## Echo\n",
        ECHO_NOTE,
        "\n",
        servers_table(found, "echo"),
    ]
    for row, title in (("cnn torch", "CNN, PyTorch, batched"), ("cnn onnx", "CNN, ONNX Runtime, batched")):
        parts += [f"\n## {title}\n\n", servers_table(found, row)]
    parts += [
        "\n## Echo, as a program of the vendor's Photon class\n",
        PHOTON_NOTE,
        "\n",
        servers_table(found, "photon"),
    ]
    parts += ["\n## MiniLM, ONNX Runtime, batched\n\n", servers_table(found, "minilm")]
    parts += ["\n## Streams: 100 tokens a request\n\n", table(("server", "CPU us a token"), tokens(found))]
    parts += ["\n## One more replica, and an endpoint at rest\n\n", table(REPLICA_HEAD, replica_rows(found))]
    parts += ["\n", table(REST_HEAD, rest_rows(found)), "\n## Growth\n\n![Cost against size](serving-growth.svg)\n\n"]
    parts += [growth_tables(found), SHORT_NOTE, "\n## Not run\n\n", absences(found)]
    return "".join(parts)


def spread_of(found: Records) -> str:
    """From where to where the bare protocol's runs went: a ratio to it is worth no more."""
    runs = [one["cpu_us"] for one in found.of("echo", "raw_proto") if one.get("connections") == 32]
    return f", from {show(min(runs))} to {show(max(runs))} in its {len(runs)} runs" if runs else ""


def goals(found: Records) -> Rows:
    """The issue's table."""
    raw, own, tls = found.cpu("echo", "raw_proto"), found.cpu("echo"), found.cpu("echo", "lepton-tls")
    limit = best_limit(found)
    batched, single = (found.median("p50_ms", "penalty", name) for name in ("batched", "unbatched"))
    one, several = (token_us(found, f"lepton, {name}") for name in ("one a turn", "8 a turn"))
    ours, bare = (found.median("tokens_per_cpu_s", "llm", name) for name in ("lepton", "bare runtime"))
    ready = found.median("ready_ms", "replica", "lepton, torch")
    private = found.median("private_mb", "replica", "lepton, torch")
    idle = (found.of("idle", "lepton, front and replica") or [{}])[0]
    raw_token, fast_token = token_us(found, "raw_proto"), token_us(found, "fastapi")
    return [
        ("echo with everything on, CPU us", "<= 40", show(own), peers_of(found, "echo")),
        ("... times the bare protocol", "<= 2.2", ratio(own, raw), f"bare protocol {show(raw)} us{spread_of(found)}"),
        ("... p50 at one connection, ms", "<= 0.25", show(found.alone("echo"), 3), alone_of(found, "echo")),
        ("... over TLS, times plain", "<= 2", ratio(tls, own), f"{show(tls)} us"),
        ("CNN, torch, batched, CPU us", "<= 330", show(found.cpu("cnn torch")), peers_of(found, "cnn torch")),
        ("CNN, ONNX, batched, CPU us", "<= 135", show(found.cpu("cnn onnx")), peers_of(found, "cnn onnx")),
        (
            "... binary input",
            "<= 70",
            show(found.cpu("cnn onnx", "octets")),
            f"npy {show(found.cpu('cnn onnx', 'npy'))}",
        ),
        (
            "MiniLM, share of the bare runtime",
            ">= 95 %",
            share(limit, found.cpu("minilm", "lepton, arrays")),
            minilm_others(found, limit),
        ),
        ("batching penalty at 1 connection, ms", "<= 0.3", minus(batched, single), f"{show(single, 3)} without"),
        ("streamed token, CPU us", "<= 4", show(one, 2), f"FastAPI {show(fast_token)}, bare {show(raw_token)}"),
        ("... 8 ready in a turn", "<= 4", show(several, 2), ""),
        ("LLM, 8 streams, share of the bare runtime", ">= 97 %", share(ours, bare), f"{show(ours)} tokens a CPU s"),
        ("one more torch replica: ready, ms", "<= 100", show(ready, 0), replica_parts(found)),
        ("... private memory, MB", "<= 10 + state", show(private), ""),
        ("idle front + endpoint, MB (PSS)", "<= 60", show(idle.get("pss_mb")), f"RSS {show(idle.get('rss_mb'))}"),
        ("... cores", "<= 0.01", show(idle.get("cores"), 4), ""),
        ("1,000 endpoints on one front, one asked", "<= 1.2", crowd_ratio(found, "one asked"), "times one endpoint"),
        ("... all of them asked", "", crowd_ratio(found, "all asked"), "no two requests meet in a batch"),
    ]


def crowd_ratio(found: Records, server: str) -> str:
    """The echo among a thousand endpoints against the echo of the only one."""
    alone, among = (found.median("cpu_us", "growth endpoints", server, at=at) for at in (1, 1000))
    return ratio(among, alone)


def best_limit(found: Records) -> float | None:
    """CPU microseconds of one text in the bare runtime's loop, at its best batch size."""
    sizes = {one["batch"] for one in found.of("minilm", "bare runtime")}
    medians = [found.median("cpu_us", "minilm", "bare runtime", batch=size) for size in sizes]
    return min((median for median in medians if median is not None), default=None)


def minilm_others(found: Records, limit: float | None) -> str:
    """What is reached with the peers' own code, which rounds 384 numbers a text in Python; and what the limit is."""
    rounded = f"rounded in Python as by the peers {share(limit, found.cpu('minilm'))}"
    return f"{rounded}, mosec {share(limit, found.cpu('minilm', 'mosec'))}; limit {show(limit, 0)} us a text"


def token_us(found: Records, server: str) -> float | None:
    """CPU microseconds of one token."""
    whole = found.cpu("stream", server)
    return None if whole is None else whole / 100


def replica_parts(found: Records) -> str:
    """Where the time to a new replica goes."""
    names = {"noticed_ms": "death seen", "started_ms": "process started", "from_start_ms": "from there to ready"}
    parts = [f"{text} {show(found.median(name, 'replica', 'lepton, torch'), 0)}" for name, text in names.items()]
    return ", ".join(parts)


def peers_of(found: Records, row: str) -> str:
    """The CPU of each peer, cheapest first."""
    known = {name: found.cpu(row, name) for name in SHOWN if name not in ("raw_proto", "granian_rsgi")}
    costs = sorted((cost, name) for name, cost in known.items() if cost is not None)
    return ", ".join(f"{SHOWN[name]} {show(cost, 0)}" for cost, name in costs)


def alone_of(found: Records, row: str) -> str:
    """The same for one connection."""
    known = {name: found.alone(row, name) for name in ("raw_proto", "mosec", "fastapi")}
    return ", ".join(f"{name} {show(time, 3)}" for name, time in known.items() if time is not None)


def servers_table(found: Records, row: str) -> str:
    """All that was measured of a row."""
    own = found.cpu(row)
    lines = []
    for name in sorted(found.servers(row), key=lambda name: found.cpu(row, name) or 1e9):
        cpu = found.cpu(row, name)
        if cpu is not None:
            per_s, p99 = (found.median(figure, row, name, connections=32) for figure in ("per_s", "p99_ms"))
            p50 = found.median("p50_ms", row, name, connections=32)
            alone = show(found.alone(row, name), 3)
            lines.append(
                (SHOWN.get(name, name), show(cpu), ratio(cpu, own), show(per_s, 0), show(p50, 2), show(p99, 1), alone)
            )
    return table(("server", "CPU us", "times ours", "req/s", "p50 ms, 32 conn.", "p99 ms", "p50 ms, 1 conn."), lines)


def tokens(found: Records) -> Rows:
    """CPU of one token, for each server."""
    costs = sorted((token_us(found, name) or 1e9, name) for name in found.servers("stream"))
    return [(SHOWN.get(name, name), show(cost, 2)) for cost, name in costs]


REPLICA_HEAD = (
    "replica",
    "ready ms",
    "of which from its process on",
    "private MB at once",
    "PSS MB",
    "private MB in use",
)
REST_HEAD = ("at rest", "processes", "cores", "PSS MB", "private MB", "RSS MB")


def replica_rows(found: Records) -> Rows:
    """What a further replica takes."""
    lines = []
    for name in found.servers("replica"):
        figures = ("ready_ms", "from_start_ms", "private_mb", "pss_mb")
        medians = [show(found.median(figure, "replica", name)) for figure in figures]
        lines.append((name, *medians, show(found.median("private_mb", "replica used", name, rank=2))))
    return lines


def rest_rows(found: Records) -> Rows:
    """What an endpoint costs that nobody asks."""
    return [
        (one["server"], str(one["processes"]), show(one["cores"], 4), *(show(one[f"{k}_mb"]) for k in SIZES))
        for one in found.of("idle")
    ]


SIZES = ("pss", "private", "rss")
CURVES = {
    "endpoints": ("endpoints on one front, one asked", ("cpu_us", "front_rss_mb", "idle_cores")),
    "keys": ("keys", ("cpu_us", "front_rss_mb")),
    "replicas": ("replicas", ("cpu_us", "p99_ms", "pss_mb")),
    "connections": ("idle connections", ("cpu_us", "front_rss_mb", "idle_cores")),
    "bodies": ("bytes there and back", ("cpu_us", "per_s", "front_peak_mb", "replica_peak_mb")),
}
WORDS = {
    "cpu_us": "CPU us a request",
    "front_rss_mb": "front RSS MB",
    "pss_mb": "all PSS MB",
    "p99_ms": "p99 ms",
    "idle_cores": "front, cores at rest",
    "per_s": "req/s",
    "front_peak_mb": "front, most RSS MB",
    "replica_peak_mb": "replica, most RSS MB",
}


def curve(found: Records, name: str, figure: str, server: str = "") -> dict[int, float]:
    """Size -> median."""
    server = server or ("one asked" if name == "endpoints" else "lepton")
    sizes = sorted({one["at"] for one in found.of(f"growth {name}")})
    medians = {at: found.median(figure, f"growth {name}", server, at=at) for at in sizes}
    return {at: value for at, value in medians.items() if value is not None}


def growth_tables(found: Records) -> str:
    """Each curve as a table."""
    parts = []
    for name, (title, figures) in CURVES.items():
        columns = [curve(found, name, figure) for figure in figures]
        lines = [
            (
                f"{at:,}",
                *(
                    show(column.get(at), 3 if f == "idle_cores" else 1)
                    for f, column in zip(figures, columns, strict=True)
                ),
            )
            for at in columns[0]
        ]
        parts.append(table((title, *(WORDS[figure] for figure in figures)), lines))
    return "\n".join(parts)


def absences(found: Records) -> str:
    """What was not run, and why."""
    lines = [
        f"- {SHOWN.get(one['server'], one['server'])} ({one['row']}): {one['absent']}"
        for one in found.all
        if "absent" in one
    ]
    return "\n".join([*dict.fromkeys(lines)] or ["Nothing was left out."]) + "\n"


def table(head: Sequence[str], lines: Rows) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def show(value: float | None, digits: int = 1) -> str:
    """A number for people."""
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(above: float | None, below: float | None) -> str:
    """How many times."""
    return "-" if above is None or not below else f"{above / below:.2f}"


def share(part: float | None, whole: float | None) -> str:
    """In per cent."""
    return "-" if part is None or not whole else f"{100 * part / whole:.1f} %"


def minus(left: float | None, right: float | None) -> str:
    """How much more."""
    return "-" if left is None or right is None else f"{left - right:+.3f}"
