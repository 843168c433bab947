"""The class Photon in process: what it declares and inherits, how it gets ready, batches, files and archives."""

import asyncio
import base64
import os
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fastapi import FastAPI

from lepton.core.errors import ConfigError
from lepton.serve.photon import alias, archive, batcher, config, marks, models, template
from lepton.serve.photon.alias import Finder
from lepton.serve.photon.endpoint import Endpoint
from lepton.serve.photon.files import File, FileParam, get_file_content
from lepton.serve.photon.lanes import Lane
from lepton.serve.photon.meter import MOST_ROUTES, Meter
from lepton.serve.photon.pickled import is_pickled, lepton_pickle, lepton_unpickle
from lepton.serve.photon.program import check_held, lay_out
from lepton.serve.photon.tools import check_photon_name

Photon: Any = models.Photon


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder, and no alias left behind."""
    monkeypatch.setattr(config, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.setattr(config, "DB_PATH", tmp_path / "cache" / "photons.db")
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "leptonai" and name not in before]:
        del sys.modules[name]


class Base(Photon):
    requirement_dependency = ("base",)
    system_dependency = ("git", "curl")
    handler_timeout = 5

    @marks.handler
    def first(self) -> str:
        return "base"

    @marks.handler("second", method="GET")
    def other(self) -> str:
        return "base"


class Child(Base):
    requirement_dependency = ("child", "base")
    system_dependency = ("git", "ffmpeg")

    def first(self) -> str:
        return "child"


def test_attributes_and_routes_are_inherited_and_an_override_keeps_its_route() -> None:
    child = Child()
    assert child._requirement_dependency == ["base", "child", "base"]
    assert child._system_dependency == ["git", "curl", "ffmpeg"]
    found = {(mark.path, mark.method): mark.function(child) for mark in marks.marks_of(Child)}
    assert found == {("first", "POST"): "child", ("second", "GET"): "base"}


def test_init_runs_once_for_all_threads_and_may_call_handlers() -> None:
    counts: list[int] = []

    class Slow(Photon):
        def init(self) -> None:
            counts.append(1)
            assert self.run() == "ok"

        @marks.handler
        def run(self) -> str:
            return "ok"

    photon = Slow()
    threads = [Thread(target=photon.run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1]


def test_an_init_that_raises_raises_again() -> None:
    class Broken(Photon):
        def init(self) -> None:
            raise OSError("no model")

    photon = Broken()
    for _ in range(2):
        with pytest.raises(OSError, match="no model"):
            photon._call_init_once()


def test_a_class_whose_constructor_forgets_ours_is_told_to_write_init() -> None:
    class Wrong(Photon):
        def __init__(self) -> None:
            pass

    with pytest.raises(RuntimeError, match="def init"):
        Wrong().launch()


def test_a_template_sets_defaults_and_warns_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PHOTON_A", "PHOTON_B", "PHOTON_C"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    wish = {"env": {"PHOTON_A": config.ENV_VAR_REQUIRED, "PHOTON_B": "b"}, "secret": ["PHOTON_C"]}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        template.apply(template.checked(wish))
    assert [word in str(one.message) for word, one in zip(("PHOTON_A", "PHOTON_C"), said, strict=True)] == [True] * 2
    assert os.environ["PHOTON_B"] == "b" and "PHOTON_A" not in os.environ


@pytest.mark.parametrize(
    "wish",
    [{"env": {"A'": "x"}}, {"secret": ["A'"]}, {"env": {"A": 1}}, {"secret": "A"}, {"resource_shape": 1}, {"x": 1}],
)
def test_a_template_that_cannot_be_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        template.checked(wish)


@pytest.mark.parametrize(
    "options",
    [
        {"max_batch_size": 2},
        {"max_wait_time": 1},
        {"mount": True, "max_batch_size": 2, "max_wait_time": 1},
        {"request": 1},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        marks.handler(**options)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("GET", {"use_raw_args": True}),
        ("PUT", {}),
        ("POST", {"cancel_on_disconnect": True}),
        ("POST", {"use_raw_args": True, "cancel_on_disconnect": 0.1}),
    ],
)
def test_routes_that_cannot_be_are_refused_when_the_application_is_made(method: str, options: dict[str, Any]) -> None:
    def run(self: Any) -> None: ...

    with pytest.raises(ValueError):
        Endpoint(Photon(), marks.Mark("run", method, run, options), Lane()).add_to(FastAPI())


def test_a_batch_waits_for_others_and_one_fault_reaches_all() -> None:
    @batcher.batch(max_batch_size=2, max_wait_time=0.01)
    def add(values: list[int]) -> list[int]:
        return [value + 10 * len(values) for value in values]

    @batcher.batch(max_batch_size=2, max_wait_time=10)
    async def short(values: list[int]) -> list[int]:
        return values[1:]

    async def main() -> None:
        assert await asyncio.gather(add(1), add(2), add(3)) == [21, 22, 13]
        faults = await asyncio.gather(short(1), short(2), return_exceptions=True)
        assert [type(fault) for fault in faults] == [ValueError, ValueError]

    asyncio.run(main())
    assert add.__name__ == "add"
    for size, wait in ((1, 1), (2, 0)):
        with pytest.raises(ValueError):
            batcher.batch(size, wait)


def test_files_are_read_from_all_that_they_may_be(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"abc").decode()
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        wanted = [
            File(b"abc"),
            File(file),
            File(f"data:x;base64,{encoded}"),
            File(f"encoded:{encoded}"),
            FileParam.of(b"abc"),
        ]
    assert [get_file_content(each) for each in wanted] == [b"abc"] * 5
    assert get_file_content(encoded) == get_file_content(str(path), allow_local_file=True) == b"abc"
    assert File.model_validate(File(b"abc").model_dump()).get_content() == b"abc"
    assert File.model_validate({"content": "http://a/b", "name": "b"}).content == "http://a/b"
    for kind, told in ((File, {"type": "image"}), (File, {}), (File, {"content": 5}), (FileParam, {"name": "a"})):
        with pytest.raises(ValueError, match="content"):
            kind.model_validate(told)
    with File(b"abc").get_temp_file() as file:
        assert file.read() == b"abc"
    with pytest.raises(ValueError):
        File("neither")
    with pytest.raises(TypeError):
        get_file_content([1])
    with pytest.warns(DeprecationWarning):
        FileParam(b"x")


def test_pickled_objects_come_back() -> None:
    made = lepton_pickle({"a": 1}, compression=9)
    assert is_pickled(made) and not is_pickled("x") and lepton_unpickle(made) == {"a": 1}
    for wrong in (
        lambda: lepton_pickle(lambda: 1),
        lambda: lepton_pickle(1, 11),
        lambda: lepton_unpickle({"content": ""}),
    ):
        with pytest.raises(ValueError):
            wrong()


def test_extra_files_lie_beside_the_code_without_touching_it(cache: Path) -> None:
    folder = cache / "code"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "old.txt").write_text("old")
    (folder / "new.txt").write_text("new")

    class Files(Photon):
        extra_files = {"a/new.txt": str(folder / "new.txt")}  # noqa: RUF012

    lay_out(Files(), folder)
    assert [Path(name).read_text() for name in ("a/old.txt", "a/new.txt", "new.txt")] == ["old", "new", "new"]
    assert sorted(each.name for each in folder.rglob("*")) == ["a", "new.txt", "old.txt"]
    Files.extra_files = {"a/../../x": str(folder / "new.txt")}
    with pytest.raises(ValueError, match="outside"):
        lay_out(Files(), folder)


@pytest.mark.parametrize("name", ["abc 123", "abcde_1", "abcde-", "a" * 33, "Abc", ""])
def test_names_of_photons_are_short_and_plain(name: str) -> None:
    with pytest.raises(ValueError, match="Invalid Photon name"):
        check_photon_name(name)


PROGRAM = """
import os
from leptonai.photon import Photon

