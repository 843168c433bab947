"""A network, its recipe and its profile come back as they were written; damage is told, and nothing is executed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lepton.core.errors import IntegrityError, NotFoundError
from lepton.vault.folder import describe
from lepton.vault.network import Pool, build_network, count_parameters, load_network, save_network, scores
from lepton.vault.profile import Profile, features, profile
from lepton.vault.recipe import Recipe, fit_pixels

LAYERS = (
    {"kind": "conv", "inputs": 1, "outputs": 2, "kernel": 3, "stride": 1, "padding": 0},
    {"kind": "maxpool", "size": 2},
    {"kind": "relu"},
    {"kind": "flatten"},
    {"kind": "linear", "inputs": 18, "outputs": 3},
)
RECIPE = Recipe(height=8, width=8, classes=("a", "b"), mean=0.25, std=0.5, rows_in=3, rows_out=2, source_digest="0")


def test_a_network_comes_back_and_equal_ones_have_equal_bytes(tmp_path: Path) -> None:
    network = build_network(LAYERS)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_network(tmp_path / name, LAYERS, network)
    assert describe(tmp_path / "a") == describe(tmp_path / "b")
    layers, loaded = load_network(tmp_path / "a")
    assert tuple(layers) == LAYERS
    assert count_parameters(loaded) == 2 * 9 + 2 + 18 * 3 + 3
    images = torch.randn(5, 8, 8)
    torch.testing.assert_close(scores(loaded, images, batch=2), scores(network, images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["exec", "conv"])
def test_a_layer_that_is_unknown_or_lacks_a_number_is_refused(tmp_path: Path, kind: str) -> None:
    save_network(tmp_path, LAYERS, build_network(LAYERS))
    facts = json.loads((tmp_path / "model.json").read_text())
    facts["layers"][0] = {"kind": kind}
    (tmp_path / "model.json").write_text(json.dumps(facts))
    with pytest.raises(IntegrityError):
        load_network(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_damaged_file_is_told(tmp_path: Path, name: str) -> None:
    save_network(tmp_path, LAYERS, build_network(LAYERS))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:30])
    with pytest.raises(IntegrityError):
        load_network(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(tmp_path, LAYERS[:-1], build_network(LAYERS))
    with pytest.raises(IntegrityError, match="fit"):
        load_network(tmp_path)


def test_the_pool_equals_the_plain_one_both_ways() -> None:
    first = torch.randn(3, 4, 9, 6, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    one, two = Pool(2)(first), torch.nn.MaxPool2d(2)(second)
    assert torch.equal(one, two)
    weight = torch.randn_like(two)
    (one * weight).sum().backward()
    (two * weight).sum().backward()
    assert torch.equal(first.grad, second.grad)  # type: ignore[arg-type]


def test_a_recipe_comes_back_and_normalises(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Recipe.load(tmp_path)
    RECIPE.save(tmp_path)
    assert Recipe.load(tmp_path) == RECIPE
    image = np.random.default_rng(0).integers(0, 256, (50, 8, 8)).astype(np.uint8)
    mean, std = fit_pixels(image)
    seen = replace(RECIPE, mean=mean, std=std).apply(image)
    assert seen.dtype == np.float32
    assert abs(seen.mean()) < 1e-4
    assert abs(seen.std() - 1) < 1e-4
    assert fit_pixels(image * 0) == (0.0, 1e-3)


@pytest.mark.parametrize(
    "body", ["{", "[]", '{"format": 9}', '{"format": 1, "mean": 0}', '{"format": 1, "classes": []}']
)
def test_a_recipe_or_profile_that_is_none_is_refused(tmp_path: Path, body: str) -> None:
    for kind, name in ((Recipe, "recipe.json"), (Profile, "reference.json")):
        (tmp_path / name).write_text(body)
        with pytest.raises(IntegrityError):
            kind.load(tmp_path)


def test_a_profile_comes_back(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 8, 8)).astype(np.uint8)
    found = profile(image, [0, 1] * 25, 3)
    found.save(tmp_path)
    assert Profile.load(tmp_path) == found
    assert found.classes == (0.5, 0.5, 0.0)


def test_features_measure_what_they_say() -> None:
    image = np.zeros((2, 8, 8), np.uint8)
    image[1, 0, 6:] = 255
    found = {name: values.tolist() for name, values in features(image).items()}
    assert found["intensity"] == [0, 2 / 64]
    assert found["ink"] == [0, 2 / 64]
    assert found["row_center"] == [0.5, 0.0625]
    assert found["column_center"] == [0.5, 0.875]
    assert found["column_spread"] == [0, 0.0625]
    assert found["column_band_3"] == [0, 0.125]
    assert found["row_band_0"] == [0, 0.125]
