"""The pool at a glance: the same numbers as a count of everything gives, from what has changed alone."""

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from lepton.core.clock import to_micros
from lepton.core.errors import ConflictError, NotFoundError
from lepton.core.event import Event
from lepton.core.launch import NodeFacts
from lepton.jobs.gang import with_stop
from lepton.pool.quota import QueueSpec
from lepton.server import census, memory
from lepton.server.entitle import delete_queue, find_queue
from lepton.server.landscape import Land, Landscape, read_land
from lepton.server.overview import Overview
from lepton.server.people import make_named
from lepton.server.submit import changed
from lepton.store import events, resources
from lepton.store.database import Database, Tx
from tests.server.test_placing import DEVICES, House, house

__all__ = ["house"]
T = TypeVar("T")


def statements(database: Database, work: Callable[[Tx], T]) -> tuple[T, list[str]]:
    """What work gives, and the statements that it runs."""
    ran: list[str] = []

    def traced(tx: Tx) -> T:
        connection: Any = tx.connection
        connection.set_trace_callback(ran.append)
        try:
            return work(tx)
        finally:
            connection.set_trace_callback(None)

    return database.read(traced), ran


def states(land: Land) -> dict[str, str]:
    return {machine.name: machine.state for machine in land.machines}


def looks(house: House, overview: Overview) -> tuple[Any, Any]:
    now = to_micros(house.clock.now())
    return house.database.read(lambda tx: (overview.look(tx, now), overview.nodes(tx)))


def test_nodes_are_listed_by_name_state_and_page_by_page(house: House) -> None:
    overview = Overview(Landscape())
    for at in range(2, 6):
        house.engine.add_node(NodeFacts(name=f"n{at}", devices=DEVICES))
    house.pulse.turn()
    house.wish("n3", "cordoned")

    def names(**asked: Any) -> list[str]:
        return [row[3] for row in house.database.read(lambda tx: overview.nodes(tx, **asked))]

    assert names() == [f"n{at}" for at in range(6)]
    assert names(limit=2) == ["n0", "n1"] and names(after="n1", limit=2) == ["n2", "n3"]
    assert names(state="cordoned") == ["n3"] and names(after="n5") == []


def test_what_is_counted_is_what_a_count_of_all_gives(house: House) -> None:
    kept = Overview(Landscape())
    house.make("queue", "ml", QueueSpec(limit={"gpu_milli": 8000}).to_json())
    house.make("queue", "vision", QueueSpec(parent="ml").to_json())

    def same() -> Any:
        seen = looks(house, kept)
        assert seen == looks(house, Overview(Landscape()))
        return seen[0]

    assert same()["jobs"] == {}
    low = house.submit(4, workers=2, priority="low-1", queue="vision", can_resume=True)
    same()
    house.turn(3)
    found = same()
    rows = {row["name"]: row["status"] for row in found["queues"]}
    assert rows["ml"]["held"] == rows["vision"]["held"] == {"gpu_milli": 8000, "cpu_milli": 2000}
    assert found["devices"]["gpu_milli"] == {"total": 16_000, "up": 16_000, "held": 8000}
    ids = [house.submit(0.4, seconds=9), house.submit(8, priority="high-1", seconds=20), house.submit(8, workers=2)]
    for _ in range(8):
        house.turn()
        same()
    house.engine.lose_node("n1")
    house.wish("n0", "cordoned")
    house.turn(2)
    found = same()
    assert found["nodes"] == {"cordoned": 1, "failed": 1} and found["devices"]["gpu_milli"]["up"] == 8000
    assert house.states(*ids)[0] == "done" and house.states(low) != ["done"]


def test_who_has_waited_longest_is_known_when_another_goes_first(house: House) -> None:
    overview = Overview(Landscape())
    first, second = house.submit(8, workers=2), house.submit(8, workers=2)
    house.clock.advance(7)

    def waits() -> tuple[int, float]:
        row = looks(house, overview)[0]["queues"][0]["status"]
        return row["waiting"], row["longest_wait_s"]

    assert waits() == (2, pytest.approx(7, abs=0.1))
    house.turn()
    assert house.states(first, second) == ["running", "queued"]
    assert waits() == (1, pytest.approx(12, abs=0.1))
    house.clock.advance(3)
    assert waits() == (1, pytest.approx(15, abs=0.1))


def cancel(house: House, id: str) -> None:
    def work(tx: Tx) -> None:
        job = resources.get(tx, id)
        wished = with_stop(job, 0, house.clock.now())
        resources.update(tx, wished, changed(job, "stop", house.author()), expected=job.revision)

    house.database.write(work)
    house.running.touch(id)
    house.running.turn()
    assert house.states(id) == ["cancelled"]


