"""The exported graph says what the network says, from raw pixels, with equal bytes for equal weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lepton.core.errors import InvalidError
from lepton.optimize.graph import build_graph
from lepton.optimize.run import onnx_scorer
from lepton.vault.network import build_network
from lepton.vault.recipe import Recipe

LAYERS = (
    {"kind": "conv", "inputs": 1, "outputs": 3, "kernel": 3, "stride": 2, "padding": 1},
    {"kind": "relu"},
    {"kind": "conv", "inputs": 3, "outputs": 4, "kernel": 3, "stride": 1, "padding": 0},
    {"kind": "maxpool", "size": 2},
    {"kind": "flatten"},
    {"kind": "linear", "inputs": 4 * 3 * 2, "outputs": 5},
    {"kind": "relu"},
    {"kind": "linear", "inputs": 5, "outputs": 2},
)
RECIPE = Recipe(
    height=16, width=13, classes=("a", "b"), mean=0.2, std=0.35, rows_in=1, rows_out=1, source_digest="0" * 64
)


def graph_of(network: torch.nn.Module) -> bytes:
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return build_graph(LAYERS, weights, RECIPE)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return build_network(LAYERS)


@pytest.mark.parametrize("batch", [1, 7])
def test_the_graph_agrees_with_the_network_on_raw_pixels(network: torch.nn.Module, tmp_path: Path, batch: int) -> None:
    (tmp_path / "model.onnx").write_bytes(graph_of(network))
    images = np.random.default_rng(0).integers(0, 256, (batch, 16, 13)).astype(np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(RECIPE.apply(images))[:, None]).numpy()
    np.testing.assert_allclose(onnx_scorer(tmp_path / "model.onnx")(images), expected, atol=1e-5)


def test_equal_weights_give_equal_bytes_and_named_ends(network: torch.nn.Module) -> None:
    body = graph_of(network)
    assert body == graph_of(network)
    graph = onnx.load_from_string(body).graph
    assert [value.name for value in graph.input] == ["pixels"]
    assert [value.name for value in graph.output] == ["scores"]


def test_a_layer_without_a_form_is_refused() -> None:
    with pytest.raises(InvalidError, match="swish"):
        build_graph(({"kind": "swish"},), {}, RECIPE)
