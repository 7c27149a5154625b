"""Size, colours and details of pictures that pass a generative model; what the paper's preset is."""

import pytest
import torch
from torch import Tensor

from rebridge import Restorer, bridges
from rebridge.irbridge import Finish, match_colours, preset
from rebridge.irbridge.finish import smooth
from rebridge.models import DenoiserModel


def picture(height: int = 48, width: int = 64) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


def test_the_papers_bridges_share_its_lambda_and_its_hundred_steps() -> None:
    assert preset("paper")["steps"] == 100
    assert preset("paper", bridge={"name": "goub"})["bridge"] == {"name": "goub", "lam": 2 / 255}
    assert preset("paper", bridge={"name": "goub", "lam": 0.1})["bridge"] == {"name": "goub", "lam": 0.1}
    assert preset("paper", bridge={"name": "brownian"})["bridge"] == {"name": "brownian"}
    assert preset("sound", bridge={"name": "goub"})["bridge"] == {"name": "goub"}


def test_adain_gives_every_channel_the_mean_and_spread_of_the_input() -> None:
    y = picture()
    restored = 0.5 * y.flip(-1) + 0.1 * torch.arange(3).reshape(1, 3, 1, 1)
    fixed = match_colours(restored, y, "adain")
    torch.testing.assert_close(fixed.mean((-2, -1)), y.mean((-2, -1)))
    torch.testing.assert_close(fixed.std((-2, -1)), y.std((-2, -1)))


def test_wavelets_exchange_a_cast_and_keep_what_is_fine() -> None:
    y = picture()
    cast = torch.tensor([0.1, -0.05, 0.02]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(match_colours(y + cast, y, "wavelet"), y)
    fine = torch.zeros_like(y)
    fine[..., ::2] += 0.1
    fine[..., 1::2] -= 0.1
    inside = (slice(None), slice(None), slice(16, -16), slice(33, -33))
    fixed = match_colours(y + fine, y, "wavelet")
    assert (fixed - y - fine).abs().max() < 0.05
    assert smooth(fine, 1)[inside[0:3]].abs().mean() < 0.02


def test_images_are_scaled_for_the_model_and_back() -> None:
    seen: list[tuple[int, ...]] = []

    def denoise(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        seen.append(tuple(x_t.shape))
        return torch.zeros_like(x_t)

    model = DenoiserModel(denoise, bridges.create("vp"), channels=3)
    restore = Restorer(model, "ir-sde", "irbridge:steps=2", finish=Finish(resize=24))
    restored = restore(picture())
    assert restored.shape == (1, 3, 48, 64)
    assert {shape[-2:] for shape in seen} == {(24, 32)}
    coloured = Restorer(model, "ir-sde", "irbridge:steps=2", finish=Finish(colour="wavelet"))(picture())
    assert (coloured - picture()).mean((-2, -1)).abs().max() < 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detail": 2.0}, "detail must lie in"),
        ({"colour": "grey"}, "colour must be adain or wavelet"),
        ({"resize": 2}, "resize must be at least 16 pixels"),
    ],
)
def test_bad_settings_get_one_sentence(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Finish(**settings)  # type: ignore[arg-type]
