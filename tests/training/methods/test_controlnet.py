"""Training the condition of a diffusers prior, offline: what changes, what must not, what comes out and is used."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from rebridge.cli import app
from rebridge.models import ModelError, load_prior
from rebridge.restoration import Restorer
from rebridge.training import ConfigError, TrainResult, fit, load_config, train_file
from rebridge.training.checkpoints import Checkpoint, latest_checkpoint
from rebridge.training.data import training_pairs
from rebridge.training.methods.controlnet import ControlNetTraining
from tests.models import tiny_pipelines as tiny

ITERATIONS = 40


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_stable_diffusion(tmp_path_factory.mktemp("pipelines") / "sd")


@pytest.fixture(scope="module")
def config(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds on four smooth images."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "clean").mkdir()
    rows, columns = np.mgrid[0:48, 0:48]
    for number in range(4):
        wave = 128 + 100 * np.sin(rows / (3 + number)) * np.cos(columns / 5)
        Image.fromarray(np.stack([wave] * 3, -1).astype(np.uint8)).save(folder / "clean" / f"{number}.png")
    path = folder / "control.yaml"
    path.write_text(
        f"kind: controlnet\nprior: {pipeline}\nprecision: fp32\nsteps: 3\nlog_every: 1\ndevice: cpu\n"
        f"data: {{clean: {folder / 'clean'}, tasks: {{rain: 1.0, inpaint: 1.0}}, patch: 32, holdout: 1, "
        "validation_count: 1, validation_size: 32}\n"
        f"optimisation: {{iterations: {ITERATIONS}, batch: 4, lr: 5e-3, warmup: 5}}\n"
    )
    return path


def trained(config: Path, output: Path, *overrides: str, resume: bool = False) -> TrainResult:
    return train_file(config, [f"output={output}", *overrides], resume)


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def pipeline_states(prior: Any) -> dict[str, Tensor]:
    parts = {"unet": prior.unet, "vae": prior.vae, "text": prior.pipeline.text_encoder}
    return {f"{n}.{k}": v.clone() for n, part in parts.items() for k, v in part.state_dict().items()}


@pytest.fixture(scope="module")
def run(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, Path]:
    output = tmp_path_factory.mktemp("trained")
    return trained(config, output), output


def test_the_loss_falls(run: tuple[TrainResult, Path]) -> None:
    entries = [json.loads(line) for line in (run[1] / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert len(losses) == ITERATIONS
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_the_frozen_weights_stay_as_they_were_bit_by_bit(config: Path, pipeline: Path, tmp_path: Path) -> None:
    on_disk = weights(pipeline)
    settings = load_config(config, [f"output={tmp_path}", "optimisation.iterations=3", "validate_every=100"])
    task = ControlNetTraining(settings, torch.device("cpu"))
    frozen, control = pipeline_states(task.prior), {k: v.clone() for k, v in task.module.state_dict().items()}
    fit(task, settings, training_pairs(settings.data, settings.seed))
    after = pipeline_states(task.prior)
    assert frozen.keys() == after.keys()
    assert all(torch.equal(frozen[key], after[key]) for key in frozen)
    assert any(not torch.equal(control[key], value) for key, value in task.module.state_dict().items())
    assert weights(pipeline) == on_disk


def test_before_training_a_controlnet_changes_nothing(pipeline: Path) -> None:
    from rebridge.models.pipelines import new_controlnet

    prior: Any = load_prior(pipeline, device="cpu")
    z, s, image = torch.randn(1, 4, 16, 16), torch.tensor([0.5]), torch.rand(1, 3, 32, 32)
    alone = prior.given(image)(z, s, z)
    prior.controlnet = new_controlnet(prior)
    assert torch.equal(prior.given(image)(z, s, z), alone)


def test_what_is_saved_restores_an_image_and_survives_saving_again(
    run: tuple[TrainResult, Path], pipeline: Path, tmp_path: Path
) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    folder = run[0].model
    assert folder == run[1] / "controlnet"
    image = torch.rand(1, 3, 33, 40, generator=torch.Generator().manual_seed(0))
    prior: Any = load_prior(pipeline, device="cpu", controlnet=folder)
    restore = Restorer.from_preset(prior, task="rain")
    restored = restore(image, steps=4, seed=0)
    assert restored.shape == image.shape
    # a pipeline of diffusers saved whole, with the ControlNet inside, is a prior too and the same one
    control = ControlNetModel.from_pretrained(folder)
    parts = {k: v for k, v in prior.pipeline.components.items() if k != "image_encoder"}
    StableDiffusionControlNetPipeline(
        **parts, controlnet=control, requires_safety_checker=False
    ).save_pretrained(tmp_path / "whole")  # fmt: skip
    again = Restorer.from_preset(load_prior(tmp_path / "whole", device="cpu"), task="rain")
    assert torch.equal(again(image, steps=4, seed=0), restored)
    without = Restorer.from_preset(load_prior(pipeline, device="cpu"), task="rain")
    assert not torch.equal(without(image, steps=4, seed=0), restored)


def test_a_run_that_was_stopped_ends_with_the_same_bits(config: Path, tmp_path: Path) -> None:
    common = ("checkpoint_every=3", "validate_every=100", "optimisation.iterations=6")
    whole = trained(config, tmp_path / "whole", *common)
    first = trained(config, tmp_path / "parts", *common, "optimisation.iterations=3")
    assert first.iterations == 3
    second = trained(config, tmp_path / "parts", *common, resume=True)
    assert whole.model is not None
    assert second.model is not None
    assert weights(whole.model) == weights(second.model)


def check_equal_gradients(one: Checkpoint, two: Checkpoint) -> None:
    """AdamW keeps the same mean of gradients. Weights move by the signs of theirs, and rounding turns those of tiny ones."""
    moments = {key: value for key, value in one.tensors["optimizer"].items() if key.endswith("exp_avg")}
    assert moments
    for key, value in moments.items():
        torch.testing.assert_close(
            two.tensors["optimizer"][key], value, rtol=1e-2, atol=1e-3 * float(value.abs().max()) + 1e-8
        )


def test_accumulating_changes_the_loss_by_rounding_only(config: Path, tmp_path: Path) -> None:
    common = ("optimisation.iterations=2", "validate_every=100")
    trained(config, tmp_path / "one", *common)
    trained(config, tmp_path / "two", *common, "optimisation.batch=2", "optimisation.accumulate=2")
    one, two = (latest_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    check_equal_gradients(one, two)


def test_bf16_and_checkpointed_gradients_train_too(config: Path, tmp_path: Path) -> None:
    result = trained(config, tmp_path, "optimisation.iterations=2", "precision=bf16", "gradient_checkpointing=true")
    assert set(result.psnr) == {"psnr/rain", "psnr/inpaint"}


@pytest.mark.slow
def test_two_processes_train_what_one_does(config: Path, tmp_path: Path) -> None:
    overrides = ["validate_every=100", "optimisation.iterations=2"]
    trained(config, tmp_path / "one", *overrides)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "rebridge.cli", "train"]
    options = [f"output={tmp_path / 'two'}", *overrides, "optimisation.batch=2"]
    subprocess.run([*torchrun, str(config), *options], check=True, capture_output=True, timeout=600)
    one, two = (latest_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    check_equal_gradients(one, two)


def test_training_on_the_command_line(config: Path, tmp_path: Path) -> None:
    words = ["train", str(config), f"output={tmp_path}", "optimisation.iterations=1", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == str(tmp_path / "controlnet")


def test_unusable_settings_get_one_sentence(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key optimisation.lrr; did you mean optimisation.lr"):
        trained(config, tmp_path, "optimisation.lrr=1")
    with pytest.raises(
        ConfigError, match="kind must be one of bridge, refinement, consistency, hidiff, controlnet, got 'control'"
    ):
        trained(config, tmp_path, "kind=control")
    with pytest.raises(ModelError, match="neither a folder nor an id"):
        trained(config, tmp_path, "prior=no/such/folder")
    ddpm = tiny.save_ddpm(tmp_path / "ddpm")
    with pytest.raises(ModelError, match="takes no ControlNet; use a Stable Diffusion pipeline"):
        trained(config, tmp_path, f"prior={ddpm}")
