"""Tokens of a real language model per CPU second, ours beside the bare runtime; and what one streamed token costs.

    python benchmarks/llm.py MODEL.gguf [--repeats 3] [--tokens 64]
    python benchmarks/llm.py tokens

The first serves the model, asks for 8 streams at once over HTTP, and counts the CPU time of front and replica; then
has the runtime alone generate the same in one process. The second streams words from a service that costs next to
nothing, so that what is left is the way from a replica's generator to the client's socket.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

STREAMS = 8
ROOT = Path(__file__).parents[1]
PROMPT = "Once upon a time, number {}, there was a"
FAST = """
from collections.abc import AsyncIterator
import asyncio
from lepton.serve import Service, handler

class Fast(Service):
    @handler(path="/words")
    async def words(self, count: int) -> AsyncIterator[str]:
        for number in range(count):
            if number % 8 == 7:
                await asyncio.sleep(0)
            yield "word"
"""


def cpu_s(pids: list[int]) -> float:
    """What these processes have used so far, to a microsecond or so."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


async def drain(address: tuple[str, int], path: str, body: dict[str, Any]) -> int:
    """One streamed answer read to its end: how many events it had."""
    reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    events = 0
    while piece := await reader.read(1 << 18):
        events += piece.count(b"data: ")
    writer.close()
    return events


def served(house: Any, path: str, bodies: list[dict[str, Any]]) -> tuple[int, float]:
    """Events of all answers together, and the CPU seconds of front and replica."""
    pids = [process.pid for process in house.processes.values()]
    before = cpu_s(pids)

    async def everything() -> int:
        return sum(await asyncio.gather(*(drain(house.address, path, body) for body in bodies)))

    return asyncio.run(everything()), cpu_s(pids) - before


def asks(tokens: int, turn: int) -> list[dict[str, Any]]:
    """The requests of one turn; no two turns share a prompt beyond what the cache finds for both sides alike."""
    common = {"max_tokens": tokens, "temperature": 0, "stream": True, "logit_bias": {"2": -100, "0": -100}}
    return [{"prompt": PROMPT.format(turn * STREAMS + number), **common} for number in range(STREAMS)]


def bare(model: Path, tokens: int, repeats: int) -> list[float]:
    """Tokens per CPU second of the runtime alone, called as its own documentation does."""
    xllamacpp = import_module("xllamacpp")
    with tempfile.TemporaryDirectory() as folder:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_parallel, params.n_ctx, params.verbosity = STREAMS, 4096 * STREAMS, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.hostnames = [f"{folder}/s.sock"]
        server = xllamacpp.Server(params)
        found = []
        with ThreadPoolExecutor(STREAMS) as pool:
            for turn in range(repeats + 1):
                before = process_time()
                bodies = [json.dumps(body).encode() for body in asks(tokens, turn)]
                list(pool.map(lambda body: server.handle_completions(body, lambda chunk: False), bodies))
                found.append(STREAMS * tokens / (process_time() - before))
    return found[1:]


def compare(model: Path, tokens: int, repeats: int) -> dict[str, list[float]]:
    """Tokens per CPU second of ours and of the bare runtime, run by run."""
    house = import_module("tests.server.serving.house")
    ours = []
    with house.open_service(f"gguf:{model.name}", code=model.parent.absolute(), deadline_ms=600_000) as end:
        for turn in range(repeats + 1):
            bodies = [{**body, "model": model.stem} for body in asks(tokens, turn)]
            _, cost_s = served(end, "/v1/completions", bodies)
            ours.append(STREAMS * tokens / cost_s)
    return {"lepton": ours[1:], "bare runtime": bare(model, tokens, repeats)}


def tell(found: dict[str, list[float]], *, is_raw: bool) -> None:
    """All runs as lines of JSON, or medians for people."""
    if is_raw:
        for server, numbers in found.items():
            for turn, number in enumerate(numbers):
                print(json.dumps({"server": server, "turn": turn, "tokens_per_cpu_s": round(number, 2)}))
        return
    for server, numbers in found.items():
        show(f"{server}, tokens per CPU second", numbers)
    ours, alone = (statistics.median(numbers) for numbers in found.values())
    print(f"share: {100 * ours / alone:.1f} %")


def tokens_only(repeats: int) -> None:
    """CPU microseconds of one streamed token."""
    house = import_module("tests.server.serving.house")
    count = 2000
    found = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fast.py").write_text(FAST)
        with house.open_service("fast.py:Fast", code=Path(folder)) as end:
            for _ in range(repeats + 1):
                events, cost_s = served(end, "/words", [{"count": count}] * 32)
                assert events == 32 * count, events
                found.append(1e6 * cost_s / events)
    show("CPU microseconds per streamed token, front and replica, 32 streams", found[1:])


def show(what: str, numbers: list[float]) -> None:
    """The median, and all."""
    print(f"{what}: {statistics.median(numbers):.2f}  ({', '.join(f'{number:.2f}' for number in numbers)})")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--raw", action="store_true", help="Every run as a line of JSON.")
    wishes = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if wishes.what == "tokens":
        tokens_only(wishes.repeats)
    else:
        tell(compare(Path(wishes.what), wishes.tokens, wishes.repeats), is_raw=wishes.raw)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
