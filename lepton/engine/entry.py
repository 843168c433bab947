"""The program inside every worker that runs a function: `python -m lepton.engine.entry`.

It opens `package.module:function` of the launch in LEPTON_LAUNCH and calls it with the platform's context. The exit
code is 0 when the function returns, 1 when it raises; all reports are delivered before the process ends.
"""

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from lepton.core.context import Context
from lepton.core.errors import ConfigError, LeptonError
from lepton.core.launch import Launch
from lepton.engine.files import leave_fault, read_json
from lepton.engine.folder import FolderContext
from lepton.engine.leaving import leave_whole
from lepton.engine.platform import PlatformContext, current

OFF_PLATFORM = "LEPTON_OFF_PLATFORM"
"""Names the folder that stands in for the platform: nothing is asked of a server."""


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Run the launch of this environment; return the exit code."""
    context: PlatformContext | FolderContext | None = None
    try:
        launch = read_launch(environ)
        context = open_folder(launch, environ) if OFF_PLATFORM in environ else current(environ)
        context.listen()
        open_entry(launch.entry)(context)
    except LeptonError as fault:
        sys.stderr.write(f"{fault.code}: {fault.message}\n{fault.fix}\n")
        leave_fault(f"{fault.code}: {fault.message}", environ)
        return 1
    except Exception as fault:  # noqa: BLE001 - whatever a user's function raises is told and ends the worker
        traceback.print_exc()
        leave_fault(f"{type(fault).__name__}: {fault}", environ)
        return 1
    finally:
        if context is not None:
            context.close()
    return 0


def read_launch(environ: Mapping[str, str]) -> Launch:
    """The launch of this worker.

    Raises:
        ConfigError: there is none.
    """
    fields = read_json(Path(environ.get("LEPTON_LAUNCH", "")))
    if fields is None:
        raise ConfigError("LEPTON_LAUNCH names no launch file", fix="Entries are started by an engine.")
    return Launch.from_json(fields)


def open_folder(launch: Launch, environ: Mapping[str, str]) -> FolderContext:
    """The context without a platform; its inputs are folders by their paths."""
    inputs = {name: Path(place) for name, place in launch.inputs.items()}
    folder = Path(environ[OFF_PLATFORM])
    return FolderContext(folder, inputs=inputs, params=launch.params, rank=launch.rank, size=launch.size)


def open_entry(path: str) -> Callable[[Context], object]:
    """The function at `package.module:function`.

    Raises:
        ConfigError: there is none.
    """
    module, _, name = path.partition(":")
    found = getattr(import_module(module), name, None)
    if not callable(found):
        raise ConfigError(f"{path} is not a function", fix="Give package.module:function.")
    return found  # type: ignore[no-any-return]


if __name__ == "__main__":
    ended = leave_whole()
    ended.append(main())
    sys.exit(ended[0])
