"""Large pictures go tile by tile with the result of the whole, and are read and written part by part."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges, degradations, networks
from rebridge.images import Image, quantise, read_image, to_bytes
from rebridge.models import TrainedModel, load_model
from rebridge.networks.lazy import LazyImages, mosaic
from rebridge.restoration import Restorer, engine, large
from rebridge.restoration.choices import Asked
from rebridge.restoration.engine import Tiles

PHOTO = Path(__file__).parents[2] / "examples" / "images" / "chelsea.jpg"
ASKED = Asked(None, 0, Tiles(256), 1, 1.0, None, None, False, {})


@cache
def trained() -> networks.Network:
    torch.manual_seed(0)
    network = networks.create("fast", widths=(8, 8), blocks=(1,), middle=1, embedding=8, kinds=3, equalise=True)
    for name, weight in network.named_parameters():
        if "norm" not in name and "guide" not in name:
            nn.init.normal_(weight, std=0.05)
    return network


def restorer(**sampler: Any) -> Restorer:
    """One that judges the whole picture, as the packaged ones do, and looks no farther than its context."""
    chosen = {"name": "dbim", "steps": 1, "start": "mean", **sampler}
    return Restorer(TrainedModel.of(trained(), bridges.create("rdbm"), "residual", sampler=chosen))


def picture(height: int = 136, width: int = 330, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_tiles_that_go_the_whole_way_give_the_whole_picture(channels: int, strength: float) -> None:
    restore, image = restorer(), picture(channels=channels)
    assert large.goes_by_tile(restore, restore.sampler(), (136, 330), ASKED)
    whole = restore(image, tile=0, strength=strength)
    assert (whole - image).abs().max() > 1 / 255
    difference = (restore(image, tile=256, strength=strength) - whole).abs()
    assert difference.max() < 4 / 255
    assert difference.mean() < 0.1 / 255


@pytest.mark.parametrize("name", ["rdbm-tiny", "rdbm-small"])
@pytest.mark.parametrize(("kind", "size"), [("noise", (200, 490)), ("haze", (471, 150)), ("raindrop", (180, 503))])
def test_tiles_of_packaged_models_change_no_pixel_by_a_level(name: str, kind: str, size: tuple[int, int]) -> None:
    clean = nn.functional.interpolate(read_image(PHOTO).pixels[None], size, mode="bicubic", antialias=True).clamp(0, 1)
    image = degradations.create(kind)(clean, torch.Generator().manual_seed(7))
    model: Any = load_model(name, device="cpu")
    restore = Restorer(model.treating([kind]) if model.examines else model)
    side = 2 * model.info.context + 64
    assert large.goes_by_tile(restore, restore.sampler(), size, replace(ASKED, tiles=Tiles(side)))
    whole = restore(image, tile=0)
    assert (whole - image).abs().max() > 4 / 255
    assert (restore(image, tile=side) - whole).abs().max() < 1 / 255


def test_tiles_are_blended_in_float32_where_pictures_have_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of tiles that overlap sum to one; in bfloat16 they would miss it."""

    def unchanged(
        model: Any, walk: Any, images: Tensor, layout: Any, place: tuple[slice, slice], *others: Any
    ) -> Tensor:
        return images[..., place[0], place[1]].float()

    monkeypatch.setattr(large, "_restored_tile", unchanged)
    monkeypatch.setattr(engine, "coloured", lambda images, channels: images.float())
    restore, image = restorer(), picture().bfloat16()
    found = large.restored_by_tile(restore, restore.sampler(), image, ASKED, restore._wrap)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, image)


def test_only_walks_of_one_quiet_step_go_by_tile() -> None:
    def goes(restore: Restorer, **changes: Any) -> bool:
        return large.goes_by_tile(restore, restore.sampler(), (136, 330), replace(ASKED, **changes))

    assert goes(restorer())
    assert not goes(restorer(steps=2))
    assert not goes(restorer(eta=1.0, steps=3))
    assert not goes(restorer(), tiles=Tiles(0))
    assert not goes(restorer(), tiles=Tiles(1024))
    assert not goes(restorer(), samples=2)
    assert not goes(restorer(), callback=lambda *given: None)


