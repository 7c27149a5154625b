"""The restorer: what comes in comes out, and a seed decides everything."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.images import Image
from rebridge.images.arrays import to_batch
from rebridge.restoration import Restorer
from rebridge.samplers import ImageNoise
from tests.odd import refusal


def images(count: int = 3, channels: int = 3, height: int = 20, width: int = 26) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_a_pil_image_comes_back_in_its_mode_and_size(restore: Restorer, mode: str) -> None:
    array = (images(1)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    if mode == "I;16":
        picture = PILImage.fromarray(array[..., 0].astype(np.uint16) * 257)
    else:
        picture = PILImage.fromarray(array).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(PILImage.fromarray(array[..., 1]))
    picture.info["icc_profile"] = b"profile"
    result = restore(picture)
    assert (result.mode, result.size) == (mode, picture.size)
    assert result.info["icc_profile"] == b"profile"
    assert np.asarray(result).dtype == np.asarray(picture).dtype
    assert not np.array_equal(np.asarray(result), np.asarray(picture))
    if mode.endswith("A"):
        assert np.array_equal(np.asarray(result)[..., -1], np.asarray(picture)[..., -1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1), (9, 11, 2), (9, 11, 3), (9, 11, 4), (2, 9, 11, 3)])
def test_an_array_comes_back_in_its_dtype_and_shape(restore: Restorer, dtype: Any, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape)
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    array = (array * top).astype(dtype)
    before = array.copy()
    result = restore(array)
    assert result.dtype == dtype
    assert result.shape == shape
    assert result.min() >= 0
    assert result.max() <= top
    assert np.array_equal(array, before)
    if shape[-1] in (2, 4):
        assert np.array_equal(result[..., -1], array[..., -1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 9, 11), (2, 3, 9, 11), (1, 9, 11), (2, 4, 9, 11)])
def test_a_tensor_comes_back_in_its_dtype_and_shape(
    restore: Restorer, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    tensor = (tensor * 255).to(dtype) if dtype == torch.uint8 else tensor.to(dtype)
    result = restore(tensor)
    assert result.dtype == dtype
    assert result.shape == shape
    if shape[-3] == 4:
        assert torch.equal(result[:, 3], tensor[:, 3])


@settings(deadline=None)
@given(st.integers(0, 65535))
def test_sixteen_bits_pass_the_conversion_unharmed(value: int) -> None:
    array = np.full((2, 3), value, np.uint16)
    batch = to_batch(array)
    assert np.array_equal(batch.back(batch.images), array)


def test_an_image_file_comes_back_with_its_metadata_and_alpha(restore: Restorer) -> None:
    image = Image(images(1)[0], 16, alpha=images(1, 1)[0], exif=b"exif", icc=b"icc", dpi=(300, 300), format="TIFF")
    result = restore(image)
    assert (result.bits, result.exif, result.icc, result.dpi, result.format) == (
        16,
        b"exif",
        b"icc",
        (300, 300),
        "TIFF",
    )
    assert image.alpha is not None
    assert torch.equal(result.alpha, image.alpha)
    assert torch.equal(result.pixels, restore(image.pixels))


def test_grey_is_restored_as_three_equal_channels(restore: Restorer) -> None:
    grey = images(1, 1)
    expected = restore(grey.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)
    torch.testing.assert_close(restore(grey), expected)


def test_a_batch_gives_what_its_images_give_alone(restore: Restorer) -> None:
    y = images(3)
    together = restore(y, seed=7)
    alone = torch.stack([restore(image, seed=7) for image in y])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_each_image_of_a_batch_may_have_its_own_seed(restore: Restorer) -> None:
    y = images(1).expand(2, -1, -1, -1)
    first, second = restore(y, seed=[1, 2])
    torch.testing.assert_close(first, restore(y[0], seed=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(second, restore(y[0], seed=2), rtol=0, atol=1e-5)
    assert (first - second).abs().max() > 1e-3


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(restore: Restorer) -> None:
    y = images()
    assert torch.equal(restore(y, seed=5), restore(y, seed=5))
    assert (restore(y, seed=5) - restore(y, seed=6)).abs().max() > 1e-3


def test_the_seed_leaves_the_global_generator_alone(restore: Restorer) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    restore(images(1))
    assert torch.equal(torch.rand(1), expected)


def test_noise_is_standard_normal_and_differs_between_seeds_and_samples() -> None:
    like = torch.zeros(3, 3, 100, 100)
    noise = ImageNoise([0, 0, 1])(like)
    assert torch.equal(noise[0], noise[1])
    assert abs(torch.corrcoef(noise[1:].reshape(2, -1))[0, 1]) < 0.03
    assert abs(torch.corrcoef(torch.stack([noise[0], ImageNoise([0], 1)(like[:1])[0]]).reshape(2, -1))[0, 1]) < 0.03
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_samples_are_averaged_and_spread(restore: Restorer) -> None:
    y = images(2)
    result = restore.sample(y, 4, seed=3)
    stack = torch.stack(result.all)
    torch.testing.assert_close(result.mean, stack.mean(dim=0), rtol=0, atol=1e-6)
    torch.testing.assert_close(result.std, stack.std(dim=0), rtol=0, atol=1e-5)
    assert torch.equal(result.all[0], restore(y, seed=3))
    assert torch.equal(result.mean, restore(y, seed=3, samples=4))
    assert result.std.mean() > 1e-3


def test_a_tiled_restoration_resembles_the_whole_one(restore: Restorer) -> None:
    y = images(1, 3, 150, 170)
    assert (restore(y, tile=64, overlap=32) - restore(y)).abs().mean() < 0.01
    assert torch.equal(restore(y, tile=0), restore(y))


def test_steps_and_samplers_can_be_chosen(restore: Restorer) -> None:
    seen: list[float] = []
    restore(images(1), steps=5, callback=lambda step, t, x_t, x0_hat: seen.append(t))
    assert seen == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
    assert restore.sampler("ode") == samplers.create("ode", steps=3)
    assert restore.sampler({"name": "dbim", "eta": 0.5}, 4) == samplers.create("dbim", steps=4, eta=0.5, start="noise")
    mine = samplers.create("ode", steps=2, method="heun")
    assert restore.sampler(mine) is mine


def test_a_callback_can_cancel(restore: Restorer) -> None:
    def cancel(step: int, t: float, x_t: Tensor, x0_hat: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(images(1), callback=cancel)


def test_the_exact_denoiser_restores_exactly() -> None:
    clean, degraded = images(2), images(2).flip(0)
    bridge = bridges.create("rdbm")
    exact = Restorer(lambda x_t, t, y: 2 * clean - 1, bridge, {"name": "dbim", "steps": 4})
    torch.testing.assert_close(exact(degraded), clean, rtol=0, atol=1e-6)


def test_bfloat16_stays_close_to_float32(model_folder: Path, restore: Restorer) -> None:
    quick = Restorer.from_pretrained(model_folder, device="cpu", dtype="bf16")
    result = quick(images(1))
    assert result.dtype == torch.float32
    assert (result - restore(images(1))).abs().mean() < 0.02


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3, 4]))
def test_any_size_is_restored_to_that_size(restore: Restorer, height: int, width: int, channels: int) -> None:
    y = images(1, channels, height, width)
    result = restore(y, steps=1)
    assert result.shape == y.shape
    assert torch.isfinite(result).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.full((3, 8, 8), float("nan")), "NaN or infinite"),
        (torch.full((3, 8, 8), float("inf")), "NaN or infinite"),
        (torch.full((3, 8, 8), 255.0), r"must lie in \[0, 1\], got values from 255 to 255"),
        (torch.zeros(8, 8), r"must be \(C, H, W\)"),
        (torch.zeros(5, 8, 8), "1 to 4 channels"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "got torch.int64"),
        (torch.zeros(3, 0, 8), "no pixels"),
        (np.zeros((3, 8, 8)), "channels-first images as a tensor"),
        (np.zeros((8, 8, 3), np.int32), "got int32"),
        (np.zeros(8), "must be"),
        (PILImage.new("F", (8, 8)), "mode F"),
    ],
)
def test_what_is_no_image_gets_one_sentence(restore: Restorer, image: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        restore(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer from 0 up, got -1"),
        ({"seed": [1, 2]}, "2 seeds for 1 images"),
        ({"tile": 8}, "tile must be at least 64"),
        ({"tile": 64, "overlap": 60}, "at most half"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"samples": 1.5}, "samples must be a whole number, got 1.5"),
        ({"samples": "x"}, "samples must be a whole number, got 'x'"),
        ({"seed": 1.5}, "seed must be an integer from 0 up, got 1.5"),
        ({"seed": float("nan")}, "seed must be an integer from 0 up, got nan"),
        ({"seed": True}, "seed must be an integer from 0 up, got True"),
        ({"tile": "x"}, "tile must be a whole number, got 'x'"),
        ({"overlap": 1.5}, "overlap must be a whole number, got 1.5"),
        ({"strength": "x"}, "strength must be a number, got 'x'"),
        ({"strength": None}, "strength must be a number, got None"),
        ({"sampler": 5}, 'given by its name, as "dbim:eta=1", or as a dictionary, got 5'),
        ({"sampler": "nonsense"}, "nonsense"),
        ({"sampler": {"steps": 3}}, "needs a name"),
        ({"sampler": samplers.create("ode", steps=2), "steps": 3}, "contradicts"),
    ],
)
def test_impossible_options_get_one_sentence(restore: Restorer, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        restore(images(1), **options)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), max_size=5),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.float64, torch.uint8, torch.int32, torch.bool]),
    layout=st.sampled_from(["strided", "sparse", "meta"]),
)
def test_any_tensor_comes_back_in_its_shape_or_is_refused_in_plain_words(
    restore: Restorer, shape: list[int], dtype: torch.dtype, layout: str
) -> None:
    tensor = torch.ones(shape, device="meta" if layout == "meta" else "cpu").to(dtype)
    tensor = tensor.to_sparse() if layout == "sparse" else tensor
    is_image = len(shape) in (3, 4) and shape[-3] in (1, 2, 3, 4) and 0 not in shape
    if is_image and layout == "strided" and dtype not in (torch.int32, torch.bool):
        assert restore(tensor, steps=1).shape == tensor.shape
    else:
        assert refusal(ValueError, lambda: restore(tensor, steps=1))


def test_arrays_of_the_other_byte_order_are_images_too(restore: Restorer) -> None:
    native = (np.random.default_rng(0).random((9, 8, 3)) * 65535).astype(np.uint16)
    swapped = restore(native.astype(">u2"), steps=1)
    assert swapped.dtype == np.dtype(">u2")
    assert np.array_equal(swapped, restore(native, steps=1))


def test_a_path_is_pointed_to_the_reader(restore: Restorer) -> None:
    with pytest.raises(TypeError, match="read_image"):
        restore("photo.png")


def test_impossible_devices_and_dtypes_get_one_sentence(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="there is no device 'nonsense'"):
        Restorer.from_pretrained(model_folder, device="nonsense")
    with pytest.raises(ValueError, match="dtype must be one of"):
        Restorer.from_pretrained(model_folder, dtype="int8")
