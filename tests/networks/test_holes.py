"""Filling holes from around them."""

import pytest
import torch

from rebridge.degradations.masks import Inpaint
from rebridge.networks import create
from rebridge.networks.holes import fill_holes, holes


def waves(height: int, width: int) -> torch.Tensor:
    """A smooth image (1, 3, H, W) in [-1, 1] without middle grey."""
    rows = torch.linspace(0, 3, height, dtype=torch.float64)[:, None]
    columns = torch.linspace(0, 2, width, dtype=torch.float64)
    return torch.stack([0.5 + 0.3 * torch.sin(rows + columns + shift) for shift in range(3)])[None]


@pytest.mark.parametrize("kind", ["strokes", "boxes", "pixels"])
def test_holes_of_eight_bits_are_found_and_nothing_else(kind: str) -> None:
    image = (waves(48, 64).float() + 1) / 2
    inpaint = Inpaint(kind=kind)
    degraded = inpaint(image, generator=torch.Generator().manual_seed(0))
    mask = inpaint.masks(image, torch.Generator().manual_seed(0))
    for stored in (degraded, (degraded * 255).round() / 255, (degraded * 255).floor() / 255):
        assert torch.equal(holes(stored * 2 - 1), mask)


def test_of_the_levels_of_eight_bits_the_two_in_the_middle_are_missing_and_only_in_all_channels() -> None:
    levels = (torch.arange(256) / 255 * 2 - 1).repeat(3, 1).view(1, 3, 16, 16)
    assert holes(levels).flatten().nonzero().flatten().tolist() == [127, 128]
    for channel in range(3):
        other = levels.clone()
        other[:, channel] = 0.1
        assert not holes(other).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (40, 30), (97, 130)])
def test_what_is_known_stays_as_it_is(size: tuple[int, int]) -> None:
    y = torch.rand(2, 3, *size, dtype=torch.float64)
    missing = torch.rand(2, 1, *size) < 0.3
    filled = fill_holes(y, missing)
    kept = ~missing.expand_as(y)
    assert filled.shape == y.shape
    assert torch.equal(filled[kept], y[kept])
    assert filled.isfinite().all()
    assert (filled <= y.max()).all()


@pytest.mark.parametrize("kind", ["strokes", "boxes", "pixels"])
def test_holes_in_a_smooth_image_are_filled_smoothly(kind: str) -> None:
    clean = waves(96, 128)
    missing = Inpaint(kind=kind).masks(clean.float(), torch.Generator().manual_seed(0))
    error = (fill_holes(clean.masked_fill(missing, 0.0), missing) - clean).abs()
    assert error.max() < 0.4
    assert error.square().mean().sqrt() < 0.03


def test_a_constant_is_continued_exactly_and_nothing_but_holes_is_left_alone() -> None:
    y = torch.full((1, 3, 40, 40), 0.4, dtype=torch.float64)
    missing = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    missing[..., 5:35, 5:35] = True
    torch.testing.assert_close(fill_holes(y.masked_fill(missing, 0.0), missing), y, rtol=0, atol=1e-12)
    nothing = torch.zeros_like(y)
    assert torch.equal(fill_holes(nothing, holes(nothing)), nothing)


@pytest.mark.parametrize("kind", ["strokes", "boxes", "pixels"])
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (97, 130)])
def test_looking_at_holes_alone_gives_what_looking_everywhere_does(kind: str, size: tuple[int, int]) -> None:
    y = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for missing in (Inpaint(kind=kind).masks(y, torch.Generator().manual_seed(1)), torch.zeros(2, 1, *size).bool()):
        with torch.no_grad():
            filled = fill_holes(y, missing)
        assert torch.equal(filled, fill_holes(y, missing))


def test_a_filled_pixel_depends_on_less_than_900_pixels_to_each_side() -> None:
    y = torch.rand(1, 1, 2048, 64, dtype=torch.float64)
    missing = torch.ones(1, 1, 2048, 64, dtype=torch.bool)
    missing[..., 1024, 32] = False
    other = y.clone()
    other[..., 1024, 32] += 1
    changed = (fill_holes(other, missing) - fill_holes(y, missing)).masked_fill(~missing, 0)
    assert changed.abs().max() > 0
    assert (changed.abs().amax(-1).flatten().nonzero() - 1024).abs().max() < 900


def test_an_untrained_network_that_fills_returns_the_filled_image() -> None:
    torch.manual_seed(0)
    network = create("fast", widths=[8, 12], blocks=[1], middle=1, kinds=2, fill=True).eval()
    clean = waves(32, 48).float()
    missing = Inpaint().masks(clean, torch.Generator().manual_seed(0))
    y = clean.masked_fill(missing, 0.0)
    with torch.no_grad():
        restored = y + network(y, torch.ones(1), y)
    assert torch.equal(restored, y + (fill_holes(y, missing) - y))
