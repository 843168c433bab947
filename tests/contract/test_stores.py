"""What every store promises, on SQLite and on a real Postgres."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as ThreadEvent

import pytest

from lepton.catalog.reference import parse
from lepton.core.artifact import File, Version, manifest_digest
from lepton.core.clock import ManualClock
from lepton.core.errors import DatabaseError, IdempotencyError, NameTakenError, NotFoundError, StaleError
from lepton.core.event import Event, canonical, leaf_hash
from lepton.core.ids import make_id
from lepton.core.resource import Resource
from lepton.store import catalog, events, idempotency, leases, metrics, people, resources
from lepton.store.database import Database, Tx
from lepton.store.open import open_database
from lepton.store.people import Token

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "sqlite" else str(request.getfixturevalue("fresh_postgres"))


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(url, folder=tmp_path, clock=ManualClock())
    yield opened
    opened.close()


def thing(kind: str = "job", name: str = "a", *, at: datetime = NOW, state: str = "queued") -> Resource:
    return Resource(
        id=make_id(kind, at=at),
        kind=kind,
        workspace="default",
        name=name,
        spec={"text": "ünïcode \U0001f600"},
        state=state,
        created_at=at,
        updated_at=at,
    )


def told(resource: Resource, verb: str = "created") -> Event:
    return Event(
        subject=resource.id,
        kind=resource.kind,
        workspace=resource.workspace,
        verb=verb,
        why="test",
        actor="tester",
        at=NOW,
    )


def insert(database: Database, resource: Resource) -> Resource:
    return database.write(lambda tx: resources.insert(tx, resource, told(resource)))


def test_what_was_inserted_is_read_back_whole(database: Database) -> None:
    stored = insert(database, thing())
    assert database.read(lambda tx: resources.get(tx, stored.id)) == stored
    assert stored.revision > 0


def test_an_unknown_id_or_another_kind_is_not_found(database: Database) -> None:
    stored = insert(database, thing())
    for id, kind in (("job_0", ""), (stored.id, "endpoint")):
        with pytest.raises(NotFoundError):
            database.read(lambda tx, id=id, kind=kind: resources.get(tx, id, kind=kind))  # type: ignore[misc]


def test_unique_kinds_have_one_of_each_name_until_it_ends(database: Database) -> None:
    first = insert(database, thing("endpoint", "e"))
    with pytest.raises(NameTakenError):
        insert(database, thing("endpoint", "e"))
    gone = replace(first, is_final=True, state="deleted")
    database.write(lambda tx: resources.update(tx, gone, told(gone, "deleted"), expected=first.revision))
    again = insert(database, thing("endpoint", "e"))
    found = database.read(lambda tx: resources.by_name(tx, "endpoint", "default", "e"))
    assert found is not None
    assert found.id == again.id


def test_jobs_may_share_a_name(database: Database) -> None:
    assert insert(database, thing()).id != insert(database, thing()).id


def test_of_many_creators_of_one_name_one_wins(database: Database) -> None:
    def create(_: int) -> bool:
        try:
            insert(database, thing("model", "m"))
        except NameTakenError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(48))) == 1


def test_a_change_at_an_old_revision_is_refused_and_leaves_no_event(database: Database) -> None:
    stored = insert(database, thing())
    newer = database.write(lambda tx: resources.update(tx, stored, told(stored, "one"), expected=stored.revision))
    with pytest.raises(StaleError):
        database.write(lambda tx: resources.update(tx, stored, told(stored, "two"), expected=stored.revision))
    verbs = [event.verb for _, event in database.read(lambda tx: events.after(tx, 0, subject=stored.id))]
    assert verbs == ["created", "one"]
    assert newer.revision > stored.revision


def test_racing_changes_lose_no_increment(database: Database) -> None:
    stored = insert(database, replace(thing(), spec={"n": 0}))

    def increment(_: int) -> None:
        while True:
            now = database.read(lambda tx: resources.get(tx, stored.id))
            plus = replace(now, spec={"n": now.spec["n"] + 1})
            try:
                database.write(
                    lambda tx, plus=plus, now=now: resources.update(tx, plus, told(plus), expected=now.revision)
                )  # type: ignore[misc]
            except StaleError:
                continue
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(increment, range(40)))
    assert database.read(lambda tx: resources.get(tx, stored.id)).spec["n"] == 40


def test_pages_hold_every_row_once_newest_first(database: Database) -> None:
    rows = [insert(database, thing(name=f"n{i % 3}", at=NOW + timedelta(seconds=i))) for i in range(25)]
    seen: list[str] = []
    cursor = ""
    while page := database.read(
        lambda tx, cursor=cursor: resources.list_page(tx, "job", "default", where={}, before=cursor, limit=10)  # type: ignore[misc]
    ):
        seen += [row.id for row in page]
        cursor = page[-1].id
    assert seen == [row.id for row in reversed(rows)]
    named = database.read(lambda tx: resources.list_page(tx, "job", "default", where={"name": "n1"}, limit=100))
    assert {row.name for row in named} == {"n1"}
    assert len(named) == 8


def test_listing_uses_an_index_for_every_filter(tmp_path: Path) -> None:
    opened = open_database("", folder=tmp_path, clock=ManualClock())
    for where in ({}, {"state": "done"}, {"name": "x"}):
        condition = " AND ".join(["kind = 'job'", "workspace = 'w'", *(f"{name} = 'v'" for name in where), "id < 'z'"])
        plan = opened.read(
            lambda tx, c=condition: tx.rows(
                f"EXPLAIN QUERY PLAN SELECT * FROM resources WHERE {c} ORDER BY id DESC LIMIT 9"
            )  # type: ignore[misc]
        )
        text = " ".join(str(row[3]) for row in plan)
        assert "USING INDEX" in text
        assert "TEMP B-TREE" not in text
    opened.close()


def test_alive_leaves_out_what_has_ended(database: Database) -> None:
    running = insert(database, thing(state="running"))
    insert(database, replace(thing(state="done"), is_final=True))
    found = database.read(lambda tx: resources.alive(tx, "job", states=["running", "done"]))
    assert [row.id for row in found] == [running.id]


def test_what_has_ended_is_read_youngest_first_back_to_a_moment(database: Database) -> None:
    moments = [NOW + timedelta(hours=at) for at in range(6)]
    for at, moment in enumerate(moments):
        insert(database, replace(thing(at=moment), is_final=at != 3))
    insert(database, replace(thing("run", at=moments[4]), is_final=True))

    def read(since: datetime, limit: int = 10) -> list[int]:
        found = database.read(lambda tx: resources.newest_final(tx, "job", since=since, limit=limit))
        return [moments.index(each.created_at) for each in found]

    assert read(NOW) == [5, 4, 2, 1, 0]
    assert read(moments[2]) == [5, 4, 2] and read(moments[2] + timedelta(microseconds=1)) == [5, 4]
    assert read(NOW, limit=2) == [5, 4]


def test_one_bad_piece_of_work_spoils_only_itself(database: Database) -> None:
    def bad(tx: Tx) -> None:
        resources.insert(tx, thing(name="bad"), told(thing()))
        raise ValueError("mine")

    futures = [
        database.submit(bad if i % 3 == 0 else lambda tx: resources.insert(tx, thing(), told(thing())))
        for i in range(30)
    ]
    failed = [isinstance(future.exception(), ValueError) for future in futures]
    assert failed == [i % 3 == 0 for i in range(30)]
    assert len(database.read(lambda tx: resources.list_page(tx, "job", "default", where={}, limit=100))) == 20


def test_commits_tell_listeners_their_events_in_order(database: Database) -> None:
    heard: list[int] = []
    database.on_commit(lambda batch: heard.extend(seq for seq, _ in batch))
    futures = [database.submit(lambda tx: resources.insert(tx, thing(), told(thing()))) for _ in range(200)]
    revisions = [future.result().revision for future in futures]
    assert heard == sorted(heard) == sorted(revisions)


def test_events_keep_their_canonical_bytes_and_leaf_hash(database: Database) -> None:
    event = told(thing())
    database.write(lambda tx: events.append(tx, event))
    row = database.read(lambda tx: tx.row("SELECT body, leaf FROM events"))
    assert row is not None
    assert bytes(row[0]) == canonical(event)
    assert bytes(row[1]) == leaf_hash(canonical(event))
    assert database.read(lambda tx: events.after(tx, 0))[0][1] == event


def test_events_are_scoped_to_workspaces(database: Database) -> None:
    event = told(thing())
    database.write(lambda tx: [events.append(tx, replace(event, workspace=name)) for name in ("a", "b", "a")])
    assert len(database.read(lambda tx: events.after(tx, 0, workspaces=["a"]))) == 2
    assert database.read(lambda tx: events.after(tx, 0, workspaces=[])) == []
    assert database.read(events.newest) == database.read(lambda tx: events.after(tx, 0))[-1][0]


def version(name: str = "mnist", kind: str = "dataset", **more: object) -> Version:
    files = (File(path="a.npy", digest="0" * 64, size_bytes=3),)
    made = Version(
        id=make_id("version", at=NOW),
        workspace="default",
        kind=kind,
        name=name,
        number=0,
        digest=manifest_digest(files),
        size_bytes=3,
        files=files,
        created_at=NOW,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def test_versions_count_from_one_within_their_name(database: Database) -> None:
    stored = [database.write(lambda tx, n=n: catalog.insert(tx, version(n), actor="t")) for n in ("a", "a", "b", "a")]  # type: ignore[misc]
    assert [v.number for v in stored] == [1, 2, 1, 3]
    assert database.read(lambda tx: catalog.get(tx, stored[1].id)) == stored[1]


def test_a_reference_finds_the_newest_or_the_numbered(database: Database) -> None:
    first = database.write(lambda tx: catalog.insert(tx, version(), actor="t"))
    second = database.write(lambda tx: catalog.insert(tx, version(), actor="t"))

    def find(text: str) -> str:
        return database.read(lambda tx: catalog.find(tx, "default", parse(text), kinds=["dataset"])).id

    assert [find("mnist"), find("mnist@1"), find(second.id)] == [second.id, first.id, second.id]
    for text in ("mnist@3", "other", make_id("version", at=NOW)):
        with pytest.raises(NotFoundError):
            find(text)


def test_the_same_content_of_one_job_is_known_again(database: Database) -> None:
    stored = database.write(lambda tx: catalog.insert(tx, version(job="job_1"), actor="t"))

    def same(job: str, digest: str) -> Version | None:
        return database.read(lambda tx: catalog.same(tx, job=job, kind="dataset", name="mnist", digest=digest))

    assert same("job_1", stored.digest) == stored
    assert same("job_2", stored.digest) is None
    assert same("", stored.digest) is None


def test_a_reported_step_replaces_itself(database: Database) -> None:
    for value in (1.0, 2.0):
        database.write(lambda tx, v=value: metrics.add(tx, "j", step=1, worker=0, at=0, values={"loss": v}))  # type: ignore[misc]
    database.write(lambda tx: metrics.add(tx, "j", step=1, worker=1, at=0, values={"loss": 4.0}))
    assert database.read(lambda tx: metrics.series(tx, "j")) == {"loss": [(1, 3.0)]}


def test_an_idempotency_key_gives_the_first_answer_and_refuses_another_request(database: Database) -> None:
    database.write(lambda tx: idempotency.remember(tx, "p", "k", request="r", answer={"id": 1}, at=5))
    assert database.read(lambda tx: idempotency.recall(tx, "p", "k", "r")) == {"id": 1}
    assert database.read(lambda tx: idempotency.recall(tx, "other", "k", "r")) is None
    with pytest.raises(IdempotencyError):
        database.read(lambda tx: idempotency.recall(tx, "p", "k", "another"))
    assert database.write(lambda tx: idempotency.sweep(tx, 6)) == 1


def test_work_whose_caller_has_gone_is_left_out_and_the_writer_goes_on(database: Database) -> None:
    begun, gate = ThreadEvent(), ThreadEvent()

    def hold(tx: Tx) -> None:
        begun.set()
        gate.wait(10)

    held = database.submit(hold)
    assert begun.wait(10)
    gone = database.submit(lambda tx: tx.execute("INSERT INTO leases VALUES ('gone', 'a', 1)"))
    assert gone.cancel()
    gate.set()
    held.result(10)
    assert database.write(lambda tx: tx.row("SELECT name FROM leases WHERE name = 'gone'")) is None


def test_a_lease_given_before_the_clock_was_set_back_is_free(database: Database) -> None:
    def take(token: str, now: int) -> bool:
        return database.write(lambda tx: leases.take(tx, "loop", token, now=now, until=now + 10))

    assert [take("a", 1_000), take("b", 995), take("b", 100)] == [True, False, True]


def test_a_lease_has_one_holder_until_it_expires(database: Database) -> None:
    def take(token: str, now: int) -> bool:
        return database.write(lambda tx: leases.take(tx, "loop", token, now=now, until=now + 10))

    assert [take("a", 0), take("b", 5), take("a", 8), take("b", 17), take("b", 18)] == [True, False, True, False, True]
    assert [database.read(lambda tx, now=now: leases.any_held(tx, now=now)) for now in (27, 28)] == [True, False]  # type: ignore[misc]
    with pytest.raises(StaleError):
        database.read(lambda tx: leases.check(tx, "loop", "a"))
    database.write(lambda tx: leases.release(tx, "loop", "b"))
    assert take("a", 19)


def test_tokens_and_roles(database: Database) -> None:
    token = Token(id="tok_1", username="ada", label="laptop", created_at=1, expires_at=9)
    database.write(lambda tx: people.add_token(tx, token, hash="h"))
    database.write(lambda tx: people.set_role(tx, "default", "ada", "viewer"))
    database.write(lambda tx: people.set_role(tx, "default", "ada", "editor"))
    assert database.read(lambda tx: people.token_by_hash(tx, "h")) == token
    assert database.read(lambda tx: people.tokens_of(tx, "ada")) == [token]
    assert database.read(lambda tx: people.roles_of(tx, "ada")) == {"default": "editor"}
    assert not database.write(lambda tx: people.drop_token(tx, "tok_1", "eve"))
    assert database.write(lambda tx: people.drop_token(tx, "tok_1", "ada"))
    assert database.read(lambda tx: people.token_by_hash(tx, "h")) is None


def test_opening_twice_keeps_what_is_there(url: str, tmp_path: Path) -> None:
    first = open_database(url, folder=tmp_path, clock=ManualClock())
    stored = insert(first, thing())
    first.close()
    second = open_database(url, folder=tmp_path, clock=ManualClock())
    assert second.read(lambda tx: resources.get(tx, stored.id)) == stored
    second.close()


def test_a_database_of_a_newer_version_is_refused_untouched(url: str, tmp_path: Path) -> None:
    opened = open_database(url, folder=tmp_path, clock=ManualClock())
    opened.write(lambda tx: tx.execute("INSERT INTO migrations VALUES (9999, 'future', 0)"))
    opened.close()
    with pytest.raises(DatabaseError, match="9999"):
        open_database(url, folder=tmp_path, clock=ManualClock())


@pytest.mark.parametrize("damage", [b"this is no database at all, but long enough to be read as one" * 99, b""])
def test_a_torn_sqlite_file_is_named_or_begun_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "lepton.db").write_bytes(damage)
    if damage:
        with pytest.raises(DatabaseError, match=r"lepton\.db"):
            open_database("", folder=tmp_path, clock=ManualClock())
    else:
        open_database("", folder=tmp_path, clock=ManualClock()).close()


def test_a_sqlite_file_with_a_torn_page_is_named(tmp_path: Path) -> None:
    opened = open_database("", folder=tmp_path, clock=ManualClock())
    for _ in range(50):
        insert(opened, thing())
    opened.close()
    path = tmp_path / "lepton.db"
    body = bytearray(path.read_bytes())
    body[8192:] = b"\x55" * (len(body) - 8192)
    path.write_bytes(body)
    with pytest.raises(DatabaseError, match="damaged"):
        torn = open_database("", folder=tmp_path, clock=ManualClock())
        try:
            torn.read(lambda tx: resources.list_page(tx, "job", "default", where={}))
        finally:
            torn.close()


def test_sqlite_commits_are_durable(tmp_path: Path) -> None:
    opened = open_database("", folder=tmp_path, clock=ManualClock())
    row = opened.write(lambda tx: tx.row("PRAGMA synchronous"))
    mode = opened.read(lambda tx: tx.row("PRAGMA journal_mode"))
    assert (row, mode) == ((2,), ("wal",))
    opened.close()
