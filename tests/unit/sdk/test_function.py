"""What may be decorated, what a job of it is called, and that what was sent along is what a traceback shows."""

import pickle
from threading import Lock
from typing import Any

import pytest

import lepton
from lepton.core.errors import InvalidError
from lepton.core.ids import check_name
from lepton.engine import function as worker
from lepton.sdk.function import job_name
from lepton.sdk.pack import pack, sources


def yields() -> Any:
    yield 1


async def yields_later() -> Any:
    yield 1


class Thing:
    """Not a function."""


@pytest.mark.parametrize("function", [yields, yields_later])
def test_a_function_that_yields_is_refused_where_it_is_decorated(function: Any) -> None:
    with pytest.raises(InvalidError, match="yields") as fault:
        lepton.job(cpus=1)(function)
    assert "Return a list" in fault.value.fix


@pytest.mark.parametrize("thing", [Thing, 3, "x"])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(InvalidError, match="is not a function"):
        lepton.job(thing)


def test_both_ways_to_decorate_leave_the_function_as_it_was() -> None:
    @lepton.job
    def one(number: int) -> int:
        """Adds."""
        return number + 1

    @lepton.job(cpus=2)
    def two(number: int) -> int:
        return number + 2

    assert (one(1), two(1), one.__doc__) == (2, 3, "Adds.")


def test_arguments_that_do_not_fit_are_told_before_anything_is_sent() -> None:
    @lepton.job
    def one(number: int) -> int:
        return number

    with pytest.raises(TypeError, match="missing a required argument"):
        one.submit()  # type: ignore[call-arg]


def test_what_cannot_be_sent_is_named() -> None:
    with pytest.raises(InvalidError, match="'yields' or an argument cannot be sent"):
        pack(yields, (Lock(),), {})


def Größe() -> None:  # noqa: N802
    """A name that no job can have."""


@pytest.mark.parametrize(("function", "name"), [(yields_later, "yields-later"), (Größe, "gr-e"), (lambda: 0, "lambda")])
def test_every_function_gives_a_name_that_a_job_can_have(function: Any, name: str) -> None:
    assert check_name(job_name(function)) == name


def test_code_remembers_its_file_and_the_text_of_it_goes_along() -> None:
    def here() -> None:
        raise KeyError("x")  # this line

    packed = pickle.loads(pack(here, (), {}))
    assert list(packed["sources"]) == [__file__]
    worker.know_sources({__file__: "another text\n" * 500})
    call = pickle.loads(packed["call"])
    worker.know_sources(packed["sources"])
    outcome = worker.run(call["function"], call["args"], call["kwargs"])
    assert f'File "{__file__}"' in outcome["traceback"]
    assert 'raise KeyError("x")  # this line' in outcome["traceback"]
    assert "engine/function.py" not in outcome["traceback"]


def test_only_files_that_the_pickle_names_go_along() -> None:
    assert sources(b"nothing") == {}


def test_a_coroutine_is_awaited_in_the_worker() -> None:
    async def later() -> int:
        return 3

    assert worker.run(later, (), {}) == {"ok": True, "value": 3}


class OwnError(Exception):
    """Takes more than it hands on: pickle cannot make it again."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} broke")
        self.lock = why


class LockedError(Exception):
    def __init__(self) -> None:
        super().__init__("it is locked")
        self.lock = Lock()


def raises(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [(OwnError("the mill", "x"), "OwnError: the mill broke"), (LockedError(), "LockedError: it is locked")],
)
def test_an_exception_that_cannot_be_made_again_is_told(error: Exception, said: str) -> None:
    outcome = pickle.loads(worker.pack(worker.run(raises, (error,), {})))
    assert not outcome["ok"]
    assert (type(outcome["error"]), str(outcome["error"])) == (RuntimeError, said)
    assert said in outcome["traceback"]


def test_an_exception_that_can_be_made_again_is_itself() -> None:
    outcome = pickle.loads(worker.pack(worker.run(raises, (KeyError("x"),), {})))
    assert repr(outcome["error"]) == "KeyError('x')"