class Reads(Photon):
    vcs_url = None
    extra_files = ["words"]

    @Photon.handler
    def read(self) -> str:
        with open("words/a.txt") as file:
            return file.read()
"""


def test_a_photon_is_made_stored_and_loaded_elsewhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alias.install()
    (cache / "reads.py").write_text(PROGRAM)
    (cache / "words").mkdir()
    (cache / "words" / "a.txt").write_text("abc")
    made = models.create("reads", "py:reads.py")
    path = made.save()
    assert (path, made.save()) == (str(cache / "cache/reads.photon"), str(cache / "cache/reads.1.photon"))
    found = models.load_metadata(path)
    assert (found["name"], found["model"], found["type"]) == ("reads", "py:reads.py:Reads", "photon")
    assert (found["extra_files"], found["py_obj"]["name"]) == (["words/a.txt"], "Reads")
    assert archive.read_member(path, "py.py").decode() == PROGRAM
    (cache / "reads.py").unlink()
    elsewhere = cache / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert models.load(path).read() == "abc"


def test_a_file_of_an_archive_cannot_lie_outside(cache: Path) -> None:
    with zipfile.ZipFile(cache / "bad.photon", "w") as file:
        file.writestr("metadata.json", '{"extra_files": ["../evil"]}')
        file.writestr("../evil", "x")
    with pytest.raises(ValueError, match="outside"):
        archive.unpack(str(cache / "bad.photon"), cache / "in")
    assert not (cache / "evil").exists()


def test_what_is_no_archive_or_not_all_of_one_is_no_photon(cache: Path) -> None:
    with zipfile.ZipFile(cache / "empty.photon", "w") as file:
        file.writestr("other", "x")
    (cache / "text.photon").write_text("import os")
    (cache / "torn.photon").write_bytes((cache / "empty.photon").read_bytes()[:40])
    for name in ("empty", "text", "torn"):
        with pytest.raises(ValueError, match=f"{name}.photon is no photon, or not all of one"):
            archive.read_metadata(str(cache / f"{name}.photon"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nothing", "neither"),
        ("nothing.py", "file"),
        ("os.path", "neither"),
        ("two.py", "multiple"),
        ("two.py:Three", "no Photon"),
    ],
)
def test_model_strings_that_name_nothing_are_refused(cache: Path, model: str, words: str) -> None:
    (cache / "two.py").write_text(
        "from lepton.serve.photon.photon import Photon\nclass A(Photon): ...\nclass B(Photon): ...\n"
    )
    with pytest.raises(ValueError, match=words):
        models.create("x", model)


@pytest.mark.parametrize("how", ["own", "closed", "off"])
def test_a_pickle_is_opened_where_it_is_held_or_somebody_has_said_that_it_need_not_be(how: str) -> None:
    check_held("a.photon", how)


@pytest.mark.parametrize("how", ["none", "", "made up"])
def test_a_pickle_is_not_opened_where_nothing_holds_it(how: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.photon is a pickle") as fault:
        check_held("a.photon", how)
    assert "LEPTON_ISOLATION=off" in fault.value.fix


def test_metrics_of_many_routes_are_bounded() -> None:
    meter = Meter()
    for number in range(5000):
        meter.saw((f"/{number}", "GET"), 200, 1, 1, 0.5)
    text = meter.render()
    assert text.count("http_request_duration_seconds_count") == MOST_ROUTES + 1
    assert 'http_requests_total{handler="other",method="other",status="2xx"} 4800.0' in text
    assert len(text) < 1 << 20
