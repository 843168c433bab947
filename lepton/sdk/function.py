"""Run a Python function as a job, and get its return value, or its exception with the traceback it had there.

@lepton.job(cpus=2)
def count(path): ...

count("x.txt")                 # runs here, as ever
handle = count.submit("x.txt") # runs as a job
handle.result()

An `async` function is awaited where it runs, and `result()` is what it returned.
"""

import inspect
import pickle
import re
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from lepton.core.errors import InvalidError, JobFailedError
from lepton.sdk.client import Client, connect
from lepton.sdk.jobs import Job
from lepton.sdk.options import JobOptions
from lepton.sdk.pack import pack

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H")
CALL_FILE = "call.pkl"
RESULT_FILE = "result.pkl"
NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


class Call(Generic[R]):
    """A function that runs as a job."""

    def __init__(self, client: Client, job: Job) -> None:
        self.client = client
        self.job = job

    def result(self, *, timeout_s: float | None = None) -> R:
        """Wait for the job and return what the function returned.

        Raises:
            JobFailedError: the job ended without a result (killed, out of memory, ...), or the function left by
                `sys.exit` or the like.
            UnavailableError: it still goes on after `timeout_s` seconds.
            Exception: whatever the function raised, with the remote traceback as a note.
        """
        self.job.wait(timeout_s=timeout_s, check=False)
        results = [version for version in self.job.versions() if version["kind"] == "result"]
        if not results:
            raise JobFailedError(
                f"Job {self.job.id} {self.job.state} without a result: {self.job.why()}",
                fix=f"lepton jobs logs {self.job.id}",
            )
        outcome = self._load(results[-1]["id"])
        if outcome["ok"]:
            value: R = outcome["value"]
            return value
        error: BaseException = outcome["error"]
        error.add_note(f"Traceback of job {self.job.id}:\n{outcome['traceback']}")
        if not isinstance(error, Exception):  # SystemExit raised here would end the caller's program
            raise JobFailedError(f"Job {self.job.id} left by {error!r}", fix="Let the function return.") from error
        raise error

    def _load(self, version: str) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            self.client.catalog.get(version).download(folder)
            outcome: dict[str, Any] = pickle.loads((Path(folder) / RESULT_FILE).read_bytes())
        return outcome

    def __repr__(self) -> str:
        return f"<Call {self.job.name} {self.job.id}: {self.job.state}>"

    def _repr_html_(self) -> str:
        return self.job._repr_html_()


class RemoteFunction(Generic[P, H, R]):
    """A function that can also run as a job. Calling it runs it here."""

    def __init__(self, function: Callable[P, H], options: JobOptions, client: Client | None) -> None:
        self._function = function
        self._options = options
        self._client = client
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> H:
        """Run it here."""
        return self._function(*args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Run it as a job; returns at once.

        Raises:
            TypeError: the function takes other arguments.
            InvalidError: the function or an argument cannot be sent, or an option cannot be.
            CapacityError, UnreachableError: the job was not accepted.
        """
        inspect.signature(self._function).bind(*args, **kwargs)
        client = self._client or connect()
        name = job_name(self._function)
        with TemporaryDirectory() as folder:
            path = Path(folder) / CALL_FILE
            path.write_bytes(pack(self._function, args, kwargs))
            code = client.catalog.upload([path], kind="code", name=name)
        options: JobOptions = {"name": name, **self._options}
        return Call(client, client.jobs.submit_function(code.id, **options))


class Decorator(Protocol):
    """Makes a function one that can also run as a job."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> RemoteFunction[P, Coroutine[Any, Any, R], R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> RemoteFunction[P, R, R]: ...

    def __call__(self, function: Callable[..., Any], /) -> Any:
        """The function, with `submit`."""


@overload
def job(function: Callable[P, Coroutine[Any, Any, R]], /) -> RemoteFunction[P, Coroutine[Any, Any, R], R]: ...


@overload
def job(function: Callable[P, R], /) -> RemoteFunction[P, R, R]: ...


@overload
def job(*, client: Client | None = None, **options: Unpack[JobOptions]) -> Decorator: ...


def job(function: Any = None, /, *, client: Client | None = None, **options: Unpack[JobOptions]) -> Any:
    """A decorator: the function can then be submitted as a job. Write `@lepton.job` or `@lepton.job(cpus=2)`.

    Args:
        client: which server; the one `lepton.connect()` finds unless given.
        options: see `JobOptions`: cpus, gpus, memory_bytes, retries, timeout_s, env, ...
    Raises:
        InvalidError: what is decorated is no function, or one that yields: a job gives back one value.
    """

    def decorate(function: Callable[..., Any], /) -> Any:
        check_function(function)
        return RemoteFunction(function, options, client)

    return decorate if function is None else decorate(function)


def check_function(function: Any) -> None:
    """Refuse what cannot be a job.

    Raises:
        InvalidError: it is no function, or it yields.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if not callable(function) or inspect.isclass(function):
        raise InvalidError(f"{name!r} is not a function", fix="Decorate a function: @lepton.job(cpus=1).")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidError(
            f"{name!r} yields, and a job gives back one value",
            fix="Return a list; report on the way with lepton.context().metrics or .progress.",
        )


def job_name(function: Callable[..., Any]) -> str:
    """What a function's job is called: its name, as far as names may go."""
    name = getattr(function, "__name__", "function").lower()
    return NOT_IN_NAMES.sub("-", name).strip("-")[:63].strip("-") or "function"
