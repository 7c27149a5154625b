"""Networks that judge a whole picture: tiles are judged as the whole is, and what is sound stays as it is."""

from __future__ import annotations

import torch

from rebridge import Restorer
from rebridge.models import load_model
from rebridge.networks.careful import Treating


def picture(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.2 + 0.6 * x, 0.3 + 0.4 * y, 0.7 - 0.3 * x * y])


def test_tiles_are_judged_by_the_whole_picture() -> None:
    model = load_model("rdbm-small", device="cpu")
    noisy = (picture(192, 320) + 0.1 * torch.randn(3, 192, 320, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    bound = model.given(noisy[None])
    assert isinstance(bound.network, Treating)  # type: ignore[attr-defined]
    restore = Restorer(model)
    whole, tiled = restore(noisy), restore(noisy, tile=128, overlap=64)
    assert (whole - noisy).abs().mean() > 0.02
    assert (whole - tiled).abs().mean() < 1 / 255


def test_a_sound_picture_comes_back_as_it_is() -> None:
    sound = (picture(96, 128) * 255).round() / 255
    restored = Restorer.from_pretrained("rdbm-small", device="cpu")(sound)
    assert torch.equal((255 * restored).round(), (255 * sound).round())
    assert (restored - sound).abs().max() < 1e-6
