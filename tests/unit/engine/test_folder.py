"""The off-platform twin keeps the promises of core.context.Context in a plain folder."""

import json
from pathlib import Path

import pytest

from lepton.core.context import Context
from lepton.core.errors import InvalidError, NotFoundError
from lepton.engine.folder import FolderContext


def filled(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_published_files_can_be_the_next_input_with_their_meta(tmp_path: Path) -> None:
    first = FolderContext(tmp_path / "run")
    version = first.publish(kind="dataset", name="rows", folder=filled(tmp_path / "a", x="1"), meta={"rows": 3})
    second: Context = FolderContext(tmp_path / "run", inputs={"rows": tmp_path / "run" / version})
    assert (second.input("rows") / "x").read_text() == "1"
    assert second.input_meta("rows") == {
        "rows": 3,
        "id": "dataset/rows/1",
        "kind": "dataset",
        "name": "rows",
        "number": 1,
    }


def test_equal_content_is_one_version_and_other_content_the_next(tmp_path: Path) -> None:
    context = FolderContext(tmp_path / "run")
    made = [
        context.publish(kind="model", name="m", folder=filled(tmp_path / "a", x=text), meta={})
        for text in ("1", "1", "2")
    ]
    assert made == ["model/m/1", "model/m/1", "model/m/2"]


def test_parents_are_the_inputs_unless_given(tmp_path: Path) -> None:
    plain = filled(tmp_path / "in", y="2")
    context = FolderContext(tmp_path / "run", inputs={"d": plain})
    context.publish(kind="model", name="m", folder=filled(tmp_path / "a", x="1"), meta={})
    context.publish(kind="model", name="n", folder=tmp_path / "a", meta={}, parents={"model": "model/m/1"})
    found = [json.loads((tmp_path / "run/model" / name / "1.json").read_text())["parents"] for name in ("m", "n")]
    assert found == [{"d": str(plain)}, {"model": "model/m/1"}]


def test_checkpoints_come_back_latest_first_and_are_replaced(tmp_path: Path) -> None:
    context = FolderContext(tmp_path / "run")
    assert context.latest_checkpoint() is None
    for step, text in ((9, "a"), (10, "b"), (10, "c")):
        context.save_checkpoint(step, filled(tmp_path / "state", x=text))
    step, folder = FolderContext(tmp_path / "run").latest_checkpoint() or (0, tmp_path)
    assert (step, (folder / "x").read_text()) == (10, "c")


def test_reports_are_lines_of_a_file_per_type(tmp_path: Path) -> None:
    context = FolderContext(tmp_path, rank=2)
    context.metrics(3, loss=0.5)
    context.progress(0.25, "epoch 1")
    assert lines(tmp_path / "metrics.jsonl")[0] | {"at": 0} == {
        "at": 0, "rank": 2, "type": "metrics", "step": 3, "values": {"loss": 0.5},
    }  # fmt: skip
    assert lines(tmp_path / "progress.jsonl")[0]["fraction"] == 0.25


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    context = FolderContext(tmp_path)
    with pytest.raises(NotFoundError):
        context.input("nothing")
    with pytest.raises(NotFoundError):
        context.publish(kind="model", name="m", folder=tmp_path / "missing", meta={})
    with pytest.raises(InvalidError):
        context.publish(kind="poem", name="m", folder=tmp_path, meta={})


def test_it_stops_when_asked(tmp_path: Path) -> None:
    context = FolderContext(tmp_path)
    assert not context.should_stop()
    context.stop_asked.set()
    assert context.should_stop()
