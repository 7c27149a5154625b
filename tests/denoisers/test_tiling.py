"""Tiling: the same estimate as on the whole image, wherever the network cannot tell the difference."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rebridge import bridges, samplers
from rebridge.denoisers import Estimate
from rebridge.denoisers.tiling import GRID, TiledDenoiser, partition, partition_seen
from rebridge.images.atomic import out_of_memory
from rebridge.samplers.noise import ImageNoise


@settings(deadline=None)
@given(length=st.integers(1, 300), tile=st.integers(1, 120), share=st.floats(0, 0.5), align=st.integers(1, 16))
def test_the_weights_of_all_tiles_sum_to_one_everywhere(length: int, tile: int, share: float, align: int) -> None:
    total = torch.zeros(length, dtype=torch.float64)
    parts = list(partition(length, tile, int(share * tile), align))
    for place, weights in parts:
        assert (weights >= 0).all()
        assert len(weights) == len(total[place]) == len(parts[0][1]) <= tile
        total[place] += weights
    assert (total - 1).abs().max() < 1e-9


def test_tiles_share_the_axis_evenly_and_begin_on_the_grid() -> None:
    places = [place for place, _ in partition(1104, 768, 64, align=16)]
    assert [(place.start, place.stop) for place in places] == [(0, 592), (512, 1104)]


@settings(deadline=None)
@given(
    length=st.integers(1, 3000),
    room=st.integers(64, 400),
    share=st.floats(0, 0.5),
    context=st.integers(1, 12).map(lambda count: 16 * count),
)
def test_as_much_is_seen_of_all_tiles_with_a_context(length: int, room: int, share: float, context: int) -> None:
    seen, overlap = 16 * (room // 16) + 2 * context, int(share * 16 * (room // 16))
    parts = list(partition_seen(length, seen, overlap, context, 16))
    total = torch.zeros(length, dtype=torch.float64)
    for place, weights in parts:
        assert (weights >= 0).all()
        assert len(weights) == len(total[place]) > 0
        total[place] += weights
    assert (total - 1).abs().max() < 1e-9
    arounds = [(max(place.start - context, 0), min(place.stop + context, length)) for place, _ in parts]
    assert arounds[0][0] == 0
    assert arounds[-1][1] == length
    assert all(start % GRID == 0 and (stop % 16 == 0 or stop == length) for start, stop in arounds)
    sizes = [-(-(stop - start) // 16) for start, stop in arounds]
    assert max(sizes) == min(sizes)
    assert 16 * sizes[0] <= seen + max(GRID, 2 * overlap)
    for (place, weights), (following, more) in itertools.pairwise(parts):  # what lies at the edge does not count
        assert weights[-1] == 0 or place.stop == length or overlap < 4
        assert more[0] == 0 or overlap < 4
        assert following.start < place.stop or not overlap


def test_an_axis_that_is_seen_at_once_is_one_tile() -> None:
    assert [place for place, _ in partition_seen(300, 300, 32, 64)] == [slice(0, 300)]


@settings(deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_pointwise_denoiser_gives_the_same_in_tiles(height: int, width: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(2, 3, height, width, generator=generator) for _ in range(2))
    t = torch.tensor([0.2, 0.9])

    def pointwise(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return (x_t * y).sin() + t.reshape(-1, 1, 1, 1) * y

    tiled = TiledDenoiser(pointwise, tile=32, overlap=12, batch=batch)(x, t, y)
    torch.testing.assert_close(tiled.x0, pointwise(x, t, y), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(100, 150), (64, 200), (97, 33)])
def test_a_denoiser_that_sees_a_quarter_of_the_overlap_gives_the_same_in_tiles(height: int, width: int) -> None:
    torch.manual_seed(0)
    radius = 4
    look = nn.Conv2d(3, 3, 2 * radius + 1, padding=radius, padding_mode="reflect")
    x = torch.randn(1, 3, height, width)
    with torch.no_grad():
        whole = look(x)
        tiled = TiledDenoiser(lambda x_t, t, y: look(x_t), tile=48, overlap=4 * radius, align=1)(x, torch.ones(1), x)
    torch.testing.assert_close(tiled.x0, whole, rtol=0, atol=1e-5)


def test_both_parts_of_an_estimate_are_blended() -> None:
    x, t = torch.randn(1, 3, 70, 80), torch.ones(1)
    tiled = TiledDenoiser(lambda x_t, t, y: Estimate(2 * x_t, -x_t), tile=32)(x, t, x)
    torch.testing.assert_close(tiled.x0, 2 * x)
    assert tiled.noise is not None
    torch.testing.assert_close(tiled.noise, -x)
    assert TiledDenoiser(lambda x_t, t, y: x_t, tile=32)(x, t, x).noise is None


def test_a_whole_walk_is_the_same_in_tiles_because_the_noise_is_full_size() -> None:
    bridge = bridges.create("goub", steps=20)
    sampler = samplers.create("dbim", steps=5, eta=1.0)
    y = torch.rand(1, 3, 100, 90) * 2 - 1

    def denoiser(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (x_t + y).tanh()

    whole = sampler(bridge, denoiser, y, noise=ImageNoise([3]))
    tiled = sampler(bridge, TiledDenoiser(denoiser, tile=48, overlap=8), y, noise=ImageNoise([3]))
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory")],
)
@pytest.mark.parametrize("tile", [None, 256])
def test_tiles_are_halved_until_they_fit_into_memory(error: Exception, tile: int | None) -> None:
    sizes = []

    def hungry(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        sizes.append(x_t.shape[-1])
        if x_t.numel() > 3 * 100 * 100:
            raise error
        return 2 * x_t

    x = torch.randn(1, 3, 200, 280)
    denoiser = TiledDenoiser(hungry, tile, batch=2)
    torch.testing.assert_close(denoiser(x, torch.ones(1), x).x0, 2 * x)
    assert denoiser.tile is not None
    assert denoiser.tile <= 100
    calls = len(sizes)
    denoiser(x, torch.ones(1), x)
    assert max(sizes[calls:]) <= 100  # it has learned


def test_memory_that_is_never_enough_is_reported_and_other_errors_pass_through() -> None:
    def starving(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        raise RuntimeError("shapes do not fit")

    x = torch.randn(1, 3, 200, 200)
    with pytest.raises(torch.OutOfMemoryError):
        TiledDenoiser(starving)(x, torch.ones(1), x)
    with pytest.raises(RuntimeError, match="shapes"):
        TiledDenoiser(broken)(x, torch.ones(1), x)
    assert not out_of_memory(RuntimeError("shapes do not fit"))


def test_progress_counts_all_tiles() -> None:
    seen = []
    x = torch.randn(1, 3, 100, 100)
    TiledDenoiser(lambda x_t, t, y: x_t, tile=48, batch=2, progress=lambda done, total: seen.append((done, total)))(
        x, torch.ones(1), x
    )
    assert seen[-1][0] == seen[-1][1] > 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 0}, "tile must be at least 1"),
        ({"tile": 64, "overlap": 33}, "at most half"),
        ({"overlap": -1}, "negative"),
        ({"batch": 0}, "batch"),
    ],
)
def test_impossible_tiles_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TiledDenoiser(lambda x_t, t, y: x_t, **options)
