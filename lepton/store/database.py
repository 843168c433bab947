"""One database, SQLite or Postgres, behind two calls: `read` and `write`.

All writes go through one thread that takes what is waiting, gives each piece of work its own savepoint, and commits
them together (group commit): a caller's future is done only after the commit is durable, and one caller's fault undoes
only its own work. Work is a function of a `Tx` and must not touch anything but the database.

SQLite runs in WAL mode with `synchronous=FULL`: what was acknowledged survives a power cut. Postgres has its defaults,
which promise the same.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event as Stopping
from threading import Lock, Thread, local
from typing import Any, Protocol, TypeVar, cast

from lepton.core.errors import LeptonError, UnavailableError
from lepton.core.event import Event

T = TypeVar("T")
Row = tuple[Any, ...]
MAX_BATCH = 256


class Connection(Protocol):
    """What this module needs of a DB-API connection; both dialects give it."""

    def execute(self, sql: str, parameters: Sequence[Any] = ...) -> Any:
        """Run one statement and return its cursor."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Dialect(Protocol):
    """What differs between databases."""

    name: str
    words: dict[str, str]
    """Fill-ins of the migrations."""
    is_near: bool
    """Whether a row is read in microseconds, without a network: then a thread would cost more than the read."""

    def connect(self) -> Connection:
        """Open a connection outside any transaction."""
        ...

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that will write."""
        ...

    def translate(self, sql: str) -> str:
        """From `?` to the database's own placeholders."""
        ...

    def tell(self, connection: Connection) -> None:
        """Let other processes hear, once this transaction is committed, that it has stored events."""
        ...

    def listen(self, call: Callable[[], None], closing: Stopping) -> None:
        """Call whenever any process has told, until it is closing; return at once where there are no others."""
        ...

    def explain(self, fault: Exception) -> LeptonError | None:
        """What a driver's error means to a user; None if it is our own mistake."""
        ...


