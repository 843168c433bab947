"""A worker of an endpoint: loads its program, then answers what its front sends, until the front is gone."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from typing import cast

import uvloop

from lepton.core.context import Context
from lepton.serve.gang import socket_path
from lepton.serve.loading import open_entry
from lepton.serve.program import Program
from lepton.serve.replica import Replica
from lepton.serve.reporter import Reporter
from lepton.serve.spec import DEFAULTS, EndpointSpec
from lepton.serve.starting import watched

UNREAD: Mapping[str, tuple[str, object]] = {
    "replicas": ("replicas", 1),
    "cpus": ("worker_cpu_milli", 0.5),
    "gpus": ("worker_gpu_milli", 0.0),
    "memory": ("worker_memory_bytes", ""),
    "preload": ("preload", ()),
}
"""Attribute of a service's class -> field of the wish that it becomes, and its value where nobody says any."""
HANG_S = 15.0
"""Beyond the deadline."""


def main(ctx: Context) -> None:
    """Serve until asked to stop and the front has let go."""
    spec = EndpointSpec.from_json(ctx.params["spec"])
    with ExitStack() as start:
        start.enter_context(watched())
        program = open_program(ctx, spec)
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection looks at it again
        uvloop.run(serve(ctx, program, spec, start.close))


def open_program(ctx: Context, spec: EndpointSpec) -> Program:
    """The service or model that the spec names, loaded.

    Raises:
        ConfigError, ModelFileError: it cannot be.
        Exception: whatever the user's code raises.
    """
    if spec.requirements:  # few endpoints have any, and the others do without what reads them
        is_strict = not spec.entry.startswith("photon:")
        import_module("lepton.serve.requirements").check(spec.requirements, is_strict=is_strict)
    if spec.entry:
        folder = ctx.input("code").absolute()
        os.chdir(folder)  # what it names by relative paths lies there, wherever it runs
        program = open_entry(folder, spec.entry)
        tell_unread(getattr(program, "wishes", {}), spec)
    else:
        program = cast(Program, import_module("lepton.serve.inference").load_program(ctx, spec))
    known_as = getattr(program, "known_as", None)
    if known_as is not None:  # its only model answers to the endpoint's name too
        known_as(str(ctx.params.get("name", "")))
    return program


def tell_unread(wishes: Mapping[str, object], spec: EndpointSpec) -> None:
    """Say which attributes of a class did not reach the wish: those of bases that are not in its own files."""
    for name, (field, none) in UNREAD.items():
        value = wishes.get(name, none)
        if value not in (none, "", ()) and getattr(spec, field) == DEFAULTS[field]:
            sys.stderr.write(
                f"serve: {name} = {value!r} of the class has no effect: a base that is not among its files has it."
                f" Say it in the class itself, or give --{name}\n"
            )


async def serve(ctx: Context, program: Program, spec: EndpointSpec, on_start: Callable[[], object]) -> None:
    """Run the replica in this loop; SIGTERM lets it drain.

    Args:
        on_start: called once it can answer.
    """
    replica = Replica(
        program,
        socket_path(is_shared=bool(spec.front)),
        hang_s=spec.deadline_ms / 1000 + HANG_S,
        proof=os.environ.get("LEPTON_TOKEN", "") if spec.front else "",
        tell=Reporter(ctx).tell,
        on_start=on_start,
    )
    replica.max_batch = spec.max_batch
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, replica.stop)
    watching = asyncio.ensure_future(_watch(ctx, replica))
    try:
        await replica.run()
    finally:
        watching.cancel()


async def _watch(ctx: Context, replica: Replica) -> None:
    """Hear of a stop that comes by the platform."""
    while not ctx.should_stop():
        await asyncio.sleep(0.5)
    replica.stop()
