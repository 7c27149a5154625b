"""Solving measurements: every method, samples and their spread, and what is said about what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges, networks, solve
from rebridge.denoisers import MixtureDenoiser
from rebridge.inverse import Method, create, names, operators
from rebridge.models import DenoiserModel, Model, TrainedModel
from tests.inverse.conftest import StandIn, image

QUICK: dict[str, dict[str, Any]] = {
    "deqir": {"steps": 4, "sweeps": 2},
    "scd": {"steps": 2, "iterations": 1, "rank": 2},
}
VP = bridges.create("vp")


@pytest.fixture(scope="module")
def prior() -> Model:
    """A tiny untrained model of clean images."""
    torch.manual_seed(0)
    network = networks.create("fast", optional_condition=True, widths=[4, 8], blocks=[1], middle=1, embedding=8)
    tail = network.tail
    assert isinstance(tail, nn.Conv2d)
    nn.init.normal_(tail.weight, std=0.1)
    return TrainedModel.of(network, VP, "preconditioned", tasks=["rain"])


def quick(name: str, **params: Any) -> Method:
    return create(name, **{**QUICK.get(name, {"steps": 3}), **params})


class Smooth:
    """An exact prior of independent pixels, N(0.2, 0.3^2) in [-1, 1], as a denoiser."""

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        c = VP.coefficients(t).like(x_t)
        return 0.2 + c.alpha * 0.09 / (c.alpha**2 * 0.09 + c.gamma**2) * (x_t - c.alpha * 0.2)


@pytest.mark.parametrize("name", names())
def test_every_solver_takes_images_and_gives_images(name: str, prior: Model) -> None:
    x = image()
    operator = operators.create("sr2", (3, 16, 24))
    reports: list[tuple[int, int]] = []
    found = solve(
        operator.A(x),
        operator,
        prior,
        quick(name),
        sigma_y=0.02,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert found.mean.shape == x.shape
    assert 0 <= found.mean.min() <= found.mean.max() <= 1
    assert found.calls == quick(name).calls
    assert reports[-1] == (found.calls, found.calls)


def test_an_operator_with_deepinvs_methods_and_nothing_else_will_do(prior: Model) -> None:
    """No shape, no name; deepinv's own classes are tried in test_guided where deepinv is installed."""
    y = 0.5 * image()
    for name in names():
        if name == "ddrm":
            with pytest.raises(ValueError, match="StandIn has none"):
                solve(y, StandIn(), prior, name)
            continue
        found = solve(y, StandIn(), prior, quick(name), sigma_y=0.01)
        assert found.mean.shape == image().shape
    assert (solve(y, StandIn(), prior, quick("ddnm")).mean - image()).abs().max() < 1e-5


def test_a_name_with_parameters_is_the_solver(prior: Model) -> None:
    operator = operators.create("mask", (3, 16, 24))
    y = operator.A(image())
    by_name = solve(y, operator, prior, "ddnm", steps=3, eta=0.5, seed=4)
    by_solver = solve(y, operator, prior, create("ddnm", steps=3, eta=0.5), seed=4)
    torch.testing.assert_close(by_name.mean, by_solver.mean, rtol=0, atol=0)


@pytest.mark.parametrize("name", names())
def test_a_result_does_not_depend_on_its_batch(name: str, prior: Model) -> None:
    operator = operators.create("sr2", (3, 16, 24))
    y = operator.A(torch.cat([image(), image().flip(-1)]))
    both = solve(y, operator, prior, quick(name), seed=1).mean
    alone = solve(y[1:], operator, prior, quick(name), seed=1).mean
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4)


def test_samples_show_where_nothing_was_measured() -> None:
    """The standard deviation over samples is that of the prior in the hole of a mask, and nearly 0 beside it."""
    operator = operators.create("box", (1, 24, 24), side=0.5)
    x = torch.full((1, 1, 24, 24), 0.6, dtype=torch.float64)
    known = DenoiserModel(Smooth(), VP, channels=1)
    found = solve(operator.A(x), operator, known, "nrlg", sigma_y=0.01, samples=48, steps=100, grid="log-snr")
    assert found.samples.shape == (48, 1, 1, 24, 24)
    hole = operator.A(torch.ones_like(x)) == 0
    assert found.std[hole].mean().item() == pytest.approx(0.15, rel=0.1)  # 0.3 in a range twice as wide
    assert found.std[~hole].mean() < 0.02
    assert found.mean[hole].mean().item() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("name", [name for name in names() if name != "scd"])
