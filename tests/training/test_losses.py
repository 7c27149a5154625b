"""Losses: the step objective of IR-SDE and GOUB, the frequency distance, the guide's cross-entropy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rebridge import bridges, networks
from rebridge.training.losses import classifier_loss, frequency_distance, step_means
from rebridge.training.timesteps import States

ROWS = torch.arange(5)


def images(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(5, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["goub", "ir-sde", "rdbm"])
def test_the_true_mean_of_the_next_state_is_that_of_two_gaussians(name: str) -> None:
    """x_s given x_t and x0, by Bayes' rule on the joint law of x_s and x_t, whose covariance is f gamma_s^2."""
    bridge = bridges.create(name)
    x0, y, noise = images(0)
    t = torch.tensor([0.2, 0.35, 0.5, 0.77, 0.9], dtype=torch.float64)
    s = t - 0.01
    x_t = bridge.forward(x0, y, t, noise)
    _, target = step_means(bridge, States(t, x_t, ROWS), x0, x0, y)
    c, n = bridge.coefficients(t).like(y), bridge.coefficients(s).like(y)
    covariance = c.alpha / n.alpha * n.gamma**2
    expected = n.alpha * x0 + n.beta * y + covariance / c.gamma**2 * (x_t - c.alpha * x0 - c.beta * y)
    torch.testing.assert_close(target, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["goub", "ir-sde"])
def test_with_the_true_image_a_short_reverse_step_is_the_posterior(name: str) -> None:
    """The Euler step differs from the exact mean by the square of the step: a tenth of the step, a hundredth of the error."""
    x0, y, noise = images(1)
    errors = []
    for steps in (1000, 10000):
        bridge = bridges.create(name, steps=steps, schedule="constant")
        t = torch.full((5,), 0.5, dtype=torch.float64)
        x_t = bridge.forward(x0, y, t, noise)
        prediction, target = step_means(bridge, States(t, x_t, ROWS), x0, x0, y)
        errors.append((prediction - target).abs().max().item())
    assert math.log10(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_goub_step_is_the_one_that_its_authors_write_down() -> None:
    """x + (theta (1 + 2 e^-2(T-tb) / (1 - e^-2(T-tb))) (y - x) - g^2 score) dt with score = -noise / sigma, arXiv 2312.10299."""
    bridge = bridges.create("goub")
    x0, y, noise = images(2)
    index = torch.tensor([10, 30, 55, 80, 99])
    t = index.double() / 100
    x_t = bridge.forward(x0, y, t, noise)
    x0_hat = x0 + 0.1
    prediction, _ = step_means(bridge, States(t, x_t, ROWS), x0_hat, x0, y)
    tb = bridge.clock(torch.arange(101, dtype=torch.float64) / 100)
    step, rest = (tb[index] - tb[index - 1]).view(-1, 1, 1, 1), (tb[-1] - tb[index]).view(-1, 1, 1, 1)
    decay = torch.exp(-2 * rest)
    sigma = bridge.coefficients(t).like(y).gamma
    score = -bridge.noise_estimate(x_t, x0_hat, y, t) / sigma
    drift = (1 + 2 * decay / (1 - decay)) * (y - x_t)
    expected = x_t - (drift - 2 * (30 / 255) ** 2 * score) * step
    torch.testing.assert_close(prediction, expected, rtol=1e-9, atol=1e-9)


def test_at_a_pinned_end_both_means_are_those_of_the_marginal() -> None:
    bridge = bridges.create("goub")
    x0, y, _ = images(3)
    x0_hat = x0 * 0.5
    prediction, target = step_means(bridge, States(torch.ones(5, dtype=torch.float64), y, ROWS), x0_hat, x0, y)
    c = bridge.coefficients(torch.tensor([0.99])).like(y)
    torch.testing.assert_close(prediction, c.alpha * x0_hat + c.beta * y)
    torch.testing.assert_close(target, c.alpha * x0 + c.beta * y)


def test_a_constant_error_is_one_frequency_among_many() -> None:
    flat = torch.full((1, 1, 8, 8), 0.3)
    coefficients = np.fft.rfft2(flat[0, 0].numpy(), norm="ortho")
    expected = (np.abs(coefficients.real).mean() + np.abs(coefficients.imag).mean()) / 2
    assert frequency_distance(flat, torch.zeros_like(flat)).item() == pytest.approx(expected, rel=1e-6)
    textured = 0.3 * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert frequency_distance(textured, torch.zeros_like(flat)) > 3 * frequency_distance(flat, torch.zeros_like(flat))


def test_an_undecided_classifier_costs_the_logarithm_of_the_number_of_kinds() -> None:
    network: Any = networks.create("fast", kinds=3)
    torch.nn.init.zeros_(network.guide.leave.weight)
    torch.nn.init.zeros_(network.guide.leave.bias)
    loss = classifier_loss(network.classify(torch.rand(2, 3, 32, 32)), ["haze", "rain"], ["rain", "haze", "clean"])
    assert loss.item() == pytest.approx(math.log(3), rel=1e-5)
