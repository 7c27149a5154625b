"""The picture of the packaged models: the same in tiles and whole, and a sound one stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import Restorer
from rebridge.denoisers import Denoiser
from rebridge.evaluation import degrade_case
from rebridge.images import read_image
from rebridge.models import load_model

PHOTO = Path(__file__).parents[2] / "examples" / "images" / "chelsea.jpg"


def picture(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([0.2 + 0.6 * x, 0.3 + 0.4 * y, 0.7 - 0.3 * x * y])


def textured(height: int, width: int) -> torch.Tensor:
    """A picture with detail everywhere, as photographs have."""
    y, x = torch.meshgrid(torch.arange(height) / 7.0, torch.arange(width) / 11.0, indexing="ij")
    waves = 0.15 * torch.sin(x * (1 + y / 40)) * torch.cos(2.3 * y + x / 5) + 0.1 * torch.sign(torch.sin(x / 3 + y / 4))
    return (picture(height, width) + waves).clamp(0, 1)


def alike(tiled: Tensor, whole: Tensor) -> bool:
    """At most one level of 255 on average, and four anywhere."""
    difference = 255 * (tiled - whole).abs()
    return bool(difference.mean() <= 1 and difference.max() <= 4)


def starving(largest: int) -> Any:
    """Wrap a denoiser that runs out of memory with more than so many columns or rows."""

    def wrap(denoiser: Denoiser) -> Denoiser:
        def call(x_t: Tensor, t: Tensor, y: Tensor) -> Any:
            if max(x_t.shape[-2:]) > largest:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return denoiser(x_t, t, y)

        return call

    return wrap


@pytest.mark.parametrize(
    ("name", "task"),
    [("rdbm-tiny", "haze"), ("rdbm-tiny", "noise"), ("rdbm-small", "noise"), ("refine-blur-tiny", "blur")],
)
def test_tiles_give_the_picture_that_no_tiles_give(name: str, task: str) -> None:
    degraded = degrade_case(textured(161, 521), task, 0, "picture")
    model: Any = load_model(name, device="cpu")
    restore = Restorer(model.treating([task]) if task == "haze" else model)
    whole = restore(degraded, tile=0)
    assert (whole - degraded).abs().mean() > 1 / 255
    assert alike(restore(degraded, tile=64), whole)
    assert alike(restore.wrapped(starving(500))(degraded), whole)


def test_a_model_with_a_window_sees_that_window_whatever_the_tiles() -> None:
    degraded = degrade_case(textured(64, 400), "blur", 0, "picture")
    restore = Restorer.from_pretrained("hi-diff-blur-tiny", device="cpu")
    assert restore.model.info.window == 256
    assert torch.equal(restore(degraded, tile=64), restore(degraded, tile=0))
    assert torch.equal(restore(degraded, tile=0), restore(degraded))


def test_a_sound_picture_comes_back_as_it_is() -> None:
    sound = (picture(96, 128) * 255).round() / 255
    restored = Restorer.from_pretrained("rdbm-small", device="cpu")(sound)
    assert torch.equal((255 * restored).round(), (255 * sound).round())
    assert (restored - sound).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["rdbm-small", "rdbm-tiny"])
def test_haze_in_grey_is_taken_out_where_it_is_named_alone(name: str) -> None:
    """Without colours, nobody can say whether a picture is hazy, pale or faded."""
    photo = nn.functional.interpolate(read_image(PHOTO).pixels[None], scale_factor=0.5, mode="area")[0]
    hazy = degrade_case(photo, "haze", 0, "picture")
    grey = hazy.mean(0, keepdim=True).expand(3, -1, -1)
    model: Any = load_model(name, device="cpu")
    restore, told = Restorer(model), Restorer(model.treating(["haze"]))
    assert (restore(hazy) - hazy).abs().mean() > 0.1
    assert torch.equal(restore(grey), grey)
    assert (told(grey) - grey).abs().mean() > 0.1
