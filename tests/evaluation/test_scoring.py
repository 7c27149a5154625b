"""Protocols of evaluation: borders, MATLAB's luma, scikit-image's SSIM, results made elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rebridge.evaluation import Scoring, evaluate_results, perceptual, psnr, result_cases, ssim
from rebridge.images import quantise, write_image
from rebridge.images.image import Image


def random_images(seed: int, *shape: int) -> Tensor:
    return quantise(torch.rand(shape, generator=torch.Generator().manual_seed(seed)))


def test_a_border_is_cut_off_before_anything_is_compared() -> None:
    clean = random_images(0, 1, 3, 24, 20)
    restored = quantise(0.9 * clean + 0.05)
    framed = clean.clone()
    framed[..., 4:-4, 4:-4] = restored[..., 4:-4, 4:-4]
    expected = psnr(restored[..., 4:-4, 4:-4], clean[..., 4:-4, 4:-4])
    assert psnr(framed, clean, border=4) == expected
    assert psnr(framed, clean) > psnr(framed, clean, border=4) + 1
    with pytest.raises(ValueError, match="a border of 10 pixels leaves nothing of an image of 24 x 20"):
        psnr(framed, clean, border=10)


def test_luma_in_whole_levels_is_what_matlab_gives() -> None:
    """MATLAB's rgb2ycbcr of uint8: red (255, 0, 0) is 81, green 145, blue 41, white 235, (10, 20, 30) 32."""
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30]]) / 255
    levels = torch.tensor([81, 145, 41, 235, 32])
    image = colours.T.reshape(1, 3, 1, 5).expand(1, 3, 4, 5)
    black = torch.zeros_like(image)
    expected = -10 * np.log10((((levels - 16) / 255) ** 2).mean().item())
    assert psnr(image, black, "y-matlab").item() == pytest.approx(expected, abs=1e-4)


def test_levels_are_cut_down_where_asked() -> None:
    clean = random_images(1, 1, 3, 16, 16)
    assert psnr(clean, clean, truncate=True).item() == 100
    assert psnr((clean + 0.9 / 255).clamp(0, 1), clean, truncate=True).item() == 100
    assert psnr((clean + 0.9 / 255).clamp(0, 1), clean).item() < 60


def test_ssim_with_a_uniform_window_is_scikit_images_definition() -> None:
    """Means over 7x7 windows inside the image, variances over 48, written out window by window."""
    clean = random_images(2, 1, 1, 12, 15)
    restored = quantise(0.7 * clean + 0.3 * random_images(3, 1, 1, 12, 15))
    a, b = (image[0, 0].double().numpy() for image in (restored, clean))
    values = []
    for top in range(6):
        for left in range(9):
            p, q = (image[top : top + 7, left : left + 7].ravel() for image in (a, b))
            covariance = np.cov(p, q)
            likeness = (2 * p.mean() * q.mean() + 1e-4) * (2 * covariance[0, 1] + 9e-4)
            values.append(likeness / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (np.trace(covariance) + 9e-4)))
    assert ssim(restored, clean, window="uniform").item() == pytest.approx(np.mean(values), abs=1e-6)
    assert abs(ssim(restored, clean).item() - np.mean(values)) > 1e-3


def write(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(image))


def test_results_made_elsewhere_are_matched_by_name_suffix_and_folder(tmp_path: Path) -> None:
    true = {name: random_images(seed, 3, 16, 16) for seed, name in enumerate(("a", "b", "c"))}
    for name, image in true.items():
        write(tmp_path / "truth" / f"{name}.png", image)
    offset = {name: quantise(image * 0.9 + 0.05) for name, image in true.items()}
    write(tmp_path / "results" / "ours" / "a_out.png", true["a"])
    write(tmp_path / "results" / "ours" / "b_out.png", offset["b"])
    write(tmp_path / "results" / "theirs" / "a_out.png", offset["a"])
    cases, without = result_cases(tmp_path / "results", tmp_path / "truth", "_out")
    assert without == 1
    ours, theirs = evaluate_results(cases).summaries
    assert (ours.task, ours.images, theirs.task) == ("ours", 2, "theirs")
    found = {(score.task, score.name): score.psnr for score in evaluate_results(cases).scores}
    assert found["ours", "ours/a"] == 100
    assert found["ours", "ours/b"] == pytest.approx(psnr(offset["b"][None], true["b"][None]).item(), abs=1e-4)
    write(tmp_path / "results" / "ours" / "d_out.png", true["a"])
    with pytest.raises(ValueError, match=r"d_out\.png has no true image of that name .*: d\.\*"):
        result_cases(tmp_path / "results", tmp_path / "truth", "_out")


def test_a_result_of_another_size_gets_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "truth" / "a.png", random_images(0, 3, 16, 16))
    write(tmp_path / "results" / "a.png", random_images(0, 3, 16, 12))
    cases, _ = result_cases(tmp_path / "results", tmp_path / "truth")
    with pytest.raises(ValueError, match="a: the result and the true image differ in size, 12x16 and 16x16"):
        evaluate_results(cases)


def test_further_metrics_are_columns_and_need_pyiqa() -> None:
    scoring = Scoring(metrics=("lpips",))
    assert [column.key for column in scoring.columns] == ["lpips"]
    if not perceptual.available():
        with pytest.raises(ValueError, match="the metric lpips needs pyiqa"):
            scoring.further(random_images(0, 1, 3, 16, 16), random_images(0, 1, 3, 16, 16))
