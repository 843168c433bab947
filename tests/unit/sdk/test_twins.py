"""Every async class has a blocking twin with the same names, arguments and docstrings; nothing is on one side alone."""

import asyncio
import inspect
from typing import Any, get_type_hints

import pytest

from lepton.sdk import artifacts, client, endpoints, jobs, limits, people, pool, stations, vault
from lepton.sdk.options import JobOptions, StandingOptions
from lepton.sdk.portal import Blocking, Portal, returning

MODULES = (artifacts, client, endpoints, jobs, limits, people, pool, stations, vault)
PAIRS = [
    (kind, getattr(module, name.removeprefix("Async")))
    for module in MODULES
    for name, kind in vars(module).items()
    if name.startswith("Async") and getattr(kind, "__module__", "") == module.__name__
]
OBJECTS = [pair for pair in PAIRS if "fields" in inspect.signature(pair[0]).parameters]
OWN = {"Client": {"http", "url"}, "Job": {"shown"}, "Endpoint": {"is_settled"}}
"""What only one side has: the connection, and steps that only its own methods take."""
FIELDS: dict[str, Any] = {"spec": {"roles": [], "endpoint": {}}, "status": {}, "meta": {}, "parents": {}}


def methods(kind: type) -> dict[str, Any]:
    return {name: found for name, found in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


def test_every_async_class_is_compared() -> None:
    assert len(PAIRS) == 15
    assert len(OBJECTS) == 4


@pytest.mark.parametrize(("inner", "outer"), PAIRS, ids=lambda kind: kind.__name__)
def test_twins_have_the_same_methods_arguments_and_docstrings(inner: type, outer: type) -> None:
    own = OWN.get(outer.__name__, set())
    assert methods(inner).keys() - own == methods(outer).keys() - own
    for name in methods(inner).keys() - own:
        theirs, ours = methods(inner)[name], methods(outer)[name]
        asked = [str(p.replace(annotation=p.empty)) for p in inspect.signature(theirs).parameters.values()]
        assert [str(p.replace(annotation=p.empty)) for p in inspect.signature(ours).parameters.values()] == asked, name
        assert ours.__doc__ and (ours.__doc__ == theirs.__doc__ or inner is client.AsyncClient), name
        assert not inspect.iscoroutinefunction(inspect.unwrap(ours, stop=lambda f: True)), name
    assert inner.__doc__ and outer.__doc__


@pytest.mark.parametrize(("inner", "outer"), OBJECTS, ids=lambda kind: kind.__name__)
def test_twins_have_the_same_attributes(inner: type, outer: type) -> None:
    there = inner(None, {**dict.fromkeys(NAMES, "x"), **FIELDS})
    names = {name for name in (*vars(there), *dir(inner)) if not name.startswith("_")} - methods(inner).keys()
    here = outer(there, Portal())
    for name in names - OWN.get(outer.__name__, set()):
        assert getattr(here, name) == getattr(there, name), name


NAMES = ("id", "kind", "name", "number", "digest", "size_bytes", "job", "state", "workspace", "created_at")


def test_times_are_said_in_seconds_or_by_their_name() -> None:
    for inner, _ in PAIRS:
        for name, method in methods(inner).items():
            timed = [arg for arg in inspect.signature(method).parameters if arg.endswith("_s")]
            assert not timed or "second" in (method.__doc__ or ""), f"{inner.__name__}.{name}: {timed}"


def test_methods_that_can_fail_say_how() -> None:
    told = [method for inner, _ in PAIRS for method in methods(inner).values() if "Raises:" in (method.__doc__ or "")]
    assert len(told) >= 24


@pytest.mark.parametrize(
    "options",
    [
        JobOptions,
        pool.QueueOptions,
        limits.EndpointOptions,
        stations.CleanOptions,
        stations.TrainOptions,
        stations.OptimizeOptions,
    ],
)
def test_every_option_is_explained(options: Any) -> None:
    source = inspect.getsource(options) + inspect.getsource(StandingOptions)
    unexplained = [
        name for name in get_type_hints(options) if f"    {name}: " not in source or not explained(source, name)
    ]
    assert not unexplained


def explained(source: str, name: str) -> bool:
    lines = source.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"    {name}: "))
    return lines[at + 1 : at + 2] != [] and lines[at + 1].startswith('    """')


class AsyncThing:
    """Something that can be asked."""

    async def one(self) -> "AsyncThing":
        """Itself."""
        return self


class Thing(Blocking[AsyncThing]):
    """Its twin."""

    one = returning(lambda: Thing)(AsyncThing.one)


def test_a_blocking_call_works_inside_a_running_loop() -> None:
    async def caller() -> Thing:
        return Thing(AsyncThing(), portal).one()

    portal = Portal()
    assert isinstance(asyncio.run(caller()), Thing)
    portal.close()
