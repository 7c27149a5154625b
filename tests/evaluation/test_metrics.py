"""Metrics against their definitions, written out anew."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rebridge.evaluation.metrics import luma, psnr, ssim
from rebridge.images import quantise


def random_images(seed: int, *shape: int) -> Tensor:
    return quantise(torch.rand(shape, generator=torch.Generator().manual_seed(seed)))


def ssim_by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13: the mean over all 11x11 windows that lie inside the image (H, W)."""
    axis = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2
    values = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            p, q = (image[top : top + 11, left : left + 11] for image in (a, b))
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            var_p, var_q = (window * p * p).sum() - mean_p**2, (window * q * q).sum() - mean_q**2
            covariance = (window * p * q).sum() - mean_p * mean_q
            likeness = (2 * mean_p * mean_q + 0.01**2) * (2 * covariance + 0.03**2)
            values.append(likeness / ((mean_p**2 + mean_q**2 + 0.01**2) * (var_p + var_q + 0.03**2)))
    return float(np.mean(values))


@pytest.mark.parametrize("levels", [1, 16, 200])
def test_psnr_of_a_constant_offset_is_minus_twenty_log_of_it(levels: int) -> None:
    clean = torch.full((1, 3, 8, 8), 20 / 255)
    value = psnr(clean + levels / 255, clean)
    assert value.item() == pytest.approx(-20 * np.log10(levels / 255), abs=1e-4)


def test_psnr_takes_the_mean_over_channels_before_the_logarithm_and_images_one_by_one() -> None:
    restored, clean = random_images(0, 2, 3, 9, 7), random_images(1, 2, 3, 9, 7)
    errors = (restored.double() - clean.double()).square().mean(dim=(1, 2, 3))
    assert torch.allclose(psnr(restored, clean).double(), -10 * errors.log10(), atol=1e-5)


def test_equal_images_score_one_hundred_decibels_and_one() -> None:
    image = random_images(0, 1, 3, 16, 16)
    assert psnr(image, image).item() == 100
    assert ssim(image, image).item() == pytest.approx(1)


def test_errors_below_half_a_level_do_not_count_as_files_do_not_hold_them() -> None:
    image = random_images(0, 1, 3, 16, 16)
    assert psnr(image + 0.4 / 255, image).item() == 100


def test_ssim_follows_its_definition() -> None:
    restored, clean = random_images(0, 2, 3, 14, 17), random_images(1, 2, 3, 14, 17)
    restored = quantise(0.7 * clean + 0.3 * restored)
    ours = ssim(restored, clean)
    for index in range(2):
        channels = [ssim_by_definition(restored[index, c].numpy(), clean[index, c].numpy()) for c in range(3)]
        assert ours[index].item() == pytest.approx(np.mean(channels), abs=1e-5)


def test_both_are_what_torchmetrics_computes_inside_the_border() -> None:
    reference = pytest.importorskip("torchmetrics.functional.image")
    restored, clean = random_images(0, 2, 3, 33, 47), random_images(1, 2, 3, 33, 47)
    restored = quantise(0.8 * clean + 0.2 * restored)
    expected = reference.peak_signal_noise_ratio(restored, clean, data_range=1.0, reduction="none", dim=(1, 2, 3))
    assert torch.allclose(psnr(restored, clean), expected, atol=1e-4)
    _, windows = reference.structural_similarity_index_measure(
        restored, clean, data_range=1.0, sigma=1.5, reduction="none", return_full_image=True
    )
    assert torch.allclose(ssim(restored, clean), windows[..., 5:-5, 5:-5].mean(dim=(1, 2, 3)), atol=1e-5)


def test_ssim_of_constant_images_compares_their_means_only() -> None:
    p, q = 51 / 255, 204 / 255
    value = ssim(torch.full((1, 1, 12, 12), p), torch.full((1, 1, 12, 12), q)).item()
    assert value == pytest.approx((2 * p * q + 1e-4) / (p * p + q * q + 1e-4), abs=1e-4)


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    image = random_images(0, 2, 3, 10, 40)
    assert ssim(image, image).isnan().all()


def test_luma_spans_the_studio_range_of_bt_601() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])[:, :, None, None]
    levels = luma(colours).flatten() * 255
    assert torch.allclose(levels, torch.tensor([16, 235, 81.481, 144.553, 40.966]), atol=1e-3)


def test_luma_channel_ignores_errors_that_luma_does_not_see() -> None:
    clean = torch.full((1, 3, 12, 12), 128 / 255)
    bluer = clean.clone()
    bluer[:, 2] += 40 / 255
    assert psnr(bluer, clean, "y").item() == pytest.approx(-20 * np.log10(24.966 * 40 / 255 / 255), abs=1e-3)
    assert ssim(bluer, clean, "y").item() > ssim(bluer, clean).item()


def test_images_that_cannot_be_compared_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) and \(1, 3, 8, 9\)"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="shape"):
        ssim(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))
