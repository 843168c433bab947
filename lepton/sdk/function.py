"""Run a Python function as a job, and get its return value, or its exception with the traceback it had there.

@lepton.job(cpus=2)
def count(path): ...

count("x.txt")                 # runs here, as ever
handle = count.submit("x.txt") # runs as a job
handle.result()
"""

import pickle
import sys
import sysconfig
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Generic, ParamSpec, TypeVar, Unpack

import cloudpickle

from lepton.core.errors import JobFailedError
from lepton.sdk.client import Client, connect
from lepton.sdk.jobs import Job, JobOptions

P = ParamSpec("P")
R = TypeVar("R")
CALL_FILE = "call.pkl"
RESULT_FILE = "result.pkl"


class Call(Generic[R]):
    """A function that runs as a job."""

    def __init__(self, client: Client, job: Job) -> None:
        self.client = client
        self.job = job

    def result(self, *, timeout_s: float | None = None) -> R:
        """Wait for the job and return what the function returned.

        Raises:
            JobFailedError: the job ended without a result (killed, out of memory, ...).
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


class RemoteFunction(Generic[P, R]):
    """A function that can also run as a job. Calling it runs it here."""

    def __init__(self, function: Callable[P, R], options: JobOptions, client: Client | None) -> None:
        self._function = function
        self._options = options
        self._client = client
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here."""
        return self._function(*args, **kwargs)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Run it as a job; returns at once.

        Raises:
            InvalidError, CapacityError, UnreachableError: it was not accepted.
        """
        client = self._client or connect()
        name = getattr(self._function, "__name__", "function").strip("_<>").lower() or "function"
        with TemporaryDirectory() as folder:
            path = Path(folder) / CALL_FILE
            path.write_bytes(pack(self._function, args, kwargs))
            code = client.catalog.upload([path], kind="code", name=name)
        options: JobOptions = {"name": name, **self._options}
        return Call(client, client.jobs.submit_function(code.id, **options))


def job(
    *, client: Client | None = None, **options: Unpack[JobOptions]
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]:
    """A decorator: the function can then be submitted as a job.

    Args:
        client: which server; the one `lepton.connect()` finds unless given.
        options: see `JobOptions`: cpus, gpus, memory_bytes, retries, timeout_s, env, ...
    """

    def decorate(function: Callable[P, R]) -> RemoteFunction[P, R]:
        return RemoteFunction(function, options, client)

    return decorate


def pack(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Pickle a call. The user's own modules go along by value, as the worker may not have them."""
    known = cloudpickle.list_registry_pickle_by_value()
    own = [module for module in list(sys.modules.values()) if is_users(module) and module.__name__ not in known]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps({"function": _plain(function), "args": args, "kwargs": kwargs}))
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself: its module may hold this very decorator's object under its name."""
    return function if not isinstance(function, RemoteFunction) else function._function


def is_users(module: ModuleType) -> bool:
    """Whether a module is the user's own: neither built in nor installed."""
    file, name = getattr(module, "__file__", None), getattr(module, "__name__", "__main__")
    if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] == "lepton":
        return False
    return not any(Path(file).is_relative_to(path) for path in sysconfig.get_paths().values())
