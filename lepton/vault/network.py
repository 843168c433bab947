"""The form of a network on disk: `model.json` names its layers, `weights.safetensors` holds their numbers.

    {"format": 1, "runtime": "layers", "layers": [
     {"kind": "conv", "inputs": 1, "outputs": 16, "kernel": 5, "stride": 2, "padding": 0}, {"kind": "relu"},
     {"kind": "maxpool", "size": 2}, {"kind": "flatten"}, {"kind": "linear", "inputs": 576, "outputs": 10}]}

The weights of layer i are called `<i>.weight` and `<i>.bias`. Whoever reads this form needs no code of the trainer,
and nothing in it is executed: no pickle. A pool's stride is its size.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lepton.core.errors import IntegrityError
from lepton.vault.recipe import FORMAT, read_facts

FILE = "model.json"
WEIGHTS = "weights.safetensors"
Layer = Mapping[str, Any]


class Pool(nn.MaxPool2d):
    """A max pool that is twice as fast on a CPU: torch's is slow unless the channels come last in memory."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The same values as `nn.MaxPool2d`."""
        pooled: torch.Tensor = super().forward(input.contiguous(memory_format=torch.channels_last))
        return pooled


MAKERS: Mapping[str, Callable[[Layer], nn.Module]] = {
    "conv": lambda layer: nn.Conv2d(
        layer["inputs"], layer["outputs"], layer["kernel"], stride=layer["stride"], padding=layer["padding"]
    ),
    "relu": lambda layer: nn.ReLU(),
    "maxpool": lambda layer: Pool(layer["size"]),
    "flatten": lambda layer: nn.Flatten(),
    "linear": lambda layer: nn.Linear(layer["inputs"], layer["outputs"]),
}


def build_network(layers: Sequence[Layer]) -> nn.Sequential:
    """The network with fresh weights from torch's generator; maps (N, 1, H, W) to scores of shape (N, classes).

    Raises:
        IntegrityError: a layer is of an unknown kind, or lacks a number.
    """
    try:
        return nn.Sequential(*(MAKERS[layer["kind"]](layer) for layer in layers))
    except (KeyError, TypeError) as fault:
        raise IntegrityError(
            f"A layer of the network cannot be built: {fault}", fix="Train the model again."
        ) from fault


def save_network(folder: Path, layers: Sequence[Layer], network: nn.Module) -> None:
    """Write both files; equal weights give equal bytes."""
    facts = {"format": FORMAT, "runtime": "layers", "layers": [dict(layer) for layer in layers]}
    (folder / FILE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    save_file({name: value.detach().contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)


def load_network(folder: Path) -> tuple[Sequence[Layer], nn.Sequential]:
    """The layers and the network of a model version, ready to infer.

    Raises:
        NotFoundError: the folder holds no network.
        IntegrityError: it cannot be read.
    """
    layers = read_facts(folder / FILE).get("layers", ())
    network = build_network(layers)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, ValueError, SafetensorError) as fault:
        raise IntegrityError(f"{folder / WEIGHTS} does not fit its network: {fault}", fix="Train it again.") from fault
    return layers, network.eval().requires_grad_(False)


def count_parameters(network: nn.Module) -> int:
    """How many numbers the network has learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def scores(network: nn.Module, input_NHW: torch.Tensor, *, batch: int = 256) -> torch.Tensor:
    """The network's scores of prepared images, shape (N, classes)."""
    with torch.inference_mode():
        return torch.cat([network(part[:, None]) for part in torch.split(input_NHW, batch)])