def test_what_was_not_measured_follows_from_what_was(name: str) -> None:
    """A prior of two pictures, all bright or all dark: half of the pixels decide which one it is, exactly known."""
    d = 16
    means = torch.tensor([[0.5] * d + [0.0] * d, [-0.5] * d + [0.0] * d], dtype=torch.float64)
    spread = torch.block_diag(0.01 * torch.eye(d), torch.eye(d)).double().expand(2, -1, -1)
    exact = MixtureDenoiser(VP, torch.tensor([0.5, 0.5]), means, spread)
    known = DenoiserModel(exact, VP, channels=1)
    operator = operators.create("mask", (1, 4, 4), missing=0.5)
    for bright in (0.75, 0.25):
        y = operator.A(torch.full((1, 1, 4, 4), bright, dtype=torch.float64))
        few: dict[str, dict[str, Any]] = {"red-diff": {"lr": 0.05}, "deqir": {"steps": 30, "sweeps": 30}}
        method = create(name, **few.get(name, {"steps": 40}))
        found = solve(y, operator, known, method, sigma_y=0.01, samples=12)
        right = (found.samples.mean((1, 2, 3, 4)) - bright).abs() < 0.15
        assert right.double().mean() > 0.6


@pytest.mark.parametrize("name", ["ddnm", "dds", "diffpir", "nrlg", "pigdm"])
def test_jpeg_is_restored_within_what_it_was_rounded_from(name: str) -> None:
    operator = operators.JPEG((3, 16, 24), quality=30)
    known = DenoiserModel(Smooth(), VP, channels=3)
    y = operator.A(image())
    found = solve(y, operator, known, quick(name, steps=10))
    again = (operator.A(found.mean) - y).abs() / operator.steps.repeat(1, 2, 3)
    assert again.mean() < (
        0.1 if name in ("ddnm", "nrlg", "diffpir") else 0.3
    )  # clamping to [0, 1] leads out of cells too


def test_what_does_not_fit_gets_one_sentence(prior: Model) -> None:
    operator = operators.create("sr4", (3, 16, 24))
    y = operator.A(image())
    with pytest.raises(ValueError, match="the measurement holds NaN"):
        solve(y * float("nan"), operator, prior)
    with pytest.raises(ValueError, match=r"measurements of shape \(B, 3, 4, 6\), got \(1, 3, 4, 5\)"):
        solve(y[..., :5], operator, prior)
    with pytest.raises(ValueError, match="for images of 1 channels, the prior makes 3"):
        solve(y[:, :1], operators.create("sr4", (1, 16, 24)), prior)
    with pytest.raises(ValueError, match="must be of a floating-point type"):
        solve(y.long(), operator, prior)
    with pytest.raises(ValueError, match="dps needs a linear operator"):
        solve(image(), operators.create("jpeg", (3, 16, 24)), prior, "dps")
    radon = operators.create("radon", (3, 16, 24))
    with pytest.raises(ValueError, match="ddrm needs the singular value decomposition of the operator, and radon"):
        solve(radon.A(image()), radon, prior, "ddrm")
    with pytest.raises(ValueError, match="samples must be at least 1"):
        solve(y, operator, prior, samples=0)
    with pytest.raises(ValueError, match="sigma_y must be a number from 0 up"):
        solve(y, operator, prior, sigma_y=-1.0)
    with pytest.raises(ValueError, match="scd adapts a network"):
        solve(y, operator, DenoiserModel(prior.given(None), VP, channels=3), "scd", steps=2)


def test_a_prior_with_a_condition_is_used_without_it(prior: Model) -> None:
    x, t = torch.randn(1, 3, 16, 16), torch.full((1,), 0.5)
    free = prior.given(None)
    seen, unseen = (free(x, t, y) for y in (torch.rand(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)))
    assert isinstance(seen, Tensor)
    torch.testing.assert_close(seen, unseen)


def test_a_diffusers_pipeline_in_pixels_is_a_prior_too(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "ddpm")
    operator = operators.create("sr2", (3, 15, 18))
    y = operator.A(image(15, 18))
    for name in ("nrlg", "dps", "scd"):
        found = solve(y, operator, str(tmp_path / "ddpm"), quick(name), device="cpu")
        assert found.mean.shape == (1, 3, 15, 18)
