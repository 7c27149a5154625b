"""Measurements from files and solutions to files: pictures, arrays, masks and kernels, and what does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor

from rebridge.images import read_image
from rebridge.inverse import OperatorSpec, operators
from rebridge.restoration import Samples
from rebridge.restoration.measurements import Measured, read_measured, write_solution
from tests.inverse.conftest import image


def saved(path: Path, pixels: Tensor) -> Path:
    PILImage.fromarray((pixels[0].permute(1, 2, 0) * 255).round().byte().numpy().squeeze()).save(path)
    return path


def read(path: Path, text: str, channels: int = 3, **options: Any) -> Measured:
    return read_measured(path, OperatorSpec.parse(text), channels, **options)


@pytest.mark.parametrize(("text", "scale"), [("sr4", 4), ("average2", 2), ("noise@25", 1), ("jpeg", 1), ("colour", 1)])
def test_a_picture_is_the_measurement_of_an_image_as_many_times_larger(text: str, scale: int, tmp_path: Path) -> None:
    small = saved(tmp_path / "small.png", image(6, 8))
    measured = read(small, text)
    assert measured.operator.shape == (3, 6 * scale, 8 * scale)
    assert tuple(measured.y.shape[1:]) == measured.operator.measurement_shape
    assert measured.clean is None


def test_a_size_says_which_of_the_images_that_give_the_picture_is_meant(tmp_path: Path) -> None:
    small = saved(tmp_path / "small.png", image(6, 8))
    assert read(small, "sr4", size=(23, 29)).operator.shape == (3, 23, 29)
    with pytest.raises(ValueError, match="sr4 of 99 x 99 pixels measures 25 x 25, and the picture has 6 x 8"):
        read(small, "sr4", size=(99, 99))


def test_a_clean_picture_is_measured_with_noise_of_its_seed(tmp_path: Path) -> None:
    clean = saved(tmp_path / "clean.png", image())
    first, again, other = (read(clean, "noise@25", simulate=True, seed=seed) for seed in (1, 1, 2))
    assert first.clean is not None
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y, other.y)
    assert (first.y - first.clean).std().item() == pytest.approx(25 / 255, rel=0.1)


def test_a_grey_picture_gives_a_grey_result_unless_colour_is_what_was_lost(tmp_path: Path) -> None:
    grey = saved(tmp_path / "grey.png", image()[:, :1])
    assert read(grey, "sr2").grey
    assert not read(grey, "colour").grey
    assert read(grey, "noise@0", channels=1).y.shape == (1, 1, 16, 24)
    with pytest.raises(ValueError, match="has colours, and the prior makes grey images"):
        read(saved(tmp_path / "photo.png", image()), "noise@0", channels=1)


def test_masks_kernels_and_arrays_are_read(tmp_path: Path) -> None:
    photo = saved(tmp_path / "photo.png", image())
    mask = torch.ones(1, 1, 16, 24)
    mask[..., :12] = 0
    known = read(photo, "known-mask", mask=saved(tmp_path / "mask.png", mask)).operator
    assert torch.equal(known.A(torch.ones(1, 3, 16, 24)), mask.expand(1, 3, -1, -1))
    kernel = saved(tmp_path / "kernel.png", torch.full((1, 1, 3, 3), 0.3))
    blur = read(photo, "blur", kernel=kernel).operator
    torch.testing.assert_close(blur.A(torch.ones(1, 3, 16, 24)), torch.ones(1, 3, 16, 24))
    y = operators.create("radon", (3, 16, 24), angles=4).A(image())
    np.savez(tmp_path / "y.npz", y=y[0].numpy())
    np.save(tmp_path / "y.npy", y.numpy())
    for name in ("y.npz", "y.npy"):
        assert torch.equal(read(tmp_path / name, "radon:angles=4", size=(16, 24)).y, y)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("radon", {}, "measurements of radon are no pictures: give a .npy file, or --simulate"),
        ("cs", {}, "measurements of cs are no pictures"),
        ("known-mask", {}, "needs --mask FILE"),
        ("sr4", {"mask": "m.png"}, "--mask goes with the operator known-mask, not with sr4"),
        ("sr4", {"kernel": "k.png"}, "--kernel goes with the operator blur or separable-blur, not with sr4"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(text: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    photo = saved(tmp_path / "photo.png", image())
    with pytest.raises(ValueError, match=message):
        read(photo, text, **options)


def test_arrays_that_do_not_fit_get_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.zeros((3, 2, 2)))
    (tmp_path / "broken.npz").write_bytes(b"no array")
    with pytest.raises(ValueError, match="needs --size WIDTHxHEIGHT"):
        read(tmp_path / "y.npy", "radon")
    with pytest.raises(ValueError, match="--simulate takes an image file"):
        read(tmp_path / "y.npy", "radon", simulate=True)
    with pytest.raises(ValueError, match="cannot be read as an array"):
        read(tmp_path / "broken.npz", "radon", size=(8, 8))


def test_the_mean_is_written_with_the_uncertainty_and_the_measurement(tmp_path: Path) -> None:
    measured = read(saved(tmp_path / "clean.png", image()), "sr2", simulate=True)
    samples = [image() * share for share in (0.8, 0.9, 1.0)]
    stack = torch.stack(samples)
    written = write_solution(measured, Samples(stack.mean(0), stack.std(0), samples, 3), tmp_path / "out.png")
    assert [path.name for path in written] == ["out.png", "out_measured.png", "out_std.png", "out_samples.npz"]
    torch.testing.assert_close(read_image(written[0]).pixels[None], 0.9 * image(), rtol=0, atol=1 / 255)
    assert read_image(written[1]).pixels.shape == (3, 16, 24)
    assert read_image(written[2]).pixels.max() == 1
    arrays = np.load(written[3])
    assert arrays["samples"].shape == (3, 3, 16, 24)
    np.testing.assert_allclose(arrays["samples"].std(0, ddof=1), arrays["std"], atol=1e-6)


def test_measurements_that_are_no_pictures_leave_none(tmp_path: Path) -> None:
    measured = read(saved(tmp_path / "clean.png", image()), "radon:angles=4", simulate=True)
    written = write_solution(measured, Samples(image(), torch.zeros(1, 3, 16, 24), [image()]), tmp_path / "out.png")
    assert [path.name for path in written] == ["out.png"]
