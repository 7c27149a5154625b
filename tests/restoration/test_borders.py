"""Even borders around pictures are set aside: what lies within is restored as if it were alone."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor

from rebridge.images import Image, read_image
from rebridge.models import TrainedModel
from rebridge.networks.conditions import Condition
from rebridge.restoration import Restorer
from rebridge.restoration.borders import inside, sets_aside
from rebridge.restoration.looking import look

SIDE = 96


def photo(seed: int = 0) -> Tensor:
    """A noisy cut-out of a photograph, (3, SIDE, SIDE) in [0, 1], as 8 bits hold it."""
    pixels = read_image(Path("examples/images/chelsea.jpg")).pixels[:, 40 : 40 + SIDE, 100 + seed : 100 + seed + SIDE]
    noisy = pixels + 0.1 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
    return (noisy.clamp(0, 1) * 255).round() / 255


def framed(image: Tensor, top: int, bottom: int, left: int, right: int, colour: float = 0.0) -> Tensor:
    _, height, width = image.shape
    larger = torch.full((3, height + top + bottom, width + left + right), colour)
    larger[:, top : top + height, left : left + width] = image
    return larger


def drawn() -> Tensor:
    """A photograph beside an even column, as a page or a screen has it, (3, SIDE, SIDE)."""
    image = photo()
    image[:, 8:-8, 30:60] = 0.5
    return image


def place(top: int, left: int) -> tuple[slice, slice]:
    return slice(top, top + SIDE), slice(left, left + SIDE)


@pytest.fixture(scope="module")
def restore() -> Restorer:
    return Restorer.from_pretrained("rdbm-tiny", device="cpu")


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sides", [(20, 20, 0, 0), (0, 0, 9, 30), (12, 12, 12, 12), (4, 5, 6, 7), (150, 150, 0, 0)])
@pytest.mark.parametrize("as_bytes", [False, True])
def test_a_border_is_found_to_the_pixel(sides: tuple[int, int, int, int], colour: float, as_bytes: bool) -> None:
    image = framed(photo(), *sides, colour)
    image = (image * 255).round().to(torch.uint8) if as_bytes else image
    assert inside(image) == place(sides[0], sides[2])


def test_borders_within_each_other_are_found() -> None:
    assert inside(framed(framed(photo(), 5, 5, 5, 5, 0.0), 20, 20, 20, 20, 1.0)) == place(25, 25)


@pytest.mark.parametrize("sides", [(21, 22, 0, 0), (12, 13, 12, 13)])
@pytest.mark.parametrize("quality", [85, 95])
def test_a_border_is_found_in_a_jpeg(sides: tuple[int, int, int, int], quality: int) -> None:
    with io.BytesIO() as file:
        larger = framed(photo(), *sides, 1.0).permute(1, 2, 0).mul(255).round().byte().numpy()
        PILImage.fromarray(larger).save(file, "JPEG", quality=quality)
        read = torch.from_numpy(np.asarray(PILImage.open(file)).copy()).permute(2, 0, 1)
    found = inside(read)
    assert found is not None
    for part, first in zip(found, (sides[0], sides[2]), strict=True):
        assert first - 16 <= part.start <= first
        assert first + SIDE <= part.stop <= first + SIDE + 16


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (photo(), "there is none"),
        (torch.full((3, 120, 120), 0.4), "nothing lies within"),
        (framed(photo(), 3, 3, 3, 3), "it is too thin"),
        (framed(photo(), 20, 0, 0, 0), "it is at one end only"),
        (framed(photo()[:, :50], 30, 30, 0, 0), "too little lies within"),
        (framed(drawn(), 20, 20, 20, 20), "what lies within was drawn"),
        (framed(photo(), 20, 20, 0, 0) + 0.05 * torch.rand(3, SIDE + 40, SIDE), "it is not even"),
        (torch.linspace(-0.5, 1.5, 300).clamp(0, 1)[None, :, None].expand(3, 300, SIDE), "it fades into the picture"),
    ],
)
def test_what_is_no_border(image: Tensor, why: str) -> None:
    assert inside(image) is None, why


@pytest.mark.parametrize("sides", [(20, 20, 0, 0), (12, 12, 12, 12)])
@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_what_lies_within_is_restored_as_alone(
    restore: Restorer, sides: tuple[int, int, int, int], colour: float
) -> None:
    image = framed(photo(), *sides, colour)
    expected = image.clone()
    expected[:, *place(sides[0], sides[2])] = restore(photo())
    assert not torch.equal(expected, image)
    assert torch.equal(restore(image), expected)


@pytest.mark.parametrize("by_tile", [False, True])
def test_bytes_too(restore: Restorer, monkeypatch: pytest.MonkeyPatch, by_tile: bool) -> None:
    """Small pictures come back as floats, large ones, which are restored tile by tile, as bytes."""
    if by_tile:
        monkeypatch.setattr("rebridge.restoration.large.goes_by_tile", lambda *_: True)
    image = Image((framed(photo(), 12, 12, 12, 12, 1.0) * 255).round().to(torch.uint8))
    restored = restore(image).pixels
    assert restored.dtype == (torch.uint8 if by_tile else torch.float32)
    assert (restored[:, :12] == (255 if by_tile else 1)).all()
    alone = restore(Image(image.pixels[:, *place(12, 12)])).pixels
    assert torch.equal(restored[:, *place(12, 12)], alone)


def test_a_batch_gives_what_each_gives_alone(restore: Restorer) -> None:
    images = torch.stack(
        [framed(photo(0), 12, 12, 0, 0), framed(photo(1), 8, 16, 0, 0), torch.cat([photo(2), photo(3)[:, :24]], 1)]
    )
    together = restore.sample(images, 2, seed=[1, 2, 3])
    for row, image in enumerate(images):
        alone = restore.sample(image, 2, seed=[row + 1])
        torch.testing.assert_close(together.mean[row], alone.mean, rtol=0, atol=1e-6)
        torch.testing.assert_close(together.std[row], alone.std[0])
        assert together.calls == alone.calls
    assert [len(sample) for sample in together.all] == [3, 3]


def test_alpha_and_type_are_kept(restore: Restorer) -> None:
    colours = (framed(photo(), 12, 12, 12, 12) * 255).round().byte().permute(1, 2, 0).numpy()
    alpha = np.full((*colours.shape[:2], 1), 200, np.uint8)
    restored = restore(PILImage.fromarray(np.concatenate([colours, alpha], 2)))
    assert restored.mode == "RGBA"
    assert np.asarray(restored)[..., 3].min() == 200
    assert np.asarray(restored)[:12, :, :3].max() == 0


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_looked_at_is_restored_alike(restore: Restorer, count: int) -> None:
    images = torch.stack([framed(photo(0), 12, 12, 0, 0), framed(photo(1), 8, 16, 0, 0)][:count])
    looked, findings = look(restore, images)
    assert findings is not None
    for row, found in enumerate(findings):
        alone = restore.examine(images[row])
        assert [one.kind for one in found] == [one.kind for one in alone]
        assert {one.kind: one.treated for one in alone}["noise"] == 1
    torch.testing.assert_close(looked(images), restore(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kinds", [["noise"], ["haze"], ["lowlight"]])
def test_what_is_named_is_treated_within_a_border(restore: Restorer, kinds: list[str]) -> None:
    assert isinstance(restore.model, TrainedModel)
    told: Callable[[Tensor], Tensor] = Restorer(restore.model.treating(kinds))
    image = framed(photo(), 12, 12, 12, 12, 1.0)
    restored = told(image)
    assert torch.equal(restored[:, *place(12, 12)], told(photo()))
    assert (restored[:, :12] == 1).all()


def test_a_model_that_gets_maps_sees_the_whole(restore: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sets_aside(restore.model)
    monkeypatch.setattr(restore.model, "info", replace(restore.model.info, conditions={"depth": Condition("map", 1)}))
    assert not sets_aside(restore.model)
