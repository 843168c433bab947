"""The acts of the live show: each does one thing to a pool under load, and tells how long it took until it settled."""

import asyncio
import time

from live_books import FINAL, stays
from live_servers import MACHINE, RECLAIM_S
from live_stage import LOOK_S, PATIENCE_S, Stage
from wire import quantile

CALM, FULL, FLOOD = 0.6, 0.95, 3.0
"""Load, as a part of what the pool can hold. A flood fills it; then as much comes as goes."""
WAITING = 0.05
"""Jobs that wait in a full pool, as a part of its nodes."""
IN_FLIGHT_S = 2.0
"""So long after a wish something that was decided before may still be placed."""
BURST_GPUS = 8
"""Of each job with which a queue asks for what is guaranteed to it."""
Figures = dict[str, float]


async def calm(stage: Stage) -> Figures:
    """More room than jobs: how long it takes from a submission to a start."""
    begin, cpu_s = time.time(), stage.servers[0].cpu_s()
    stage.load.begin(CALM)
    await stage.go_on(stage.plan.calm_s)
    end = time.time()
    used_s = stage.servers[0].cpu_s() - cpu_s
    settled = begin + stage.plan.calm_s / 4
    whole = stage.books.delays("created", "placed->running", since=settled, until=end)
    placed = stage.books.delays("created", "queued->placed", since=settled, until=end)
    started = stage.books.delays("queued->placed", "placed->running", since=settled, until=end)
    return {
        "jobs submitted/s": stage.load.rate,
        "jobs started/s": len(stage.books.moments("placed->running", since=settled)) / (end - settled),
        "submission to start p50, ms": quantile(whole, 0.5) * 1000,
        "submission to start p99, ms": quantile(whole, 0.99) * 1000,
        "submission to decision p50, ms": quantile(placed, 0.5) * 1000,
        "decision to start p50, ms": quantile(started, 0.5) * 1000,
        "decision to start p99, ms": quantile(started, 0.99) * 1000,
        "server cores": used_s / (end - begin),
    }


async def busy(stage: Stage) -> Figures:
    """More jobs than room: how full the machines are."""
    begin = await _fill(stage)
    await stage.go_on(stage.plan.calm_s)
    end = time.time()
    used = sum(
        each.gpu_milli * max(0.0, min(end, each.ended_s) - max(begin, each.began_s))
        for each in stays(stage.fleet.folder)
    )
    starts = stage.books.moments("placed->running", since=begin)
    return {
        "GPUs in use": used / ((end - begin) * stage.plan.nodes * MACHINE.gpu_milli),
        "jobs started/s": sum(at < end for at in starts) / (end - begin),
        "jobs waiting at the end": stage.books.count()["queued"],
    }


async def fail(stage: Stage) -> Figures:
    """Machines vanish with what is on them: their jobs start anew elsewhere."""
    await stage.books.read()
    gone = stage.gone = stage.fleet.fail(stage.plan.fails)
    at, books, lives = time.time(), stage.books, stage.books.lives
    hit = books.holding(gone)
    known = asyncio.create_task(stage.until_up(lambda up: not gone & up, "the machines are known to be gone"))
    first = await stage.until(lambda: len(books.holding(gone) & hit) < len(hit) or not hit, "one is noticed")
    free = await stage.until(lambda: not books.holding(gone) & hit, "none is thought to be there")
    again = await stage.until(lambda: all(lives[id].state in ("running", *FINAL) for id in hit), "all run again")
    return {
        "machines": len(gone),
        "jobs lost": len(hit),
        "s to the first noticed": first - at,
        "s until none is thought to run there": free - at,
        "s until all run again": again - at,
        "s until the machines are shown as gone": await known - at,
    }


async def back(stage: Stage) -> Figures:
    """The machines return: jobs are placed on them."""
    gone, books = stage.gone, stage.books
    at = time.time()
    stage.fleet.write(stage.fleet.all)
    there = await stage.until_up(lambda up: gone <= up, "the machines are known to be back")
    first = await stage.until(lambda: books.holding(gone), "one of them has work")

    def is_settled() -> bool:
        return all(books.holding({node}) for node in gone) or not books.count()["queued"]

    every = await stage.until(is_settled, "all have work, or nothing waits")
    return {
        "machines": len(gone),
        "s until they are shown as there": there - at,
        "s to the first job on them": first - at,
        "s until each has work": every - at,
    }


