"""What looks like weather and is none is left alone unless a kind is named.

Drawings have no weather, dots in the dark may be stars, and what is left of an overexposed picture may look like streaks.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import Restorer
from rebridge.images import read_image
from rebridge.models import load_model
from rebridge.networks.judging import EVEN, GRAINLESS, STARRY
from rebridge.networks.kinds import HAZE, LOWLIGHT, RAIN, SNOW
from rebridge.networks.statistics import air_map, even_share, smooth_share

MODELS = ("rdbm-tiny", "rdbm-small")
SIDE = 256


def eight_bits(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round() / 255


def disc(x: float, y: float, radius: float) -> Tensor:
    """1 in the middle of a disc and 0 outside, (SIDE, SIDE)."""
    across, down = torch.arange(SIDE) - x, torch.arange(SIDE)[:, None] - y
    return (1 - (across.square() + down.square()) / radius**2).clamp_min(0)


def sky(ground: float) -> Tensor:
    """Points of light on a ground of some brightness, (3, SIDE, SIDE)."""
    draw = torch.Generator().manual_seed(2)
    image = ground + 0.005 * torch.randn(3, SIDE, SIDE, generator=draw)
    for x, y, size, light in torch.rand(500, 4, generator=draw).tolist():
        image = torch.maximum(
            image, (0.1 + 0.9 * light**3) * (3 * disc(SIDE * x, SIDE * y, 1 + 3 * size**3)).clamp(max=1)
        )
    return eight_bits(image)


def figure(ground: float) -> Tensor:
    """Shaded discs before a ground, (3, SIDE, SIDE)."""
    image = torch.full((SIDE, SIDE), ground)
    for x, y, radius, light in ((90, 100, 40, 0.3), (150, 120, 50, 0.25), (120, 170, 30, 0.2)):
        shade = disc(x, y, radius)
        image = torch.where(shade > 0, light * (0.5 + 0.5 * shade), image)
    return eight_bits(image.expand(3, -1, -1))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "picture", [sky(0.0), sky(0.05), figure(0.0), figure(0.02)], ids=["sky", "glow", "black", "dark"]
)
def test_stars_and_figures_on_black_are_left_alone(name: str, picture: Tensor) -> None:
    assert (Restorer.from_pretrained(name)(picture) - picture).abs().max() < 1e-6


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("stops", [2.0, 2.5])
def test_overexposed_photographs_are_left_alone(name: str, stops: float) -> None:
    photo = read_image(Path(__file__).parents[2] / "examples" / "images" / "chelsea.jpg").pixels
    bright = eight_bits(2**stops * photo)
    assert (Restorer.from_pretrained(name)(bright) - bright).abs().max() < 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_they_are_treated_where_a_kind_is_named(name: str) -> None:
    model: Any = load_model(name, device="cpu")
    assert (Restorer(model.treating(["lowlight"]))(figure(0.0)) - figure(0.0)).mean() > 0.02
    assert (Restorer(model.treating(["snow"]))(sky(0.0)) - sky(0.0)).abs().mean() > 0.001


@torch.no_grad()
def test_a_verdict_is_unsure_of_drawings_and_of_the_night(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = load_model("rdbm-tiny", device="cpu")
    network = model.network
    logits = torch.full((1, len(model.info.tasks)), 3.0)
    monkeypatch.setattr(network.verdict, "forward", lambda known, air: logits)

    def found(picture: Tensor, kinds: Sequence[int] = (HAZE, SNOW, LOWLIGHT)) -> list[bool]:
        judged = network.judge(network.look(2 * picture[None] - 1, trial=False))
        return (judged[0, list(kinds)] > 0).tolist()

    grain = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 0.5
    bright = STARRY + 0.01 + 0.05 * grain
    bright[:, :40] = 0.9
    assert found(eight_bits(bright)) == [True, True, True]
    assert found(eight_bits(bright - 0.02)) == [True, False, True]
    drawn = bright.clone()
    drawn[:, :, : int(SIDE * (EVEN + 0.2))] = 0.5
    assert found(eight_bits(drawn)) == [False, False, False]
    assert found(eight_bits(0.6 + 0.4 / 255 * grain + 0.3 * torch.linspace(0, 1, SIDE))) == [False, False, False]
    assert found(eight_bits(0.08 + 0.1 * grain)) == [False, False, True]  # too dark for haze, and for snow
    smooth = 0.05 + 0.1 * grain
    smooth[:, :, : SIDE // 3] = 0.05 + 0.05 * torch.linspace(0, 1, SIDE)[:, None]
    assert GRAINLESS > 1 / 3
    assert found(eight_bits(smooth)) == [False, False, False]  # too dark to have so little grain
    for white, sure in ((0.04, True), (0.08, False)):  # a twentieth is too much
        glaring = 0.4 + 0.1 * grain
        glaring[:, : round(white * SIDE)] = 1.0
        assert found(eight_bits(glaring), [RAIN, HAZE]) == [sure, True]


def test_even_and_smooth_cells_are_counted() -> None:
    image = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    air = air_map(2 * image - 1)
    assert even_share(air).tolist() == smooth_share(air).tolist() == [0.0]
    image[..., :48] = 0.3
    air = air_map(2 * image - 1)
    assert even_share(air).tolist() == smooth_share(air).tolist() == [0.25]
    image[:, 0, 0, 0] += 1 / 255
    assert even_share(air_map(2 * image - 1)).tolist() == pytest.approx([0.25 - 1 / 144])
    image[..., :48] += 1 / 255 * (torch.arange(48) % 2)
    air = air_map(2 * image - 1)
    assert even_share(air).tolist() == [0.0]
    assert smooth_share(air).tolist() == [0.25]
    image[..., :48] += 3 / 255 * (torch.arange(48) % 2)
    assert smooth_share(air_map(2 * image - 1)).tolist() == [0.0]
