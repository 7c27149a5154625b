"""Stochastic refinement: the bridge starts from a prediction, in training, in the model folder and in the restorer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import rebridge
from rebridge import bridges, networks
from rebridge.denoisers import NetworkDenoiser
from rebridge.models import load_model
from rebridge.restoration import Restorer
from rebridge.training import ConfigError, load_config, train
from rebridge.training.methods.refinement import PredictorConfig, Refinement, RefinementConfig, RefinementObjective

TINY = Path(__file__).parents[3] / "configs" / "tiny.yaml"
SMALL = "{name: fast, widths: [4, 8], blocks: [1], middle: 1, embedding: 8}"

Refining = Callable[..., RefinementConfig]


def loaded(folder: Path | None) -> Any:
    """The model of a run that came to its end."""
    assert folder is not None
    return load_model(folder)


@pytest.fixture
def refining(tmp_path: Path) -> Callable[..., RefinementConfig]:
    """The tiny configuration with a predictor, on six small images."""
    rows, columns = np.mgrid[0:40, 0:48]
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        waves = np.sin(rows[..., None] / (3 + number) + np.arange(3)) * np.cos(columns[..., None] / 7 - np.arange(3))
        Image.fromarray(np.uint8(127.5 + 120 * waves)).save(folder / f"{number}.png")

    def make(*overrides: str) -> RefinementConfig:
        fixed = ["bridge={name: goub}", "prediction=preconditioned", f"predictor={{network: {SMALL}}}"]
        places = [f"data.clean={folder}", "data.holdout=2", f"output={tmp_path / 'run'}", "validate_every=1000"]
        return load_config(TINY, [*places, *fixed, *overrides])

    return make


def small(seed: int, std: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    network = networks.create("fast", widths=(4, 8), blocks=(1,), middle=1, embedding=8)
    for weight in network.parameters():
        nn.init.normal_(weight, std=std)
    return network


def objective(config: RefinementConfig, bridge: bridges.Bridge, **predictor: object) -> RefinementObjective:
    whole = Refinement(small(0), small(1))
    config = config.model_copy(update={"predictor": PredictorConfig.model_validate(predictor)})
    return RefinementObjective(config, bridge, whole, whole.predictor, whole)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("process", ["{name: goub}", "{name: vp}", "{name: rdbm}", "{name: flow}"])
def test_training_with_a_predictor_lowers_the_loss_along_any_bridge(refining: Refining, process: str) -> None:
    prediction = "residual" if "flow" in process else "preconditioned"
    config = refining(
        f"bridge={process}",
        f"prediction={prediction}",
        "data.tasks={lowlight: 1}",
        "optimisation.iterations=40",
        "optimisation.lr=1e-2",
        "states.rollout_fraction=0",
    )
    result = train(config)
    lines = [json.loads(line) for line in (config.output / "log.jsonl").read_text().splitlines()]
    own = [line["predictor l1"] for line in lines if "predictor l1" in line]
    assert sum(own[-8:]) < 0.7 * sum(own[:8])
    assert {"psnr/0 steps/lowlight", "psnr/1 step/lowlight", "psnr/2 steps/lowlight"} <= set(result.psnr)


def test_the_model_folder_restores_along_the_bridge_from_the_prediction(refining: Refining) -> None:
    result = train(refining())
    model = loaded(result.model)
    assert model.config["predictor"]["network"]["name"] == "fast"
    assert model.predictor is not None
    assert model.parameters == 2 * sum(weight.numel() for weight in model.network.parameters())
    image = images(1, 3, 37, 53)
    restore = Restorer(loaded(result.model))
    ones = torch.ones(1)
    with torch.no_grad():
        start = model.predictor(image, ones, image)  # goub lives in [0, 1]
        noise = rebridge.samplers.noise.ImageNoise([3])
        expected = restore.sampler()(model.bridge, model.denoiser, start, noise=noise).clamp(0, 1)
    torch.testing.assert_close(restore(image, seed=3), expected)
    torch.testing.assert_close(restore.prediction(image), start.clamp(0, 1))
    tiled = restore.prediction(images(1, 3, 100, 120), tile=64)
    assert tiled.shape == (1, 3, 100, 120)
    assert restore(image, seed=3).shape == image.shape


def test_a_run_that_is_resumed_ends_with_the_same_bits(refining: Refining, tmp_path: Path) -> None:
    config = refining("checkpoint_every=3")
    whole = loaded(train(config).model)
    (newest,) = (tmp_path / "run").glob("checkpoint-*6")
    shutil.rmtree(newest)
    resumed = loaded(train(config, resume=True).model)
    assert whole.predictor is not None
    assert resumed.predictor is not None
    for part in ("network", "predictor"):
        for a, b in zip(getattr(whole, part).parameters(), getattr(resumed, part).parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("joint", [True, False])
def test_the_loss_of_the_bridge_reaches_the_predictor_only_where_training_is_joint(
    refining: Refining, joint: bool
) -> None:
    weight = {} if joint else {"start_from": "somewhere"}
    part = objective(refining(), bridges.create("goub"), joint=joint, weight=0.0, **weight)
    x0, y = images(2, 4, 3, 16, 16)
    part.loss(x0, y, first=0).backward()
    reached = [weight.grad for weight in part.average.predictor.parameters() if weight.grad is not None]
    assert any(float(grad.abs().max()) > 0 for grad in reached) == joint
    assert all(weight.grad is not None for weight in part.average.network.parameters())


def test_a_diffusion_of_the_residual_is_the_same_process_seen_from_the_prediction() -> None:
    # x_t - alpha g of vp on images is alpha r + gamma eps: vp on residuals (arXiv 2112.02475, section 3).
    bridge = bridges.create("vp", steps=50)
    x0, g, noise = images(3, 2, 3, 8, 8).double()
    t = torch.tensor([0.3, 0.9])
    c = bridge.coefficients(t).like(x0)
    residual = bridge.forward(x0 - g, torch.zeros_like(g), t, noise)
    torch.testing.assert_close(bridge.forward(x0, g, t, noise) - c.alpha * g, residual)


def test_preconditioning_for_small_residuals_has_inputs_and_targets_of_unit_size() -> None:
    size = 0.05
    bridge = bridges.create("goub")
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros_like(x)

    denoiser = NetworkDenoiser(Spy(), bridge, "preconditioned", scale=size)
    generator = torch.Generator().manual_seed(0)
    g = torch.rand(6, 3, 64, 64, generator=generator, dtype=torch.float64)
    x0 = g + size * torch.randn(g.shape, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.05, 0.2, 0.5, 0.8, 0.95, 0.999], dtype=torch.float64)
    x_t = bridge.forward(x0, g, t, torch.randn(g.shape, generator=generator, dtype=torch.float64))
    target = denoiser.target(x0, g, x_t, t)
    denoiser(x_t, t, g)
    for value in (target, seen[0]):
        torch.testing.assert_close(value.flatten(1).std(1), torch.ones(6, dtype=torch.float64), rtol=0.03, atol=0)
    torch.testing.assert_close(denoiser.estimate(target, x_t, t, g), x0)


def test_a_scale_is_refused_where_the_noise_scales_with_the_residual() -> None:
    with pytest.raises(ValueError, match="scale other than 1 needs"):
        NetworkDenoiser(small(0), bridges.create("rdbm"), "preconditioned", scale=0.1)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("predictor.joint=false", "predictor.weight=0"), "nothing trains the predictor"),
        (("latent={stage: 1}",), "give predictor or latent, not both"),
        (("predictor.network={name: faster}",), "predictor.network: unknown network 'faster'"),
        (("predictor.start_from=nowhere",), "predictor.start_from: nowhere does not hold"),
        (("bridge={name: vp}", "states.condition_dropout=0.1"), "condition_dropout cannot be combined"),
    ],
)
def test_a_wrong_setting_is_named(refining: Refining, overrides: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        train(refining(*overrides))


def test_samples_of_large_images_in_tiles_average_to_the_mean_of_their_samples(refining: Refining) -> None:
    restore = Restorer(loaded(train(refining()).model))
    image = images(1, 3, 100, 90)
    samples = restore.sample(image, 3, tile=64, steps=2, sampler={"name": "dbim", "eta": 1.0})
    torch.testing.assert_close(torch.stack(samples.all).mean(0), samples.mean, rtol=0, atol=1e-5)
    assert float(samples.std.max()) > 0