async def cordon(stage: Stage) -> Figures:
    """A rack is cordoned: what runs there stays to its end, and nothing new comes; then it is open again."""
    rack = [node.name for node in stage.fleet.all if node.labels["rack"] == "r1"]
    began = time.time()
    await stage.wish("cordon", rack)
    at = time.time()
    await stage.books.read()
    stay = {id: stage.books.lives[id].generation for id in stage.books.holding(rack)}
    empty = await stage.until(lambda: not stage.books.holding(rack), "the rack is empty")
    stage.fault("placed on a cordoned node", stage.books.placed_on(rack, since=at + IN_FLIGHT_S))
    stage.fault("moved by a cordon", [id for id, before in stage.books.starts(stay).items() if before])
    await stage.wish("uncordon", rack)
    opened = time.time()
    first = await stage.until(lambda: stage.books.holding(rack), "the rack has work")
    return {
        "machines": len(rack),
        "s until all are cordoned": at - began,
        "jobs there": len(stay),
        "s until the last has ended": empty - at,
        "s from uncordon to the first job": first - opened,
    }


async def drain(stage: Stage) -> Figures:
    """Machines are drained: they are empty soon, and what ran there ends well, there or elsewhere."""
    step = max(1, len(stage.fleet.all) // stage.plan.fails)
    names = [node.name for node in stage.fleet.all[1::step][: stage.plan.fails]]
    await stage.books.read()
    began, ran = time.time(), {id: stage.books.lives[id].generation for id in stage.books.holding(names)}
    await stage.wish("drain", names)
    at = time.time()
    empty = await stage.until(lambda: not stage.books.holding(names), "they are empty")
    stage.fault("placed on a draining node", stage.books.placed_on(names, since=at + IN_FLIGHT_S))
    moved = sum(stage.books.starts(ran).values())
    await stage.wish("uncordon", names)
    return {
        "machines": len(names),
        "jobs there": len(ran),
        "of them started anew elsewhere": moved,
        "s until all are drained": empty - began,
    }


async def reclaim(stage: Stage) -> Figures:
    """A queue is guaranteed half of a full pool and wants it: what others have borrowed is taken back."""
    team, books = "robots", stage.books
    gpus = stage.plan.nodes * MACHINE.gpu_milli // 1000 // 2
    pool = stage.load.clients[team].pool
    before = (await pool.queue(team))["status"]["held"].get("gpu_milli", 0)
    await stage.lepton("pool", "queues", "set", team, "--guarantee", f"gpus={gpus}")
    began = time.time()
    await stage.load.burst(team, gpus // BURST_GPUS + 4, gpus=BURST_GPUS, seconds=3 * stage.plan.mean_s + RECLAIM_S)
    asked = time.time()
    held = 0
    while held < gpus * 1000 and time.time() < asked + PATIENCE_S:
        await stage.go_on(LOOK_S)
        held = (await pool.queue(team))["status"]["held"].get("gpu_milli", 0)
    at = time.time()
    stage.fault("its guarantee is not restored", [team] if held < gpus * 1000 else [])
    await stage.lepton("pool", "queues", "set", team, "--guarantee", "")
    return {
        "GPUs guaranteed": gpus,
        "GPUs held before": before / 1000,
        "s to submit what it wants": asked - began,
        "s until it holds what is guaranteed": at - asked,
        "jobs of others that were stopped": len(books.moments("running->stopping", since=began)),
    }


async def killed(stage: Stage) -> Figures:
    """kill -9 of the only server, which is started again: what ran went on, and no job is lost."""
    server, books = stage.servers[0], stage.books
    server.kill()
    at = time.time()
    await asyncio.to_thread(server.up)
    answers = time.time()
    ended = {each.job for each in stays(stage.fleet.folder) if at <= each.ended_s < answers}
    first = await _first_start(stage, at)

    def is_settled() -> bool:
        return all(books.lives[id].state != "running" or books.lives[id].steps[-1][0] > at for id in ended)

    settled = await stage.until(is_settled, "it is known what ended meanwhile")
    return {
        "s until it answers again": answers - at,
        **{name: value - at for name, value in first.items()},
        "jobs that ended meanwhile": len(ended),
        "s until their ends are known": settled - at,
    }


async def taken_over(stage: Stage) -> Figures:
    """kill -9 of the server that decides; another on the same database goes on."""
    await _fill(stage)
    stage.servers[0].kill()
    at = time.time()
    first = await _first_start(stage, at)
    await asyncio.to_thread(stage.servers[0].up)
    return {name: value - at for name, value in first.items()}


async def _fill(stage: Stage) -> float:
    """Let more come than the pool can hold until jobs wait, then as much as it can hold; when that was."""
    stage.load.factor = FLOOD
    most = max(1, round(WAITING * stage.plan.nodes))
    full = await stage.until(lambda: stage.books.count()["queued"] >= most, "jobs wait")
    stage.load.factor = FULL
    return full


async def _first_start(stage: Stage, at: float) -> Figures:
    """When a job was placed, and when one was started, for the first time after `at`."""
    books = stage.books
    verbs = {"s to the next decision": "queued->placed", "s to the next start": "placed->running"}
    await stage.until(lambda: all(books.moments(verb, since=at) for verb in verbs.values()), "jobs are started")
    return {name: books.moments(verb, since=at)[0] for name, verb in verbs.items()}
