"""HI-Diff's network: any size, a prior that tells at every scale, the core's latent diffusion, windows of training's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import rebridge
from rebridge import bridges, networks, samplers
from rebridge.degradations.optics import convolve
from rebridge.models import TrainedModel
from rebridge.networks.hidiff import HiDiff
from rebridge.networks.latent_prior import LatentDiffusion, LatentEncoder, SpectralTokens, log_spectrum

SMALL = {"widths": (8, 8, 8), "blocks": (1, 1, 1), "heads": (1, 2, 2), "features": 8, "encoder_width": 8, "dense": 1}
SMALL |= {"denoiser_width": 16, "encoder_blocks": 1, "denoiser_blocks": 1, "window": 64, "spectra": 8}


def awake(**params: object) -> HiDiff:
    """A small network with random numbers instead of zeros in its last convolution, in eval mode."""
    torch.manual_seed(0)
    network = networks.create("hi-diff-tiny", **(SMALL | params))
    assert isinstance(network, HiDiff)
    for parameter in network.transformer.tail.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 50), width=st.integers(1, 50))
def test_any_image_size_is_kept(height: int, width: int) -> None:
    y = images(2, 3, height, width)
    with torch.no_grad():
        assert NETWORK(y, torch.ones(2), y).shape == y.shape


def test_the_size_of_the_paper_stays_what_its_options_make_of_it() -> None:
    # 28.49 million, without the teacher, which only training needs, and 142.62 G multiply-accumulates at 256x256
    with torch.device("meta"):
        network = networks.create("hi-diff")
    assert isinstance(network, HiDiff)
    count = {name: sum(weight.numel() for weight in part.parameters()) for name, part in network.named_children()}
    assert sum(count.values()) - count["teacher"] == pytest.approx(28.49e6, rel=5e-4)
    assert networks.cost(network).macs == pytest.approx(142.62e9, rel=1e-3)
    assert network.latent_shape == (16, 256)
    assert network.diffusion.steps == 8


def test_the_latent_diffusion_is_the_posterior_mean_of_the_core() -> None:
    # The same walk by the library's vp process and dbim with eta = 1 whose fresh noise is replaced by zeros.
    truth = torch.rand(3, 4, 5, dtype=torch.float64) * 3 - 1.5

    class Guess(nn.Module):
        def forward(self, z: Tensor, time: float, c: Tensor) -> Tensor:
            return 0.9 * c + 0.1 * z * time

    diffusion = LatentDiffusion(Guess())
    noise = torch.randn(3, 4, 5, dtype=torch.float64)
    bridge = bridges.create("vp", steps=8, beta_start=0.1, beta_end=0.99)
    sampler = samplers.create("dbim", steps=8, eta=1.0)

    def denoiser(z: Tensor, t: Tensor, c: Tensor) -> Tensor:
        return Guess()(z, float(t[0]), c).clamp(-1, 1)

    expected = sampler(bridge, denoiser, truth, x=noise, noise=torch.zeros_like)
    torch.testing.assert_close(diffusion(truth, noise), expected, rtol=1e-6, atol=1e-8)


def test_tokens_lie_where_the_diffusion_clamps_them() -> None:
    y = 5 * images(2, 3, 24, 40)
    with torch.no_grad():
        assert NETWORK.prior(y, clean=y).abs().max() <= 1
        assert NETWORK.prior(y).abs().max() <= 1


def test_the_ratio_of_spectra_is_that_of_the_blur() -> None:
    # Of white noise: what a box of 5 pixels across leaves of each band, the mean of |sum_k exp(2 pi i f k) / 5|^2 over its bins.
    x = torch.randn(8, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    kernel = torch.zeros(5, 5)
    kernel[2] = 0.2
    blurred = torch.stack([convolve(image, kernel) for image in x])
    ratio = (log_spectrum(blurred) - log_spectrum(x)).mean((0, 1)).exp()
    frequencies = torch.arange(33) / 64
    gains = torch.stack([torch.cos(2 * torch.pi * frequencies * k) for k in range(-2, 3)]).mean(0).square()
    torch.testing.assert_close(ratio, gains.unflatten(0, (11, 3)).mean(1), rtol=0, atol=0.03)


def test_spectra_of_images_whose_power_falls_as_f_squared_are_flat() -> None:
    squares = torch.fft.fftfreq(256)[:, None].square() + torch.fft.rfftfreq(256).square()
    waves = torch.fft.rfft2(torch.randn(8, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
    y = torch.fft.irfft2(waves / (squares + 1e-4).sqrt(), s=(256, 256))
    flat = log_spectrum(10 * y).mean(0) - SpectralTokens(4, 4, 4).fall
    assert flat[:, 1:].std() < 0.1
    assert log_spectrum(10 * y).mean(0).std() > 1


def test_before_training_tokens_tell_of_the_blur_and_not_of_the_picture() -> None:
    # The convolutional way begins closed: two pictures with one blur are told alike, the same picture with and without not.
    encoder = LatentEncoder(2, 3, 8, 1, side=2, features=8, spectra=16)
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = torch.stack([convolve(image, torch.full((3, 3), 1 / 9)) for image in x])
    with torch.no_grad():
        blurred, sharp = encoder(x, y), encoder(x, x)
    assert (blurred[0] - blurred[1]).abs().max() < 0.2 * (blurred[0] - sharp[0]).abs().max()


@pytest.mark.parametrize(
    "place", ["before.0.integrate", "before.1.integrate", "after.0.integrate", "after.1.integrate"]
)
def test_the_prior_is_heard_at_every_scale_by_cross_attention(place: str) -> None:
    heard = []
    part = NETWORK.transformer.get_submodule(place)
    hook = part.register_forward_hook(lambda module, inputs, output: heard.append(output - inputs[0]))
    y = images(1, 3, 32, 32)
    with torch.no_grad():
        for seed in (0, 1):
            NETWORK(
                y,
                torch.ones(1),
                y,
                noise=torch.zeros(1, *NETWORK.latent_shape),
                clean=images(2, 3, 32, 32)[seed : seed + 1],
            )
    hook.remove()
    assert (heard[0] - heard[1]).abs().max() > 1e-6


def test_the_coarsest_level_is_scaled_and_shifted_by_a_single_token() -> None:
    coarsest: Any = NETWORK.transformer.before[-1]
    block = coarsest.blocks[0]
    h, token = torch.randn(1, 8, 6, 6), torch.randn(2, 1, 8)
    with torch.no_grad():
        assert (block(h, token[0]) - block(h, token[1])).abs().max() > 1e-6
    assert coarsest.integrate is None


@pytest.mark.parametrize(("stage", "idle"), [(1, ("encoder", "diffusion")), (2, ("teacher",))])
def test_gradients_reach_exactly_what_a_stage_trains(stage: int, idle: tuple[str, ...]) -> None:
    network = awake().train()
    network.begin_stage(stage)
    x0, y = images(2, 2, 3, 32, 32)
    output, z = network.restore_with_prior(y, clean=x0 if stage == 1 else None)
    (output.abs().mean() + z.abs().mean()).backward()
    for name, weight in network.named_parameters():
        trained = name.split(".")[0] not in idle
        assert weight.requires_grad == trained, name
        assert (weight.grad is not None) == trained, name


def test_without_a_prior_the_tokens_are_the_same_for_every_image() -> None:
    network = awake(prior="none")
    z = network.prior(images(2, 3, 16, 16))
    assert torch.equal(z[0], z[1])
    with pytest.raises(ValueError, match="no stage 2"):
        network.begin_stage(2)
    assert 0 < networks.cost(network, 64, 64).macs < networks.cost(NETWORK, 64, 64).macs


def test_a_large_image_is_restored_as_the_patches_of_training_are(tmp_path: Path) -> None:
    # Statistics of the whole image differ from those of a patch: a model with a window always sees windows.
    network = awake()
    model = TrainedModel.of(network, bridges.create("flow"), "residual", sampler={"name": "dbim", "steps": 1})
    model.save_pretrained(tmp_path / "m")
    restore = rebridge.Restorer.from_pretrained(tmp_path / "m")
    y = images(1, 3, 160, 192)
    y[..., 64:] = 0.5 * y[..., 64:]  # other statistics beyond the first window
    by_windows, whole = restore(y), restore(y, tile=0)
    alone = restore(y[..., :64, :64])
    inner = (slice(None), slice(None), slice(0, 38), slice(0, 38))  # no other window has a say here
    torch.testing.assert_close(by_windows[inner], alone[inner], rtol=0, atol=1e-5)
    torch.testing.assert_close(whole, by_windows, rtol=0, atol=1e-5)
    with torch.no_grad():
        x = 2 * y - 1
        assert ((x + network(x, torch.ones(1), x) + 1) / 2 - by_windows)[inner].abs().max() > 1e-3
    assert restore.model.info.window == 64


def test_restoring_is_deterministic_and_independent_of_the_batch(tmp_path: Path) -> None:
    y = images(3, 3, 30, 33)
    with torch.no_grad():
        together = NETWORK(y, torch.ones(3), y)
        alone = torch.cat([NETWORK(y[i : i + 1], torch.ones(1), y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"widths": (8, 8)}, "widths, blocks and heads must be alike and at least 3"),
        ({"prior": "some"}, "prior must be diffusion or none, got 'some'"),
        ({"spectra": -1}, "spectra must be at least 0, got -1"),
        ({"side": 0}, "side must be a positive integer"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_impossible_sizes_are_refused(params: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        awake(**params)


NETWORK = awake()
