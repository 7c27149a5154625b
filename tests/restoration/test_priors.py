"""Restoring images with a pixel prior: any sampler, any image, the condition, details."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rebridge import Restorer, bridges, networks, samplers
from rebridge.denoisers import ClassifierFree, Denoiser, as_estimate
from rebridge.models import Model, ModelError, TrainedModel, load_prior


@pytest.fixture(scope="module")
def prior(pixel_folder: Path) -> Model:
    return load_prior(pixel_folder)


def counted(restorer: Restorer) -> tuple[Restorer, list[float]]:
    calls: list[float] = []

    def wrap(denoiser: Denoiser) -> Denoiser:
        def call(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            calls.append(t[0].item())
            return as_estimate(denoiser(x_t, t, y)).x0

        return call

    return restorer.wrapped(wrap), calls


@pytest.mark.parametrize("preset", ["sound", "paper"])
@pytest.mark.parametrize("bridge", ["ir-sde", "goub", "brownian"])
def test_an_image_comes_back_as_what_it_was(prior: Model, preset: str, bridge: str) -> None:
    restore = Restorer.from_preset(prior, preset, task="rain", bridge={"name": bridge}, steps=3)
    array = np.random.default_rng(0).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    restored = restore(Image.fromarray(array), seed=1)
    assert isinstance(restored, Image.Image)
    assert restored.size == (41, 33)
    again = restore(array, seed=1)
    assert again.dtype == np.uint8
    assert np.array_equal(again, np.asarray(restored))
    assert not np.array_equal(again, restore(array, seed=2))


@pytest.mark.parametrize("name", samplers.names())
def test_every_sampler_restores_with_the_prior(prior: Model, picture: Tensor, name: str) -> None:
    restore = Restorer.from_preset(prior, bridge={"name": "goub"})
    restored = restore(picture, steps=4, sampler=name)
    assert restored.shape == picture.shape
    assert restored.min() >= 0
    assert restored.max() <= 1


@pytest.mark.parametrize(("name", "calls"), [("irbridge", 6), ("ddim", 6), ("sdedit", 6)])
def test_the_baselines_make_as_many_calls_as_the_loop(prior: Model, picture: Tensor, name: str, calls: int) -> None:
    restore, seen = counted(Restorer.from_preset(prior))
    restore(picture, steps=6, sampler=name)
    assert len(seen) == calls


def test_tiles_give_what_the_whole_image_gives(prior: Model) -> None:
    image = torch.rand(1, 3, 96, 192, generator=torch.Generator().manual_seed(0))
    restore = Restorer.from_preset(prior, steps=3)
    whole, tiled = restore(image, tile=0), restore(image, tile=128, overlap=64)
    assert (whole - tiled).abs().max() < 1e-3


def test_grey_images_stay_grey(prior: Model, picture: Tensor) -> None:
    assert Restorer.from_preset(prior, steps=3)(picture[:, :1]).shape == (1, 1, 40, 48)


def test_without_condition_the_degraded_image_reaches_the_result_by_the_start_only(
    pixel_folder: Path, picture: Tensor
) -> None:
    free, known = load_prior(pixel_folder, condition=False), load_prior(pixel_folder)
    y = free.space.encode(picture)
    z, s = torch.randn_like(y), torch.full((1,), 0.5)

    def estimate(model: Model, condition: Tensor) -> Tensor:
        return as_estimate(model.given(picture)(z, s, condition)).x0

    assert torch.equal(estimate(free, y), estimate(free, torch.rand_like(y)))
    assert not torch.equal(estimate(known, y), estimate(known, torch.rand_like(y)))
    assert torch.equal(estimate(known, torch.zeros_like(y)), estimate(free, y))
    assert torch.equal(as_estimate(known.given(None)(z, s, y)).x0, estimate(free, y))


def test_guidance_one_is_the_conditional_prior_and_zero_the_unconditional(pixel_folder: Path, picture: Tensor) -> None:
    priors = {g: load_prior(pixel_folder, guidance=g) for g in (1.0, 0.0, 2.0)}
    y = priors[1.0].space.encode(picture)
    z, s = torch.randn_like(y), torch.full((1,), 0.5)
    known, free = (as_estimate(priors[1.0].given(picture)(z, s, c)).x0 for c in (y, torch.zeros_like(y)))
    torch.testing.assert_close(as_estimate(priors[0.0].given(picture)(z, s, y)).x0, free)
    torch.testing.assert_close(as_estimate(priors[2.0].given(picture)(z, s, y)).x0, 2 * known - free)
    assert not isinstance(priors[1.0].given(picture), ClassifierFree)


def test_unusable_priors_are_refused_in_one_sentence(pixel_folder: Path, tmp_path: Path) -> None:
    network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1)
    bridge_model = TrainedModel.of(network, bridges.create("goub")).save_pretrained(tmp_path / "a")
    with pytest.raises(ModelError, match="restores along the bridge goub; a prior needs vp, ve or rectified-flow"):
        load_prior(bridge_model)
    conditional = TrainedModel.of(network, bridges.create("vp")).save_pretrained(tmp_path / "b")
    with pytest.raises(ModelError, match="was not trained without a degraded image"):
        load_prior(conditional, condition=False)
    with pytest.raises(ModelError, match="has no option controlnet"):
        load_prior(pixel_folder, controlnet="x")
    with pytest.raises(ModelError, match="unknown model 'no-such-prior'"):
        load_prior("no-such-prior")


def test_impossible_settings_are_refused_before_any_work(prior: Model) -> None:
    with pytest.raises(ValueError, match="create it with modulation='one'"):
        Restorer.from_preset(prior, bridge={"name": "rdbm"})
    with pytest.raises(ValueError, match=r"detail must lie in \[0, 1\]"):
        Restorer.from_preset(prior, detail=2.0)
    with pytest.raises(ValueError, match="sampler 'irbridge' has no parameter 'stepps'"):
        Restorer.from_preset(prior, stepps=3)
    with pytest.raises(ValueError, match="loses its variance"):
        Restorer.from_preset(prior, eta=1.0, schedule="rain")
