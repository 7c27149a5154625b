"""Details of the input are kept where nothing was restored."""

import pytest
import torch
from torch import Tensor

from rebridge.irbridge import keep_details


@pytest.fixture
def picture() -> Tensor:
    """(1, 3, 40, 48) in [0, 1], smooth."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows / (4 + k)) * torch.cos(columns / 7 - k) for k in range(3)])[None]


def test_details_come_back_where_nothing_changed_and_nowhere_else(picture: Tensor) -> None:
    texture = 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    y = (picture + texture).clamp(0, 1)
    through = picture  # an autoencoder that loses the texture
    restored = through.clone()
    restored[..., :24] += 0.3  # the left half is restored
    result = keep_details(restored, y, through)
    assert torch.equal(keep_details(restored, y, through, strength=0.0), restored)
    assert (result - restored)[..., :16].abs().max() < 1e-3
    assert (result - y)[..., 32:].abs().max() < 1e-6


def test_details_raise_psnr_with_an_autoencoder_that_loses_them(picture: Tensor) -> None:
    texture = 0.03 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    clean = (picture + texture).clamp(0, 1)
    y, through = clean.clone(), picture.clone()
    y[..., 10:20, 10:20] = through[..., 10:20, 10:20] = 1.0  # a hole that the prior filled smoothly
    with_details = keep_details(picture, y, through)

    def error(a: Tensor) -> float:
        return (a - clean).square().mean().item()

    assert error(with_details) < 0.4 * error(picture)


def test_impossible_strengths_are_refused() -> None:
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="strength must lie"):
        keep_details(x, x, x, strength=1.5)
    with pytest.raises(ValueError, match="tolerance must be positive"):
        keep_details(x, x, x, tolerance=0.0)
