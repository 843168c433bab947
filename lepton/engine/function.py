"""Run a pickled Python function as a job: its arguments in, its return value or its exception out.

The pickle comes from a user who may run any program here anyway; it is opened only inside the user's own worker.
"""

import asyncio
import inspect
import linecache
import traceback
from collections.abc import Awaitable, Mapping
from typing import Any

import cloudpickle

from lepton.core.context import Context
from lepton.engine.files import leave_fault

CALL_FILE = "call.pkl"
RESULT_FILE = "result.pkl"


def main(context: Context) -> None:
    """Call the function of input `code`; rank 0 publishes what became of it as a version of kind `result`."""
    packed = cloudpickle.loads((context.input("code") / CALL_FILE).read_bytes())
    know_sources(packed["sources"])
    call = cloudpickle.loads(packed["call"])
    outcome = run(call["function"], call["args"], call["kwargs"])
    if context.rank == 0:
        folder = context.folder / "result"
        folder.mkdir(exist_ok=True)
        (folder / RESULT_FILE).write_bytes(pack(outcome))
        context.publish(kind="result", name=context.job.replace("_", "-"), folder=folder, meta={"ok": outcome["ok"]})
    if not outcome["ok"]:
        print(outcome["traceback"], flush=True)  # noqa: T201  the job's own log
        leave_fault(str(outcome["traceback"]).rstrip().rpartition("\n")[2])
        raise SystemExit(1)


def know_sources(sources: Mapping[str, str]) -> None:
    """Let tracebacks show the lines of files that are not here, or are others here. Name of a file -> its text."""
    for name, text in sources.items():
        linecache.cache[name] = (
            len(text),
            None,
            text.splitlines(keepends=True),
            name,
        )  # None: never looked for on disk


def run(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What calling it led to: `{ok, value}` or `{ok, error, traceback}`. What is awaitable is awaited."""
    try:
        value = function(*args, **kwargs)
        return {"ok": True, "value": asyncio.run(_await(value)) if inspect.isawaitable(value) else value}
    except BaseException as fault:  # noqa: BLE001  whatever it is, the caller is told
        trace = fault.__traceback__.tb_next if fault.__traceback__ else None  # without this very function
        text = "".join(traceback.format_exception(type(fault), fault, trace))
        return {"ok": False, "error": fault, "traceback": text}


async def _await(work: Awaitable[Any]) -> Any:
    return await work


def pack(outcome: dict[str, Any]) -> bytes:
    """Pickle an outcome; an exception or value that cannot be sent, or not be read again, is replaced by text."""
    try:
        packed = bytes(cloudpickle.dumps(outcome))
        if not outcome["ok"]:
            cloudpickle.loads(packed)  # an exception with an `__init__` of its own may not come back
        return packed
    except Exception as fault:  # noqa: BLE001  pickling runs any code
        error = _told(outcome["error"]) if not outcome["ok"] else _not_sent(outcome["value"], fault)
        return bytes(
            cloudpickle.dumps({"ok": False, "error": error, "traceback": outcome.get("traceback", str(error))})
        )


def _told(error: BaseException) -> Exception:
    """What stands for an exception that cannot be sent: its type and message."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001  it is any code
        said = "(its message cannot be read)"
    return RuntimeError(f"{type(error).__qualname__}: {said[:2000]}")


def _not_sent(value: Any, fault: Exception) -> Exception:
    return TypeError(f"The result cannot be sent back: {fault}. It was: {repr(value)[:2000]}")
