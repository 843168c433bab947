"""What is learnt and how: the layers, the optimiser's step, the learning rate, and the images of each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import cos, pi

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lepton.vault.network import Layer

MOMENTUM = 0.9
DECAY = 5e-4
WARM_UP = 0.2
"""Share of the steps over which the learning rate rises."""
TURN, STRETCH, SLANT, MOVE = 0.15, 0.1, 0.1, 0.07
"""How far an image is bent, anew in every epoch: radians, share of its size, shear, share of half its width."""


def layers_for(height: int, width: int, classes: int) -> Sequence[Layer]:
    """A small convolutional network for grey images of that size, at least 16 x 16.

    The first convolution takes steps of 2 in place of a pool: a third of the time for little accuracy.
    """
    flat = 32 * _after(height) * _after(width)
    return (
        {"kind": "conv", "inputs": 1, "outputs": 16, "kernel": 5, "stride": 2, "padding": 0},
        {"kind": "relu"},
        {"kind": "conv", "inputs": 16, "outputs": 32, "kernel": 3, "stride": 1, "padding": 0},
        {"kind": "maxpool", "size": 2},
        {"kind": "relu"},
        {"kind": "flatten"},
        {"kind": "linear", "inputs": flat, "outputs": 64},
        {"kind": "relu"},
        {"kind": "linear", "inputs": 64, "outputs": classes},
    )


def _after(length: int) -> int:
    """What the convolutions and the pool leave of a side."""
    return ((length - 5) // 2 + 1 - 2) // 2


class Learner:
    """A network with all its weights, gradients and velocities in one flat vector each.

    One vector means one message a step between the workers. The step is SGD with Nesterov momentum, written out:
    the first optimiser that torch makes costs each worker 1.8 s of imports.
    """

    def __init__(self, network: nn.Module) -> None:
        parameters = list(network.parameters())
        self.network = network
        self.weight = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self.velocity = torch.zeros_like(self.weight)
        self.message = torch.zeros(len(self.weight) + 2)
        """What the workers add up: the gradient, then the loss, then how many want to stop."""
        self.gradient = self.message[:-2]
        sizes = [parameter.numel() for parameter in parameters]
        pieces = zip(parameters, torch.split(self.weight, sizes), torch.split(self.gradient, sizes), strict=True)
        for parameter, weight, gradient in pieces:
            parameter.data = weight.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)

    def differentiate(self, input_NHW: torch.Tensor, label_N: torch.Tensor, *, wants_stop: bool) -> None:
        """Fill `message` for these images."""
        self.message.zero_()
        loss = nn.functional.cross_entropy(self.network(input_NHW[:, None]), label_N)
        torch.autograd.backward(loss)
        self.message[-2] = loss.detach()
        self.message[-1] = float(wants_stop)

    def step(self, *, workers: int, rate: float) -> None:
        """Move the weights against the gradient that `workers` have added up."""
        self.gradient.div_(workers).add_(self.weight, alpha=DECAY)
        self.velocity.mul_(MOMENTUM).add_(self.gradient)
        self.weight.add_(self.gradient.add_(self.velocity, alpha=MOMENTUM), alpha=-rate)


def rate_at(step: int, steps: int, highest: float) -> float:
    """The learning rate: a straight rise to `highest`, then half a cosine down to almost 0."""
    rise = max(1, round(steps * WARM_UP))
    if step < rise:
        return highest * (step + 1) / rise
    return highest * (1 + cos(pi * (step - rise + 1) / (steps - rise + 1))) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which rows every worker takes at every step: a function of the seed alone, so a restart goes on exactly."""

    rows: int
    batch: int
    """Rows a step over all workers; at most `rows`."""
    rank: int
    size: int
    seed: int

    @property
    def steps(self) -> int:
        """Steps of an epoch; the few rows that fill no whole batch wait for another epoch."""
        return self.rows // self.batch

    def epoch(self, number: int) -> npt.NDArray[np.int64]:
        """All rows in this epoch's order."""
        return np.random.default_rng([self.seed, number]).permutation(self.rows)

    def share(self, order_N: npt.NDArray[np.int64], step: int) -> npt.NDArray[np.int64]:
        """This worker's rows at a step of the epoch."""
        first = step * self.batch + self.rank * (self.batch // self.size)
        return order_N[first : first + self.batch // self.size]


def bent(image_NHW: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The images, each turned, stretched, slanted and moved a little; what comes in from outside is 0."""
    count = len(image_NHW)
    angle_N, slant_N = rng.uniform(-TURN, TURN, count), rng.uniform(-SLANT, SLANT, count)
    size_N = 1 + rng.uniform(-STRETCH, STRETCH, count)
    map_N23 = np.empty((count, 2, 3), np.float32)
    map_N23[:, 0, 0] = map_N23[:, 1, 1] = size_N * np.cos(angle_N)
    map_N23[:, 1, 0] = size_N * np.sin(angle_N)
    map_N23[:, 0, 1] = slant_N - map_N23[:, 1, 0]
    map_N23[:, :, 2] = rng.uniform(-MOVE, MOVE, (count, 2))
    _, height, width = image_NHW.shape
    place_3P = _places(height, width)
    grid_NHW2 = (torch.from_numpy(map_N23).view(-1, 3) @ place_3P).view(count, 2, height, width).permute(0, 2, 3, 1)
    return nn.functional.grid_sample(image_NHW[:, None], grid_NHW2, align_corners=False)[:, 0]


@cache
def _places(height: int, width: int) -> torch.Tensor:
    """Where each pixel lies, x and y on the scale -1 .. 1 and a 1 beside: shape (3, H * W)."""
    y_H, x_W = ((2 * torch.arange(size) + 1) / size - 1 for size in (height, width))
    y_HW, x_HW = torch.meshgrid(y_H, x_W, indexing="ij")
    return torch.stack([x_HW.reshape(-1), y_HW.reshape(-1), torch.ones(height * width)])