def test_tiles_are_halved_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    restore, image = restorer(), picture()
    expected = restore(image, tile=256)
    seen: list[int] = []
    inner = engine.walk_bridge

    def hungry(model: Any, bridge: Any, sampler: Any, denoiser: Any, y: Tensor, *others: Any) -> Tensor:
        seen.append(y.shape[-1])
        if y.numel() > 3 * 136 * 260:
            raise MemoryError
        return inner(model, bridge, sampler, denoiser, y, *others)

    monkeypatch.setattr(engine, "walk_bridge", hungry)
    result = restore(image, tile=320)
    assert max(seen) > 260 > seen[-1]
    assert (result - expected).abs().max() < 4 / 255


def test_progress_ends_with_the_last_tile() -> None:
    told: list[tuple[float, float]] = []
    restorer()(picture(), tile=256, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]


def lazily(image: Tensor, most: int) -> tuple[LazyImages, Callable[[], int]]:
    """The same picture, of which parts are read; and the greatest number of pixels that was read at once."""
    sizes = [0]

    def read(rows: slice, columns: slice) -> Tensor:
        part = image[..., rows, columns]
        sizes.append(part[0, 0].numel())
        assert sizes[-1] <= most
        return part

    return LazyImages((1, *image.shape[1:]), read), lambda: max(sizes)


def test_rows_of_a_lazy_picture_come_in_order_and_are_those_of_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rebridge.networks.layers.in_bands.__defaults__", (1, 330 * 64))
    restore, image = restorer(), picture(420, 330)
    expected = restore(image, tile=256)
    lazy, most = lazily(image, 330 * 400)
    layout = engine.tiled(restore.model, lazy.cut_alike(), (420, 330), ASKED.tiles, lambda denoiser: denoiser)
    top, found = 0, []
    for first, rows in large.restored_rows(restore.model, restore.sampler(), lazy, layout, 1.0):
        assert first == top
        top += rows.shape[-2]
        found.append(rows)
    assert (torch.cat(found, 2) - expected).abs().max() < 1e-4
    assert 0 < most() < image[0, 0].numel()


def test_a_mosaic_shows_all_corners_in_full_resolution_and_on_the_grid_of_jpeg() -> None:
    image = picture(500, 100)
    lazy, _ = lazily(image, 64 * 100)
    shown = mosaic(lazy, windows=3, side=64)
    assert shown.shape == (1, 3, 192, 100)
    assert torch.equal(shown[..., :64, :], image[..., :64, :])
    assert torch.equal(shown[..., 128:, :], image[..., 432:496, :])
    small, _ = lazily(image, 10**9)
    assert torch.equal(mosaic(small), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_in_bytes_come_out_as_those_in_floats_do(channels: int) -> None:
    restore, floats = restorer(), quantise(picture(channels=channels))[0]
    stored = Image(to_bytes(floats), comment=b"kept")
    expected = restore(Image(floats), tile=256).pixels
    assert (expected - floats).abs().max() > 1 / 255
    found = restore.sample(stored, 1, tile=256)
    assert found.mean.comment == b"kept"
    assert found.mean.pixels.dtype == torch.uint8
    assert torch.equal(found.mean.pixels, to_bytes(expected))
    assert [one is found.mean for one in found.all] == [True]
    assert found.std.shape == (1, channels, 136, 330)
    assert not found.std.any()
    with pytest.raises(ValueError, match="seed"):
        restore(stored, tile=256, seed=-1)


def test_pictures_in_bytes_that_do_not_go_by_tile_become_floats() -> None:
    restore, floats = restorer(), quantise(picture())[0]
    found = restore(Image(to_bytes(floats)), tile=0).pixels
    assert found.is_floating_point()
    assert torch.equal(found, restore(Image(floats), tile=0).pixels)
