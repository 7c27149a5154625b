"""What every degradation promises: seeding per image, shape and range, and one sentence for bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rebridge.degradations import Degradation, create, names

TASKS = names()
RANDOM_TASKS = [task for task in TASKS if not create(task).resizes]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(batch: int, channels: int = 3, height: int = 40, width: int = 52) -> Tensor:
    return torch.rand(batch, channels, height, width, generator=seeded(99))


def test_every_task_of_the_contract_exists() -> None:
    expected = [
        "rain",
        "haze",
        "snow",
        "raindrop",
        "lowlight",
        "blur",
        "noise",
        "jpeg",
        "sr2",
        "sr3",
        "sr4",
        "sr8",
        "lowres",
        "inpaint",
    ]
    assert sorted(TASKS) == sorted(expected)
    assert all(isinstance(create(task), Degradation) for task in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_gives_the_same_images(task: str) -> None:
    x = images(3)
    assert torch.equal(create(task)(x, seeded(5)), create(task)(x, seeded(5)))


@pytest.mark.parametrize("task", RANDOM_TASKS)
def test_images_of_a_batch_get_different_parameters(task: str) -> None:
    x = images(1, height=96, width=96).expand(3, -1, -1, -1)
    y = create(task)(x, seeded(5))
    assert not torch.equal(y[0], y[1])
    assert not torch.equal(y[1], y[2])


@pytest.mark.parametrize("task", TASKS)
def test_result_of_an_image_does_not_depend_on_the_batch_size(task: str) -> None:
    x = images(19)
    whole = create(task)(x, seeded(8))
    first = create(task)(x[:2], seeded(8))
    assert torch.equal(whole[:2], first)
    generator = seeded(8)
    one_by_one = torch.cat([create(task)(image[None], generator) for image in x])
    assert torch.equal(whole, one_by_one)


@pytest.mark.parametrize("task", TASKS)
def test_without_a_generator_the_default_one_decides(task: str) -> None:
    x = images(2)
    torch.manual_seed(3)
    first = create(task)(x)
    torch.manual_seed(3)
    assert torch.equal(first, create(task)(x))


@given(
    task=st.sampled_from(TASKS),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    level=st.sampled_from(["random", "black", "white"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=250, deadline=None)
def test_shape_and_range_are_kept(task: str, channels: int, height: int, width: int, level: str, seed: int) -> None:
    x = {"random": torch.rand, "black": torch.zeros, "white": torch.ones}[level](2, channels, height, width)
    before = x.clone()
    y = create(task)(x, seeded(seed))
    scale = int(task[2:]) if task.startswith("sr") else 1
    assert y.shape == (2, channels, math.ceil(height / scale), math.ceil(width / scale))
    assert torch.isfinite(y).all()
    assert 0 <= y.min() <= y.max() <= 1
    assert y.dtype == x.dtype
    assert torch.equal(x, before)
    if scale > 1:
        assert create(task, upsample=True)(x).shape == x.shape


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_of_the_input_is_kept(task: str, dtype: torch.dtype) -> None:
    x = images(1).to(dtype)
    assert create(task)(x, seeded(1)).dtype == dtype


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        ([[0.5]], TypeError, "images must be a torch tensor, got list"),
        (
            torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
            TypeError,
            "images must be floating point in [0, 1], got torch.uint8",
        ),
        (torch.zeros(3, 4, 4), ValueError, "images must have shape (B, C, H, W), got (3, 4, 4)"),
        (torch.zeros(0, 3, 4, 4), ValueError, "images must not be empty, got shape (0, 3, 4, 4)"),
        (torch.full((1, 3, 4, 4), math.nan), ValueError, "images must be finite, got NaN or infinity"),
        (torch.full((1, 3, 4, 4), math.inf), ValueError, "images must be finite, got NaN or infinity"),
        (torch.full((1, 3, 4, 4), 255.0), ValueError, "images must lie in [0, 1], got values from 255 to 255"),
        (torch.full((1, 3, 4, 4), -0.5), ValueError, "images must lie in [0, 1], got values from -0.5 to -0.5"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_bad_images_give_one_sentence(task: str, x: Tensor, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as caught:
        create(task)(x)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("channels", [2, 4, 6])
def test_what_knows_of_no_colours_takes_any_channels_and_the_rest_says_so(task: str, channels: int) -> None:
    x = torch.rand(1, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    degradation = create(task)
    if degradation.any_channels:
        assert degradation(x).shape[1] == channels
        return
    with pytest.raises(ValueError, match=f"^images must have 1 or 3 channels, got {channels}$"):
        degradation(x)


@pytest.mark.parametrize(
    ("task", "params", "error", "sentence"),
    [
        ("fog", {}, ValueError, f"unknown degradation 'fog'; known are {', '.join(TASKS)}"),
        ("noise", {"sgima": 0.1}, ValueError, "degradation 'noise' has no parameter 'sgima'; it takes sigma"),
        ("sr4", {"scale": 2}, ValueError, "degradation 'sr4' has no parameter 'scale'; it takes upsample"),
        ("noise", {"sigma": 25}, ValueError, "sigma must lie in [0, 1] with low <= high, got (25, 25)"),
        ("noise", {"sigma": (0.2, 0.1)}, ValueError, "sigma must lie in [0, 1] with low <= high, got (0.2, 0.1)"),
        ("noise", {"sigma": math.nan}, ValueError, "sigma must be finite, got nan"),
        ("noise", {"sigma": "loud"}, TypeError, "sigma must be a number or a pair (low, high), got 'loud'"),
        ("noise", {"sigma": (1, 2, 3)}, TypeError, "sigma must be a number or a pair (low, high), got (1, 2, 3)"),
        ("jpeg", {"quality": 0}, ValueError, "quality must lie in [1, 100] with low <= high, got (0, 0)"),
        ("blur", {"defocus": 1.5}, ValueError, "defocus must lie in [0, 1], got 1.5"),
        ("blur", {"defocus": "often"}, ValueError, "degradation 'blur' takes a number as defocus, got 'often'"),
        ("inpaint", {"kind": "holes"}, ValueError, "kind must be strokes, boxes, pixels or mixed, got 'holes'"),
        ("inpaint", {"fill": math.nan}, ValueError, "fill must lie in [0, 1], got nan"),
        ("sr2", {"upsample": "yes"}, ValueError, "degradation 'sr2' takes true or false as upsample, got 'yes'"),
    ],
)
def test_bad_parameters_give_one_sentence(
    task: str, params: dict[str, object], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        create(task, **params)
    assert str(caught.value) == sentence


def test_a_range_may_be_a_number_a_tuple_or_a_list() -> None:
    assert create("noise", sigma=0.1) == create("noise", sigma=(0.1, 0.1)) == create("noise", sigma=[0.1, 0.1])


def test_parameters_are_drawn_within_their_range() -> None:
    x = torch.full((40, 1, 32, 32), 0.5)
    measured = (create("noise", sigma=(0.02, 0.1))(x, seeded(0)) - x).std(dim=(1, 2, 3))
    assert 0.015 < measured.min() < 0.04
    assert 0.08 < measured.max() < 0.11


@pytest.mark.parametrize("task", TASKS)
def test_a_degradation_declares_if_it_resizes_and_keeps_the_size_with_upsample(task: str) -> None:
    degradation, x = create(task), images(1)
    assert (degradation(x, seeded(0)).shape != x.shape) == degradation.resizes
    if degradation.resizes:
        assert create(task, upsample=True)(x).shape == x.shape
