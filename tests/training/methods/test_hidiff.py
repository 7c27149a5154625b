"""HI-Diff's two stages by the one trainer: stage 1 learns a prior from the truth, stage 2 to predict it from y alone."""

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
from typer.testing import CliRunner

from rebridge.cli import app
from rebridge.models import load_model
from rebridge.restoration import Restorer
from rebridge.training import ConfigError, TrainConfig, load_config, train
from rebridge.training.methods.hidiff import correlation

CONFIGS = Path(__file__).parents[3] / "configs" / "hi-diff"
SMALL = (
    "network={name: hi-diff-tiny, widths: [8, 8, 8], blocks: [1, 1, 1], heads: [1, 2, 2], features: 4, side: 2, "
    "encoder_width: 16, encoder_blocks: 1, denoiser_width: 32, denoiser_blocks: 1, window: 32, spectra: 0}"
)

StageOf = Callable[..., TrainConfig]


def loaded(folder: Path | None) -> Any:
    """The model of a run that came to its end."""
    assert folder is not None
    return load_model(folder)


@pytest.fixture
def stage(tmp_path: Path) -> Callable[..., TrainConfig]:
    """The configuration of a stage in small, on images of very different colours, which a degradation darkens."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(8):
        smooth = 0.2 * generator.random((6, 6, 3)).repeat(8, 0).repeat(8, 1) + 0.8 * generator.random(3)
        Image.fromarray(np.uint8(255 * smooth)).save(folder / f"{number}.png")

    def make(number: int, *overrides: str) -> TrainConfig:
        quick = ["data.holdout=2", "data.patch=32", "data.validation_size=32", "data.tasks={lowlight: 1}", "device=cpu"]
        quick += ["precision=fp32", "optimisation.iterations=40", "optimisation.warmup=5", "optimisation.lr=5e-3"]
        quick += ["validate_every=1000", "checkpoint_every=20", "log_every=1", SMALL, f"data.clean={folder}"]
        quick += ["data.margin=0", "loss.kind=l1"]
        names = ["stages.0.name=1", "stages.1.name=2", f"output={tmp_path}"]
        return load_config(CONFIGS / "blur-tiny.yaml", [*quick, *names, *overrides], stage=number)

    return make


def logged(config: TrainConfig, key: str) -> list[float]:
    lines = [json.loads(line) for line in (config.output / "log.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def test_the_stages_follow_one_another_and_the_predicted_prior_approaches_the_teacher_s(
    stage: StageOf, tmp_path: Path
) -> None:
    first, second = stage(1), stage(2, "optimisation.iterations=120", "optimisation.batch=8")
    train(first)
    result = train(second)
    losses = logged(first, "loss")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    distances, correlations = logged(second, "z l1"), logged(second, "z correlation")
    assert np.mean(distances[-5:]) < 0.8 * np.mean(distances[:5])
    assert np.mean(correlations[-5:]) > 0.3
    before, after = (loaded(run.output / "model").network.state_dict() for run in (first, second))
    same = {name.split(".")[0]: torch.equal(before[name], after[name]) for name in before}
    assert same["teacher"]
    assert not same["encoder"]
    assert not same["diffusion"]
    assert not same["transformer"]
    restore = Restorer(loaded(result.model))
    for height, width in [(1, 1), (45, 70)]:
        image = torch.rand(1, 3, height, width)
        assert restore(image).shape == image.shape


@pytest.mark.parametrize("form", ["gopro", "realblur"])
def test_the_released_network_is_trained_by_the_same_stages(stage: StageOf, tmp_path: Path, form: str) -> None:
    network = (
        "{name: hi-diff, released: true, widths: [8, 8, 8], blocks: [1, 1, 1], heads: [1, 2, 2], side: 2, window: 32, "
    )
    network += f"encoder_width: 8, features: 32, encoder_blocks: 1, denoiser_width: 32, form: {form}}}"
    phases = "progressive=[{iterations: 20, patch: 16, batch: 4}, {iterations: 20, patch: 32, batch: 2}]"
    changes = (f"network={network}", "bridge={name: goub}", phases, "optimisation.ema_decay=0")
    train(stage(1, *changes))
    second = stage(2, *changes, "optimisation.iterations=120")
    result = train(second)
    distances = logged(second, "z l1")
    assert np.mean(distances[-5:]) < 0.8 * np.mean(distances[:5])
    before, after = (loaded(tmp_path / name / "model").network.state_dict() for name in ("1", "2"))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("teacher"))
    assert not torch.equal(before["transformer.tail.weight"], after["transformer.tail.weight"])
    restore, image = Restorer(loaded(result.model)), torch.rand(1, 3, 45, 70)
    assert not torch.equal(restore(image), restore(image))  # the start of the prior is drawn anew, as the authors do


def test_the_command_line_restores_with_the_model_folder(stage: StageOf, tmp_path: Path) -> None:
    train(stage(1, "optimisation.iterations=2"))
    train(stage(2, "optimisation.iterations=2"))
    source = tmp_path / "photographs" / "0.png"
    words = ["restore", str(source), "-o", str(tmp_path / "out.png"), "--model", str(tmp_path / "2" / "model")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "out.png").size == Image.open(source).size


def test_a_resumed_stage_ends_with_the_same_bits(stage: StageOf, tmp_path: Path) -> None:
    train(stage(1, "optimisation.iterations=4"))
    config = stage(2, "optimisation.iterations=4", "checkpoint_every=2")
    whole = loaded(train(config).model).network.state_dict()
    shutil.rmtree(config.output / "checkpoint-00000004")
    resumed = loaded(train(config, resume=True).model).network.state_dict()
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name


def test_without_a_prior_the_same_trainer_trains_the_transformer(stage: StageOf) -> None:
    config = stage(1, "network.prior=none", "network.blocks=[1, 1, 2]")
    result = train(config)
    losses = logged(config, "loss")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert loaded(result.model).network.tokens is not None


@pytest.mark.parametrize(
    ("number", "overrides", "sentence"),
    [
        (1, ("network={name: fast}",), "latent: the network fast has no latent prior; use hi-diff"),
        (1, ("prediction=x0",), "latent needs prediction residual, got x0"),
        (2, (), "start_from: .* does not hold the weights"),
        (2, ("network.prior=none", "start_from=null"), "latent: a network with prior 'none' has no stage 2"),
    ],
)
def test_a_wrong_setting_is_named(stage: StageOf, number: int, overrides: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        train(stage(number, *overrides))


def test_correlation_leaves_out_what_is_the_same_for_all_images() -> None:
    generator = torch.Generator().manual_seed(0)
    common = 10 * torch.randn(1, 4, 5, generator=generator)
    a, b = torch.randn(2, 2000, 4, 5, generator=generator)
    assert correlation(a + common, a + 3 * common) == pytest.approx(1, abs=1e-6)
    assert correlation(a + common, b + common) == pytest.approx(0, abs=0.02)
    assert correlation(a + common, a + b + common) == pytest.approx(0.5**0.5, abs=0.02)
