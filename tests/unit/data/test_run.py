"""The real digits, end to end off the platform: every planted fault is found, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from lepton.core.errors import InvalidError, TooLargeError
from lepton.data.run import clean, ingest
from lepton.data.spec import CleanSpec, IngestSpec
from lepton.engine.folder import FolderContext
from lepton.vault.folder import describe
from lepton.vault.profile import Profile
from lepton.vault.recipe import Recipe
from lepton.vault.tables import read_table

EXAMPLES = Path(__file__).parents[3] / "examples"
FAULTS = json.loads((EXAMPLES / "mnist-faults.json").read_text())
KEPT = FAULTS.pop("kept")


def run_both(root: Path) -> Path:
    raw = root / "input"
    raw.mkdir(parents=True)
    (raw / "mnist-raw.tar.xz").write_bytes((EXAMPLES / "mnist-raw.tar.xz").read_bytes())
    ingest(FolderContext(root, inputs={"raw": raw}, params=IngestSpec(raw="r", name="digits-raw").to_json()))
    inputs = {"dataset": root / "dataset" / "digits-raw" / "1"}
    clean(FolderContext(root, inputs=inputs, params=CleanSpec(dataset="d", name="digits").to_json()))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_both(tmp_path_factory.mktemp("walk"))


def test_ingest_keeps_every_row(root: Path) -> None:
    table = read_table(root / "dataset" / "digits-raw" / "1")
    assert table.rows == 10_150
    assert table["image"].shape == (10_150, 28, 28)
    assert table["source"][table["fault"] != ""].tolist() == FAULTS["corrupt"]


def test_the_planted_faults_are_found_exactly(root: Path) -> None:
    report = json.loads((root / "report" / "digits" / "1" / "quality.json").read_text())
    found: dict[str, list[str]] = {check: [] for check in FAULTS}
    for finding in report["findings"]:
        found[finding["check"]].append(finding["source"])
    assert {check: sorted(sources) for check, sources in found.items()} == FAULTS
    assert report["checks"] == {check: len(sources) for check, sources in FAULTS.items()}
    assert report["rows_out"] == 10_150 - sum(map(len, FAULTS.values()))


def test_quarantine_and_clean_rows_are_all_rows_once(root: Path) -> None:
    good = read_table(root / "dataset" / "digits" / "1")
    bad = read_table(root / "dataset" / "digits-quarantine" / "1")
    assert set(bad["source"].tolist()) == {source for sources in FAULTS.values() for source in sources}
    assert set(KEPT) <= set(good["source"].tolist())
    assert len({*good["source"].tolist(), *bad["source"].tolist()}) == good.rows + bad.rows == 10_150


def test_no_image_lies_on_both_sides_of_the_split(root: Path) -> None:
    table = read_table(root / "dataset" / "digits" / "1")
    train, test = ({image.tobytes() for image in table.split(name)["image"]} for name in ("train", "test"))
    assert not train & test
    assert 0.18 < len(test) / table.rows < 0.22
    assert len(train) + len(test) == table.rows


def test_recipe_and_profile_are_fitted_on_the_training_rows_alone(root: Path) -> None:
    folder = root / "dataset" / "digits" / "1"
    train = read_table(folder).split("train")
    recipe, reference = Recipe.load(folder), Profile.load(folder)
    assert abs(recipe.mean - train["image"].mean() / 255) < 1e-5
    assert abs(recipe.std - train["image"].std() / 255) < 1e-5
    assert (recipe.rows_in, recipe.classes) == (10_150, tuple("0123456789"))
    assert reference.rows == train.rows
    np.testing.assert_allclose(reference.classes, np.bincount(train["label"]) / train.rows, atol=1e-6)


def test_the_same_input_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    again = run_both(tmp_path)
    for version in ("dataset/digits-raw/1", "dataset/digits/1", "dataset/digits-quarantine/1", "report/digits/1"):
        assert describe(root / version) == describe(again / version)


def test_a_raw_version_that_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    context = FolderContext(tmp_path, inputs={"raw": tmp_path / "raw"}, params=IngestSpec(raw="r", name="d").to_json())
    with pytest.raises(InvalidError, match="0 files"):
        ingest(context)
    (tmp_path / "raw" / "letter.doc").write_text("dear all")
    with pytest.raises(InvalidError, match=r"letter\.doc"):
        ingest(context)


def test_a_bomb_leaves_nothing(tmp_path: Path) -> None:
    spec = IngestSpec(raw="r", name="d", max_unpacked_bytes=1 << 20)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.tar.xz").write_bytes((EXAMPLES / "mnist-raw.tar.xz").read_bytes())
    with pytest.raises(TooLargeError):
        ingest(FolderContext(tmp_path, inputs={"raw": tmp_path / "raw"}, params=spec.to_json()))
    assert not (tmp_path / "dataset").exists()


def test_a_dataset_with_nothing_left_is_refused(root: Path, tmp_path: Path) -> None:
    inputs = {"dataset": root / "dataset" / "digits-raw" / "1"}
    spec = CleanSpec(dataset="d", name="letters", classes=("a", "b"))
    with pytest.raises(InvalidError, match="0 are left"):
        clean(FolderContext(tmp_path, inputs=inputs, params=spec.to_json()))