def test_waits_that_are_over_are_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "SPARE", 0)
    overview = Overview(Landscape())
    house.submit(8, workers=2)
    house.turn()
    longest = house.submit(8, workers=2)
    for _ in range(9):
        passing = house.submit(1, after=(longest,))
        looks(house, overview)
        cancel(house, passing)
        looks(house, overview)
    assert looks(house, overview)[0]["queues"][0]["status"]["waiting"] == 1
    assert len(overview._census._since["default"]) <= 4


def test_many_jobs_that_are_read_at_once_are_left_out_of_collections(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.submit(8, workers=2)
    waits = [house.submit(1) for _ in range(3)]
    before = gc.get_freeze_count()
    try:
        house.placing.turn()
        looks(house, Overview(Landscape()))
        assert gc.get_freeze_count() == before, "a few cost nothing"
        monkeypatch.setattr(memory, "MANY", 4)
        looks(house, Overview(Landscape()))
        assert gc.get_freeze_count() > before, "those of the census"
        gc.unfreeze()
        house.placing.mirror.reset()
        house.placing.turn()
        assert gc.get_freeze_count() > 0 and waits[0] in house.placing.mirror.live.jobs, "those of the mirror"
    finally:
        gc.unfreeze()


def test_a_queue_is_ended_without_reading_all_jobs_and_not_while_one_has_just_come(house: House) -> None:
    overview, author = Overview(Landscape()), replace(house.author(), workspace="")
    for name in ("ml", "few"):
        house.make("queue", name, QueueSpec().to_json())
    jobs = [house.submit(1, queue="ml") for _ in range(5)]

    def delete(name: str, known: tuple[int, list[str]]) -> Callable[[Tx], None]:
        seq, living = known
        return lambda tx: delete_queue(tx, find_queue(tx, name), author, seq=seq, living=living)

    def living(name: str) -> tuple[int, list[str]]:
        return house.database.read(lambda tx: overview.living(tx, name))

    before = living("few")
    assert living("ml")[1] == jobs
    came = house.submit(1, queue="few")
    with pytest.raises(ConflictError, match=came):
        house.database.write(delete("few", before))
    cancel(house, came)
    _, ran = statements(house.database, lambda tx: overview.living(tx, "few"))
    assert not any("FROM resources" in sql and " IN (" not in sql for sql in ran), ran
    house.database.write(delete("few", before))
    with pytest.raises(ConflictError, match=f"{jobs[0]}, {jobs[1]}, {jobs[2]} and 2 more"):
        house.database.write(delete("ml", living("ml")))
    with pytest.raises(NotFoundError):
        house.database.read(lambda tx: find_queue(tx, "few"))


def test_a_look_reads_only_the_jobs_that_something_happened_to(house: House) -> None:
    overview = Overview(Landscape())
    for _ in range(5):
        house.submit(1)
    house.turn(2)
    now = to_micros(house.clock.now())
    statements(house.database, lambda tx: overview.look(tx, now))
    _, ran = statements(house.database, lambda tx: overview.look(tx, now))
    assert not any("FROM resources" in line for line in ran)
    id = house.submit(1)
    _, ran = statements(house.database, lambda tx: overview.look(tx, now))
    assert [line.count("job_") for line in ran if "FROM resources" in line] == [1] and id in str(ran)


def test_nodes_are_read_again_only_when_one_has_changed_and_then_that_one_alone(house: House) -> None:
    landscape = Landscape()
    first, _ = statements(house.database, landscape.at)
    author = house.author()
    house.database.write(lambda tx: make_named(tx, "user", "eve", {}, replace(author, workspace="")))
    same, ran = statements(house.database, landscape.at)
    assert same is first and not any("FROM resources" in line for line in ran)
    house.make("queue", "ml", QueueSpec(limit={"gpu_milli": 8000}).to_json())
    queued, ran = statements(house.database, landscape.at)
    assert set(queued.queues) == {"default", "ml"} and queued.machines is first.machines
    assert not any("'node'" in line for line in ran)
    house.wish("n1", "cordoned")
    newer, ran = statements(house.database, landscape.at)
    assert states(newer) == {"n0": "up", "n1": "cordoned"}
    assert [line.count("'nod_") for line in ran if "FROM resources" in line] == [1]
    assert newer == house.database.read(read_land)


def test_what_a_transaction_saw_that_failed_is_not_believed(house: House) -> None:
    landscape = Landscape()
    house.database.read(landscape.at)

    def cordon(tx: Tx) -> None:
        node = resources.by_name(tx, "node", "", "n0")
        assert node is not None
        event = Event(subject=node.id, kind="node", workspace="", verb="x", why="", actor="ada", at=house.clock.now())
        tx.execute("UPDATE resources SET state = 'cordoned' WHERE id = ?", (node.id,))
        events.append(tx, event)
        assert states(landscape.at(tx))["n0"] == "cordoned"
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        house.database.write(cordon)
    assert states(house.database.read(landscape.at))["n0"] == "up"
    house.wish("n1", "draining")
    assert states(house.database.read(landscape.at)) == {"n0": "up", "n1": "draining"}
