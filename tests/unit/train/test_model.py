"""The optimiser is the one it claims to be, the order is a function of the seed, bending keeps what it must."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lepton.train.model import DECAY, MOMENTUM, Learner, Order, bent, layers_for, rate_at
from lepton.vault.network import build_network


def test_the_step_equals_nesterov_sgd_written_for_each_weight() -> None:
    torch.manual_seed(1)
    network = build_network(layers_for(16, 16, 3))
    weights = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
    names = [name for name, _ in network.named_parameters()]
    velocities = [torch.zeros_like(weight) for weight in weights]
    learner = Learner(network)
    for step in range(3):
        images, labels = torch.randn(4, 16, 16), torch.tensor([0, 1, 2, step])[:4] % 3
        learner.differentiate(images, labels, wants_stop=False)
        learner.step(workers=1, rate=0.1)
        scores = torch.func.functional_call(network, dict(zip(names, weights, strict=True)), images[:, None])
        gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(scores, labels), weights)
        with torch.no_grad():
            for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
                gradient = gradient + DECAY * weight
                velocity.mul_(MOMENTUM).add_(gradient)
                weight.sub_(0.1 * (gradient + MOMENTUM * velocity))
    for mine, expected in zip(network.parameters(), weights, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-5)


@given(rows=st.integers(8, 200), size=st.integers(1, 4), seed=st.integers(0, 9))
def test_an_epoch_shares_every_row_out_at_most_once(rows: int, size: int, seed: int) -> None:
    batch = min(8, rows) // size * size
    orders = [Order(rows=rows, batch=batch, rank=rank, size=size, seed=seed) for rank in range(size)]
    taken = [
        row for order in orders for step in range(order.steps) for row in order.share(order.epoch(3), step).tolist()
    ]
    assert len(taken) == len(set(taken)) == rows // batch * batch
    assert (orders[0].epoch(3) == orders[-1].epoch(3)).all()


def test_epochs_and_seeds_differ() -> None:
    order = Order(rows=100, batch=10, rank=0, size=1, seed=1)
    other = Order(rows=100, batch=10, rank=0, size=1, seed=2)
    assert (order.epoch(0) != order.epoch(1)).any()
    assert (order.epoch(0) != other.epoch(0)).any()


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_the_rate_rises_then_falls_to_almost_nothing(steps: int) -> None:
    rates = [rate_at(step, steps, 0.1) for step in range(steps)]
    assert all(0 <= rate <= 0.1 for rate in rates)
    assert max(rates) == pytest.approx(0.1)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_bending_keeps_shape_and_light_and_depends_on_the_generator_alone() -> None:
    image = torch.zeros(6, 28, 28)
    image[:, 10:18, 10:18] = 1
    first, again, other = (bent(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == image.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert ((first.sum(dim=(1, 2)) / 64).sub(1).abs() < 0.4).all()
    assert not torch.equal(first[0], first[1])
