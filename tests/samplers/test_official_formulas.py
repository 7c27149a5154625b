"""The authors' steps at other parameters than those of the recorded chains, written down from their formulas."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import NetworkDenoiser
from tests.reference import Replay, denoiser, double, inputs, load

Y, NOISE = (images.double() for images in inputs())


def estimate(x: Tensor, t: float) -> Tensor:
    return denoiser(x, torch.full((len(x),), t, dtype=torch.float64), Y)


def residual_clamped(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return y - (y - denoiser(x, t, y)).clamp(-1, 1)


@pytest.mark.parametrize("scale", [0.01, 1.0])
@pytest.mark.parametrize("eta", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("steps", [4, 10])
def test_rddm_at_other_shares_of_fresh_variance(scale: float, eta: float, steps: int) -> None:
    """Its eta multiplies the variance: that of `residual-posterior`, the square of that of `dbim`."""
    bridge = bridges.create("rddm", sum_scale=scale)
    c = bridge.coefficients((torch.arange(1000, dtype=torch.float64) + 1) / 1000)
    draw = Replay(NOISE)
    x = Y + scale**0.5 * draw(Y)
    indices = torch.linspace(-1, 999, steps + 1).int().tolist()[::-1]
    for i, j in itertools.pairwise(indices):
        residual = (Y - estimate(x, (i + 1) / 1000)).clamp(-1, 1)
        noise = (x - Y + (1 - c.beta[i]) * residual) / c.gamma[i]
        if j < 0:
            x = Y - residual
            break
        before, after = c.gamma[i] ** 2, c.gamma[j] ** 2
        fresh = eta * (before - after) * after / before
        kept = c.gamma[i] - (after - fresh).sqrt()
        x = x - (c.beta[i] - c.beta[j]) * residual - kept * noise + fresh.sqrt() * draw(x)
    for name, share in (("residual-posterior", eta), ("dbim", eta**0.5)):
        sampler = samplers.create(name, eta=share, steps=steps, grid="index")
        found = sampler(bridge, residual_clamped, Y, noise=Replay(NOISE))
        torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "kappa", "power", "min_noise"), [(4, 2.0, 0.3, 0.2), (15, 1.0, 2.0, 0.04), (7, 2.0, 0.5, 0.1)]
)
def test_resshift_on_other_schedules(steps: int, kappa: float, power: float, min_noise: float) -> None:
    first = min(min_noise / kappa, min_noise)
    position = torch.linspace(0, 1, steps, dtype=torch.float64) ** power
    eta = (first * (0.99 / first) ** position) ** 2
    before = torch.cat([torch.zeros(1, dtype=torch.float64), eta[:-1]])
    draw = Replay(NOISE)
    x = Y + kappa * eta[-1].sqrt() * draw(Y)
    for i in reversed(range(steps)):
        mean = before[i] / eta[i] * x + (eta[i] - before[i]) / eta[i] * estimate(x, (i + 1) / steps)
        x = mean + kappa * (before[i] / eta[i] * (eta[i] - before[i])).sqrt() * draw(x)
    bridge = bridges.create("resshift", steps=steps, kappa=kappa, power=power, min_noise=min_noise)
    found = samplers.recommended(bridge)(bridge, denoiser, Y, noise=Replay(NOISE))
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [3, 7, 30])
def test_rdbm_at_numbers_of_steps_that_do_not_divide_its_schedule(steps: int) -> None:
    """MiliLab/RDBM cuts times down to whole indices, leaves y by the mean, and shrinks the state's deviation with Sigma."""
    bridge = bridges.create("rdbm", modulation="one", lam=10 / 255)
    c = bridge.coefficients((torch.arange(100, dtype=torch.float64) + 1) / 100)
    x = Y
    indices = torch.linspace(-1, 99, steps + 1).int().tolist()[::-1]
    for i, j in itertools.pairwise(indices):
        x0 = estimate(x, (i + 1) / 100)
        if j < 0:
            x = x0
        elif i == 99:
            x = Y + c.alpha[j] * (x0 - Y)
        else:
            kept = c.gamma[j] / c.gamma[i]
            x = Y + kept * (x - Y) + (c.alpha[j] - c.alpha[i] * kept) * (x0 - Y)
    found = samplers.recommended(bridge)
    torch.testing.assert_close(replace(found, steps=steps)(bridge, denoiser, Y), x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("max_var", [0.25, 2.0])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_bbdm_at_other_variances(max_var: float, eta: float) -> None:
    m = torch.linspace(0.001, 0.999, 1000, dtype=torch.float64)
    variance = 2 * (m - m**2) * max_var
    indices = [*range(999, 1, -111), 1, 0]
    x, draw = Y, Replay(NOISE)
    for i, j in itertools.pairwise(indices):
        x0 = estimate(x, (i + 1) / 1000)
        lost = variance[i] - variance[j] * ((1 - m[i]) / (1 - m[j])) ** 2
        fresh = lost * variance[j] / variance[i]
        deviation = x - (1 - m[i]) * x0 - m[i] * Y
        kept = ((variance[j] - fresh) / variance[i]).sqrt() * deviation
        x = (1 - m[j]) * x0 + m[j] * Y + kept + eta * fresh.sqrt() * draw(x)
    x = estimate(x, 1 / 1000)
    times = [(i + 1) / 1000 for i in indices] + [0.0]
    sampler = samplers.create("dbim", eta=eta, compat=True)
    found = sampler(bridges.create("brownian", max_var=max_var), denoiser, Y, times=times, noise=Replay(NOISE))
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


def test_bbdm_with_a_network_that_predicts_the_noise() -> None:
    official, bridge = load("bridges/bbdm_eta"), bridges.create("brownian")

    class Noise(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return bridge.noise_estimate(x, denoiser(x, t, y), y, t)

    times = [(i + 1) / official["T"] for i in official["steps 20"]] + [0.0]
    network = NetworkDenoiser(Noise(), bridge, "noise", clamp=False).eval()
    sampler = samplers.create("dbim", eta=0.5, compat=True)
    found = sampler(bridge, network, Y, times=times, noise=Replay(NOISE))
    torch.testing.assert_close(found, double(official["eta=0.5 steps=20 objective noise"]), rtol=1e-9, atol=1e-9)


def markov(x: Tensor, x0: Tensor, decay: Tensor, variance: Tensor, z: Tensor) -> Tensor:
    return x0 + (x - x0) * torch.exp(-(decay + variance / 2) + variance.sqrt() * z)


def euler(x: Tensor, x0: Tensor, decay: Tensor, variance: Tensor, z: Tensor) -> Tensor:
    return x + decay * (x0 - x) + variance.sqrt() * (x - x0) * z


@pytest.mark.parametrize(
    ("method", "step", "steps"), [("markov", markov, 4), ("markov", markov, 100), ("euler", euler, 100)]
)
def test_fod_at_other_numbers_of_steps(method: str, step: Callable[..., Tensor], steps: int) -> None:
    official = load("bridges/fod")
    mean, variance = double(official["m (expo_mean_cumsum)"]), double(official["s (sqrt_expo_variance_cumsum)"]) ** 2
    x, draw, stride = Y, Replay(NOISE), 100 // steps
    for i in range(0, 100, stride):
        gained = variance[i + stride] - variance[i]
        decay = mean[i] - mean[i + stride] - gained / 2
        x = step(x, estimate(x, 1 - i / 100), decay, gained, draw(x))
    sampler = samplers.create("multiplicative", method=method, steps=steps)
    found = sampler(bridges.create("fod"), denoiser, Y, noise=Replay(NOISE))
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("name", ["i2sb", "brownian", "ddbm-vp"])
def test_dbim_of_higher_order_leaves_y_by_a_draw_and_has_no_history_there(name: str, order: int) -> None:
    """thu-ml/DiffusionBridge: a draw at the first time, then a step of order 1, of order 2, of the order, the last of order 1."""
    bridge, times = bridges.create(name), [0.9, 0.75, 0.6, 0.4, 0.2, 0.0]
    c = bridge.coefficients(torch.tensor(times, dtype=torch.float64))
    level = (c.alpha / c.gamma).log()
    x0 = estimate(Y, 1.0)
    x = c.alpha[0] * x0 + c.beta[0] * Y + c.gamma[0] * NOISE[0]
    seen: list[Tensor] = []
    for i in range(5):
        seen.append(estimate(x, times[i]))
        ratio = c.gamma[i + 1] / c.gamma[i]
        moved = ratio * x + (c.beta[i + 1] - ratio * c.beta[i]) * Y
        if i in (0, 4):
            x = moved + (c.alpha[i + 1] - ratio * c.alpha[i]) * seen[i]
            continue
        h, h1 = level[i + 1] - level[i], level[i] - level[i - 1]
        first, second = (seen[i] - seen[i - 1]) / h1, torch.zeros_like(x)
        if order == 3 and i > 1:
            h2, before = level[i - 1] - level[i - 2], seen[i - 1] - seen[i - 2]
            first, second = (
                (first * (2 * h1 + h2) - before * h1 / h2) / (h1 + h2),
                2 * (first - before / h2) / (h1 + h2),
            )
        gone = torch.exp(-h)
        x = moved + c.alpha[i + 1] * (
            (1 - gone) * seen[i] + (gone + h - 1) * first + (h**2 / 2 - h + 1 - gone) * second
        )
    sampler = samplers.create("dbim", order=order, start="noise")
    found = sampler(bridge, denoiser, Y, times=[1.0, *times], noise=Replay(NOISE))
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)
