"""The equaliser: a filter of real gains, chosen by local power spectra."""

import math

import pytest
import torch
from torch import Tensor, nn

from rebridge.degradations.optics import convolve, gaussian_kernel
from rebridge.networks.equaliser import Equaliser, _filters, power_spectra

SIZES = [(1, 1), (1, 37), (32, 32), (33, 70), (96, 64)]


def textured(side: int, seed: int) -> Tensor:
    """An image (1, 3, side, side) in [-1, 1] whose power falls as 1/f^2, as that of photographs does."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.fft.rfft2(torch.randn(1, 3, side, side, generator=generator, dtype=torch.float64))
    size = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).clamp(min=1 / side)
    image = torch.fft.irfft2(noise / size, s=(side, side))
    return image / image.abs().max()


@pytest.fixture(params=[False, True], ids=["plain", "ripples"])
def equaliser(request: pytest.FixtureRequest) -> Equaliser:
    torch.manual_seed(0)
    return Equaliser(width=16, ripples=request.param).double()


@pytest.mark.parametrize("size", SIZES)
def test_untrained_it_changes_nothing(equaliser: Equaliser, size: tuple[int, int]) -> None:
    y = torch.rand(2, 3, *size, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(equaliser(y), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_equal_gains_for_all_frequencies_are_a_factor(equaliser: Equaliser, size: tuple[int, int]) -> None:
    y = torch.rand(2, 3, *size, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        equaliser.leave.bias.fill_(math.log(2))
    torch.testing.assert_close(equaliser(y), 2 * y, rtol=0, atol=1e-12)


def test_spectra_of_windows_are_those_of_the_middle_31_pixels_of_the_kernels() -> None:
    gains = torch.randn(2, 32, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernels = torch.fft.irfft2(gains, s=(32, 32)).roll((16, 16), (-2, -1))[..., 1:, 1:]
    windows = torch.zeros(2, 64, 64, dtype=torch.float64)
    windows[:, :31, :31] = kernels
    expected = torch.fft.rfft2(windows.roll((-15, -15), (-2, -1)))
    torch.testing.assert_close(torch.complex(found := _filters(gains), torch.zeros_like(found)), expected)


def test_a_pixel_depends_on_less_than_160_pixels_to_each_side(equaliser: Equaliser) -> None:
    with torch.no_grad():
        for layer in (equaliser.leave, equaliser.fine, equaliser.turn):
            if layer is not None:
                layer.weight.normal_(std=0.1)
    y = torch.rand(1, 3, 640, 640, dtype=torch.float64) * 2 - 1
    part = equaliser(y[..., 96:544, 96:544])
    whole = equaliser(y)[..., 96:544, 96:544]
    inside = slice(160, -160)
    torch.testing.assert_close(part[..., inside, inside], whole[..., inside, inside], rtol=0, atol=1e-12)
    assert (part - whole).abs().max() > 1e-3


def test_parts_are_filtered_as_in_the_whole_that_was_heard_in_bands(
    equaliser: Equaliser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the 64 pixels at the edges of a part, whose windows end there."""
    for layer in (equaliser.leave, equaliser.fine, equaliser.turn):
        if layer is not None:
            nn.init.normal_(layer.weight, std=0.1)
    y = textured(405, 3)[..., :330]
    rows, columns, inside = slice(96, 352), slice(32, 330), (slice(64, -64), slice(64, None))
    with torch.no_grad():
        whole, heard = equaliser(y), equaliser.listen(y)
        torch.testing.assert_close(equaliser(y, heard), whole, rtol=0, atol=1e-12)
        monkeypatch.setattr("rebridge.networks.layers.in_bands.__defaults__", (1, 330 * 64))
        torch.testing.assert_close(equaliser.listen(y), heard, rtol=0, atol=1e-9)
        place = (..., slice(3, 12), slice(1, 12))
        part = equaliser(y[..., rows, columns], heard[place])
        alone = equaliser(y[..., rows, columns])
    whole = whole[..., rows, columns]
    torch.testing.assert_close(part[..., *inside], whole[..., *inside], rtol=0, atol=1e-9)
    assert (alone - whole)[..., *inside].abs().max() > 1e-3


def test_ripples_allow_gains_of_either_sign() -> None:
    y = torch.rand(1, 3, 64, 64, dtype=torch.float64) * 2 - 1
    equaliser = Equaliser(width=16, ripples=True).double()
    assert equaliser.turn is not None
    with torch.no_grad():
        equaliser.turn.bias.fill_(-3)
    torch.testing.assert_close(equaliser(y), -2 * y, rtol=0, atol=1e-12)


def test_spectra_do_not_depend_on_brightness_and_grow_with_contrast() -> None:
    y = textured(64, 0)
    torch.testing.assert_close(power_spectra(y + 0.3), power_spectra(y))
    torch.testing.assert_close(power_spectra(2 * y), 4 * power_spectra(y))


def test_it_learns_to_undo_blurs_of_several_widths() -> None:
    torch.manual_seed(0)
    equaliser = Equaliser(width=32)
    optimiser = torch.optim.Adam(equaliser.parameters(), lr=3e-3)
    kernels = [gaussian_kernel(sigma) for sigma in (0.8, 1.6)]

    def batch(seed: int) -> tuple[Tensor, Tensor]:
        clean = torch.cat([textured(128, 2 * seed), textured(128, 2 * seed + 1)]).float()
        return clean, torch.stack([convolve(image, kernel) for image, kernel in zip(clean, kernels, strict=True)])

    def errors(clean: Tensor, image: Tensor) -> Tensor:
        return (image - clean)[..., 16:-16, 16:-16].square().mean(dim=(1, 2, 3))

    for seed in range(80):
        clean, blurred = batch(seed)
        loss = errors(clean, equaliser(blurred)).log().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    clean, blurred = batch(1000)
    with torch.no_grad():
        assert (errors(clean, equaliser(blurred)) < 0.7 * errors(clean, blurred)).all()