@dataclass(slots=True)
class Tx:
    """One transaction; events appended in it become visible with its commit."""

    connection: Connection
    dialect: Dialect
    events: list[tuple[int, Event]] = field(default_factory=list)
    """(seq, event) of those appended so far."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that changes rows; return how many it changed."""
        return cast(int, self.connection.execute(self.dialect.translate(sql), tuple(parameters)).rowcount)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return cast(list[Row], self.connection.execute(self.dialect.translate(sql), tuple(parameters)).fetchall())

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a query, if there is one."""
        return cast(Row | None, self.connection.execute(self.dialect.translate(sql), tuple(parameters)).fetchone())


Committed = Callable[[list[tuple[int, Event]]], None]


class Database:
    """Reads from any thread, writes in one."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._local = local()
        self._readers: list[Connection] = []
        self._lock = Lock()
        self._queue: SimpleQueue[tuple[Callable[[Tx], Any], Future[Any]] | None] = SimpleQueue()
        self._listeners: list[Committed] = []
        self._is_closed = self._is_ended = False
        self._closing = Stopping()
        self._hearing: list[Thread] = []
        self._writer = Thread(target=self._write_forever, name="lepton-writer", daemon=True)
        self._writer.start()

    def on_commit(self, call: Committed) -> None:
        """Call `call(events)` after every commit that stored events, in the writer's thread: be quick."""
        self._listeners.append(call)

    def on_news(self, call: Callable[[], None]) -> None:
        """Call soon after any process has stored events in this database, in a thread of its own; SQLite has one."""
        thread = Thread(target=self.dialect.listen, args=(call, self._closing), name="lepton-news", daemon=True)
        self._hearing.append(thread)
        thread.start()

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a read transaction of this thread's own connection.

        Raises:
            UnavailableError, StorageFullError, DatabaseError: the database cannot be read now.
        """
        connection = self._reader()
        with self._explained():
            connection.execute("BEGIN")
            try:
                return work(Tx(connection, self.dialect))
            finally:
                connection.execute("ROLLBACK")

    def submit(self, work: Callable[[Tx], T]) -> "Future[T]":
        """Queue `work` for the writer; the future is done when it is committed, or has failed and left nothing."""
        future: Future[T] = Future()
        if self._is_closed:
            future.set_exception(UnavailableError("The server is shutting down", fix="Try again in a moment."))
        else:
            self._queue.put((work, future))
            if self._is_ended:
                self._refuse_rest()
        return future

    def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work`, wait for its commit, return its result."""
        return self.submit(work).result()

    def close(self) -> None:
        """Finish what is queued, then close every connection."""
        if self._is_closed:
            return
        self._is_closed = True
        self._closing.set()
        self._queue.put(None)
        for thread in (self._writer, *self._hearing):
            thread.join()
        with self._lock:
            for connection in self._readers:
                connection.close()

    def _reader(self) -> Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            with self._explained():
                connection = self.dialect.connect()
            self._local.connection = connection
            with self._lock:
                self._readers.append(connection)
        return cast(Connection, connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LeptonError:
            raise
        except Exception as fault:
            explained = self.dialect.explain(fault)
            if explained is None:
                raise
            if self.dialect.name != "sqlite" and explained.status >= 500:
                self._local.connection = None
            raise explained from fault

    def _write_forever(self) -> None:
        connection: Connection | None = None
        while (first := self._queue.get()) is not None:
            batch = [first]
            is_last = False
            while len(batch) < MAX_BATCH and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    is_last = True
                    break
                batch.append(item)
            connection = self._write_batch(connection, batch)
            if is_last:
                break
        self._is_ended = True
        self._refuse_rest()
        if connection is not None:
            connection.close()

    def _refuse_rest(self) -> None:
        """Answer what was queued after the end: nobody would do it any more."""
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if item is not None:
                item[1].set_exception(UnavailableError("The server is shutting down", fix="Try again in a moment."))

    def _write_batch(
        self, connection: Connection | None, batch: list[tuple[Callable[[Tx], Any], Future[Any]]]
    ) -> Connection | None:
        """Commit a batch; return the connection to go on with, None if it broke."""
        results: list[tuple[Future[Any], Any, Exception | None]] = []
        events: list[tuple[int, Event]] = []
        batch = [item for item in batch if item[1].set_running_or_notify_cancel()]  # its caller may have gone
        try:
            with self._explained():
                connection = connection or self.dialect.connect()
                self.dialect.begin(connection)
                for work, future in batch:
                    results.append((future, *self._write_one(connection, work, events)))
                if events:
                    self.dialect.tell(connection)
                connection.execute("COMMIT")
        except Exception as fault:  # noqa: BLE001  every caller of the batch must hear of it
            for _, future in batch:
                future.set_exception(fault)
            return self._undo(connection)
        for listener in self._listeners if events else ():
            with suppress(Exception):  # the commit stands, whoever cannot hear of it
                listener(events)
        for future, result, error in results:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        return connection

    def _write_one(
        self, connection: Connection, work: Callable[[Tx], Any], events: list[tuple[int, Event]]
    ) -> tuple[Any, Exception | None]:
        tx = Tx(connection, self.dialect)
        connection.execute("SAVEPOINT work")
        try:
            result = work(tx)
        except Exception as fault:
            explained = None if isinstance(fault, LeptonError) else self.dialect.explain(fault)
            if explained is not None and explained.status >= 500 and self.dialect.name == "sqlite":
                raise explained from fault  # the whole batch is lost: the disk, not this work, is at fault
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            return None, explained or fault
        connection.execute("RELEASE work")
        events.extend(tx.events)
        return result, None

    def _undo(self, connection: Connection | None) -> Connection | None:
        if connection is None:
            return None
        try:
            connection.execute("ROLLBACK")
        except Exception:  # noqa: BLE001  the connection is gone: the next batch opens another
            return None
        return connection
