"""What an entry names, and which files stand for it."""

import os
from pathlib import Path

import pytest

from lepton.cli.bench import Bench, stamp
from lepton.core.errors import InvalidError
from lepton.jobs.preload import LIGHT
from lepton.sdk.source import is_source, read_source
from lepton.serve.entries import PROGRAMS, VARIABLES, file_of, read_what, rename, split_entry
from lepton.serve.plan import plan
from lepton.serve.spec import EndpointSpec


@pytest.mark.parametrize(
    ("entry", "kind", "what", "file"),
    [
        ("shop.py", "service", "shop.py", "shop.py"),
        ("shop.py:Shop", "service", "shop.py:Shop", "shop.py"),
        ("photon:shop.py:Shop", "photon", "shop.py:Shop", "shop.py"),
        ("onnx:net.onnx", "onnx", "net.onnx", "net.onnx"),
        ("hf:some/folder?task=fill-mask", "hf", "some/folder?task=fill-mask", "some/folder"),
        ("safetensors:w.st?class=net.py:Net", "safetensors", "w.st?class=net.py:Net", "w.st"),
    ],
)
def test_an_entry_has_a_kind_and_a_file(entry: str, kind: str, what: str, file: str) -> None:
    assert split_entry(entry) == (kind, what)
    assert file_of(entry) == file
    assert file_of(rename(entry, "other.py")) == "other.py"
    assert rename(entry, file) == entry


@pytest.mark.parametrize(
    "entry",
    [
        *("", "shop", "shop.txt", "tar:shop", "shop.py:not a name"),
        *("onnx:net.onnx?", "onnx:net.onnx?a=1", "skops:a?trust=x&trust=y", "hf:a?tusk=x", "keras:a?=x", "onnx:a??"),
    ],
)
def test_what_is_none_is_refused(entry: str) -> None:
    with pytest.raises(InvalidError):
        split_entry(entry)


@pytest.mark.parametrize(("file", "kind"), [("a/b.gguf", "gguf"), ("net.pt", "torchscript"), ("x.photon", "photon")])
def test_whose_kind_is_missing_is_told_which_it_probably_is(file: str, kind: str) -> None:
    with pytest.raises(InvalidError) as caught:
        split_entry(file)
    assert caught.value.fix == f"Write {kind}:{file}"


def test_options_are_read_and_a_kind_that_has_its_own_takes_any() -> None:
    assert read_what("net.pt?x=FP32[-1,3]&y=INT64[-1]") == ("net.pt", {"x": "FP32[-1,3]", "y": "INT64[-1]"})
    assert split_entry("torchscript:net.pt?anything=FP32[-1]")[0] == "torchscript"


def test_every_kind_names_an_extra_that_there_is() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for kind in PROGRAMS.values():
        assert all(f"\n{extra} = [" in text for extra in kind.extra.split(","))


def test_what_takes_long_to_import_is_kept_warm_for_further_replicas() -> None:
    code = "ver_00000000000000000000000001"
    found = {
        entry: plan(EndpointSpec(code=code, entry=entry), endpoint="", name="x").roles[1].preload
        for entry in ("shop.py", "onnx:a.onnx", "torchscript:a.pt?x=FP32[-1]", "safetensors:a?class=b.py", "hf:a")
    }
    assert found["shop.py"] == found["onnx:a.onnx"] == LIGHT
    assert found["torchscript:a.pt?x=FP32[-1]"] == found["safetensors:a?class=b.py"] == (*LIGHT, "torch")
    assert found["hf:a"] == (*LIGHT, VARIABLES, "transformers.pipelines")
    assert plan(EndpointSpec(model=code), endpoint="", name="x").roles[1].preload == LIGHT


def test_what_goes_along_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("w.st", "net.py", "parts.py", "other.bin", "words/config.json", "words/more/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("class Net: ...\n")
    target = f"safetensors:{tmp_path}/w.st?class=net.py:Net"
    assert is_source(target)
    source = read_source(target)
    assert source.entry == "safetensors:w.st?class=net.py:Net"
    assert [path for path, _ in source.files] == ["net.py", "parts.py", "w.st"]
    for place in (f"hf:{tmp_path}/words?task=fill-mask", f"hf:{tmp_path}/words/?task=fill-mask"):
        source = read_source(place)
        assert source.entry == "hf:words?task=fill-mask"
        assert [path for path, _ in source.files] == ["words/config.json", "words/more/a.txt"]
    monkeypatch.chdir(tmp_path / "words")
    assert read_source("hf:.").entry == "hf:words"
    for nothing in ("hf:", "hf:nope", "photon:nope.photon", "nope.py"):
        assert is_source(nothing)
        with pytest.raises(InvalidError, match="There is no file"):
            read_source(nothing)
    assert [path for path, _ in read_source("hf:.").files] == ["words/config.json", "words/more/a.txt"]
    with pytest.raises(InvalidError, match="nope"):
        read_source(f"safetensors:{tmp_path}/w.st?class=nope.py")


@pytest.mark.parametrize(
    ("entry", "changed", "is_seen"),
    [
        ("onnx:net.onnx", "net.onnx", True),
        ("onnx:net.onnx", "net.py", False),
        ("hf:words?task=fill-mask", "words/config.json", True),
        ("hf:words", "net.py", False),
        ("safetensors:net.onnx?class=net.py:Net", "net.onnx", True),
        ("safetensors:net.onnx?class=net.py:Net", "net.py", True),
        ("safetensors:net.onnx?class=net.py:Net", "words/config.json", False),
        ("net.py:Net", "net.py", True),
        ("net.py:Net", "parts/more.py", True),
        ("photon:net.py", "net.onnx", False),
    ],
)
def test_serve_run_watches_what_is_served(tmp_path: Path, entry: str, changed: str, is_seen: bool) -> None:
    for name in ("net.onnx", "net.py", "parts/more.py", "words/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    bench = Bench(source=tmp_path, entry=entry)
    before = stamp(bench)
    os.utime(tmp_path / changed, ns=(1, 1))
    assert (stamp(bench) != before) is is_seen
