"""Restoring images with a pixel prior: any sampler, any image, the condition, details."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rebridge import bridges, hub, networks, samplers
from rebridge.models import ModelError
from rebridge.irbridge import ClassifierFree, IRBridgeRestorer, PixelPrior, PriorError, keep_details, load_prior
from rebridge.models.loading import is_pipeline


@pytest.fixture(scope="module")
def prior(pixel_folder: Path) -> PixelPrior:
    return PixelPrior.from_pretrained(pixel_folder)


def counted(restorer: IRBridgeRestorer) -> tuple[IRBridgeRestorer, list[float]]:
    calls: list[float] = []

    def wrap(denoiser):
        def call(x_t, t, y):
            calls.append(t[0].item())
            return denoiser(x_t, t, y)

        return call

    return restorer.wrapped(wrap), calls


@pytest.mark.parametrize("preset", ["sound", "paper"])
@pytest.mark.parametrize("bridge", ["ir-sde", "goub", "brownian"])
def test_an_image_comes_back_as_what_it_was(prior: PixelPrior, preset: str, bridge: str) -> None:
    restore = IRBridgeRestorer(prior, preset, task="rain", bridge={"name": bridge}, steps=3)
    array = np.random.default_rng(0).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    restored = restore(Image.fromarray(array), seed=1)
    assert isinstance(restored, Image.Image)
    assert restored.size == (41, 33)
    again = restore(array, seed=1)
    assert again.dtype == np.uint8
    assert np.array_equal(again, np.asarray(restored))
    assert not np.array_equal(again, restore(array, seed=2))


@pytest.mark.parametrize("name", ["irbridge", "ddim", "sdedit", *samplers.names()])
def test_every_sampler_restores_with_the_prior(prior: PixelPrior, picture: Tensor, name: str) -> None:
    restore = IRBridgeRestorer(prior, bridge={"name": "goub"})
    restored = restore(picture, steps=4, sampler=name)
    assert restored.shape == picture.shape
    assert restored.min() >= 0
    assert restored.max() <= 1


@pytest.mark.parametrize(("name", "calls"), [("irbridge", 6), ("ddim", 6), ("sdedit", 6)])
def test_the_baselines_make_as_many_calls_as_the_loop(
    prior: PixelPrior, picture: Tensor, name: str, calls: int
) -> None:
    restore, seen = counted(IRBridgeRestorer(prior))
    restore(picture, steps=6, sampler=name)
    assert len(seen) == calls


def test_tiles_give_what_the_whole_image_gives(prior: PixelPrior) -> None:
    image = torch.rand(1, 3, 96, 192, generator=torch.Generator().manual_seed(0))
    restore = IRBridgeRestorer(prior, steps=3)
    whole, tiled = restore(image, tile=0), restore(image, tile=128, overlap=64)
    assert (whole - tiled).abs().max() < 1e-3


def test_grey_images_stay_grey(prior: PixelPrior, picture: Tensor) -> None:
    assert IRBridgeRestorer(prior, steps=3)(picture[:, :1]).shape == (1, 1, 40, 48)


def test_without_condition_the_degraded_image_reaches_the_result_by_the_start_only(
    pixel_folder: Path, picture: Tensor
) -> None:
    free = PixelPrior.from_pretrained(pixel_folder, condition=False)
    y = free.encode(picture)
    z, s = torch.randn_like(y), torch.full((1,), 0.5)
    assert torch.equal(free.given(picture)(z, s, y), free.given(picture)(z, s, torch.rand_like(y)))
    known = PixelPrior.from_pretrained(pixel_folder)
    assert not torch.equal(known.given(picture)(z, s, y), known.given(picture)(z, s, torch.rand_like(y)))
    assert torch.equal(known.given(picture)(z, s, torch.zeros_like(y)), free.given(picture)(z, s, y))


def test_guidance_one_is_the_conditional_prior_and_zero_the_unconditional(pixel_folder: Path, picture: Tensor) -> None:
    priors = {g: PixelPrior.from_pretrained(pixel_folder, guidance=g) for g in (1.0, 0.0, 2.0)}
    y = priors[1.0].encode(picture)
    z, s = torch.randn_like(y), torch.full((1,), 0.5)
    known, free = (priors[1.0].model.denoiser(z, s, c) for c in (y, torch.zeros_like(y)))
    torch.testing.assert_close(priors[0.0].given(picture)(z, s, y).x0, free)  # type: ignore[union-attr]
    torch.testing.assert_close(priors[2.0].given(picture)(z, s, y).x0, 2 * known - free)  # type: ignore[union-attr]
    assert not isinstance(priors[1.0].given(picture), ClassifierFree)


def test_unusable_priors_are_refused_in_one_sentence(pixel_folder: Path, tmp_path: Path) -> None:
    network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1)
    bridge_model = hub.save_model(tmp_path / "a", network, bridges.create("goub"), "x0", {"name": "dbim"}, [])
    with pytest.raises(PriorError, match="restores along the bridge goub; a prior needs vp, ve or rectified-flow"):
        load_prior(bridge_model)
    conditional = hub.save_model(tmp_path / "b", network, bridges.create("vp"), "x0", {"name": "dbim"}, [])
    with pytest.raises(PriorError, match="was not trained without a degraded image"):
        load_prior(conditional, condition=False)
    with pytest.raises(PriorError, match="has no option controlnet"):
        load_prior(pixel_folder, controlnet="x")
    with pytest.raises(ModelError, match="unknown model 'no-such-prior'"):
        load_prior("no-such-prior")


def test_a_folder_is_a_pipeline_or_a_model_by_what_it_holds(pixel_folder: Path, tmp_path: Path) -> None:
    assert not is_pipeline(pixel_folder)
    both = shutil.copytree(pixel_folder, tmp_path / "both")
    (both / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"}))
    assert is_pipeline(both)
    assert is_pipeline(tmp_path)
    assert not is_pipeline("no-such-prior")


def test_impossible_settings_are_refused_before_any_work(prior: PixelPrior) -> None:
    with pytest.raises(ValueError, match="create it with modulation='one'"):
        IRBridgeRestorer(prior, bridge={"name": "rdbm"})
    with pytest.raises(ValueError, match=r"detail must lie in \[0, 1\]"):
        IRBridgeRestorer(prior, detail=2.0)
    with pytest.raises(ValueError, match="sampler 'irbridge' has no parameter 'stepps'"):
        IRBridgeRestorer(prior, stepps=3)
    with pytest.raises(ValueError, match="loses its variance"):
        IRBridgeRestorer(prior, eta=1.0, schedule="rain")


# -- details -------------------------------------------------------------------------------------------------------------


def test_details_come_back_where_nothing_changed_and_nowhere_else(picture: Tensor) -> None:
    texture = 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    y = (picture + texture).clamp(0, 1)
    through = picture  # an autoencoder that loses the texture
    restored = through.clone()
    restored[..., :24] += 0.3  # the left half is restored
    result = keep_details(restored, y, through)
    assert torch.equal(keep_details(restored, y, through, strength=0.0), restored)
    assert (result - restored)[..., :16].abs().max() < 1e-3
    assert (result - y)[..., 32:].abs().max() < 1e-6


def test_details_raise_psnr_with_an_autoencoder_that_loses_them(picture: Tensor) -> None:
    texture = 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    clean = (picture + texture).clamp(0, 1)
    y, through = clean.clone(), picture.clone()
    y[..., 10:20, 10:20] = through[..., 10:20, 10:20] = 1.0  # a hole that the prior filled smoothly
    with_details = keep_details(picture, y, through)

    def error(a: Tensor) -> float:
        return (a - clean).square().mean().item()

    assert error(with_details) < 0.4 * error(picture)


def test_impossible_strengths_are_refused() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="strength must lie"):
        keep_details(x, x, x, strength=1.5)
    with pytest.raises(ValueError, match="tolerance must be positive"):
        keep_details(x, x, x, tolerance=0.0)
