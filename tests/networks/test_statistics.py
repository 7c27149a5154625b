"""Statistics see direction and sign of lines, the air of haze and the grid of JPEG; the same in strips as at once."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rebridge.networks import statistics as module
from rebridge.networks.exporting import cell_maxima
from rebridge.networks.statistics import (
    AIR_NUMBERS,
    FIFTHS,
    GRID_NUMBERS,
    LINE_NUMBERS,
    MAP_NUMBERS,
    MAP_SIDE,
    NUMBERS,
    TURNS,
    air_map,
    air_statistics,
    block_averages,
    block_maxima,
    grid_statistics,
    line_statistics,
    picture_statistics,
)

PER_SCALE = LINE_NUMBERS // 2


def lines(angle: float, tone: float) -> Tensor:
    """Grey with thin lines at an angle in degrees from the vertical, (1, 3, 128, 128) in [-1, 1]."""
    axis = torch.arange(128.0)
    y, x = axis[:, None], axis[None]
    u = x * math.cos(math.radians(angle)) - y * math.sin(math.radians(angle))
    drawn = torch.exp(-((u % 24 - 12) ** 2) / 2)
    return (tone * drawn).expand(1, 3, -1, -1)


def mean_energies(y: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the mean energy of bright and of dark lines by direction, at the full size."""
    found = line_statistics(y)[0, :PER_SCALE].view(-1, TURNS)
    return found[0], found[3]


@pytest.mark.parametrize(("angle", "index"), [(0.0, 0), (45.0, 4), (90.0, 8), (-22.5, 14)])
def test_lines_have_their_energy_in_their_direction(angle: float, index: int) -> None:
    bright, _ = mean_energies(lines(angle, 0.5))
    assert int(bright.argmax()) == index
    assert float(bright[index] - bright[(index + 8) % TURNS]) > 1.0


def test_bright_lines_are_told_from_dark_ones() -> None:
    bright, dark = mean_energies(lines(0.0, 0.5))
    swapped = mean_energies(lines(0.0, -0.5))
    assert float(bright[0] - dark[0]) > 0.3
    assert torch.allclose(swapped[0], dark, atol=1e-4)
    assert torch.allclose(swapped[1], bright, atol=1e-4)


def test_strips_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    y = 2 * torch.rand(2, 3, 150, 208, generator=torch.Generator().manual_seed(0)) - 1
    whole = picture_statistics(y)
    assert whole.shape == (2, NUMBERS)
    assert NUMBERS == LINE_NUMBERS + AIR_NUMBERS + GRID_NUMBERS
    monkeypatch.setattr(module, "STRIP", 64 * 208)
    assert torch.allclose(picture_statistics(y), whole, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (16, 300)])
def test_the_smallest_pictures_have_statistics_too(size: tuple[int, int]) -> None:
    assert picture_statistics(torch.zeros(1, 3, *size)).isfinite().all()


def scene(seed: int) -> Tensor:
    """Coloured squares with texture, (1, 3, 160, 160) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.rand(1, 3, 10, 10, generator=generator).repeat_interleave(16, 2).repeat_interleave(16, 3)
    return (colours + 0.15 * torch.randn(1, 3, 160, 160, generator=generator)).clamp(0, 1)


def test_haze_that_thickens_upwards_takes_contrast_and_colour_with_the_dark() -> None:
    clear = scene(0)
    seen = torch.linspace(0.15, 1, 160).view(1, 1, -1, 1)
    hazy = seen * clear + (1 - seen) * 0.9
    _, contrast, colour, height = air_statistics(2 * hazy - 1)[0, -4:].tolist()
    assert contrast < -0.9
    assert colour < -0.5
    assert height < -0.9
    _, contrast, _, height = air_statistics(2 * clear - 1)[0, -4:].tolist()
    assert contrast > -0.7
    assert abs(height) < 0.2


def test_fifths_go_from_the_darkest_to_the_palest() -> None:
    pale = 0.5 + 0.5 * scene(1)
    dark, light = air_statistics(2 * pale - 1)[0, : 2 * FIFTHS].view(2, FIFTHS)
    assert (dark.diff() >= 0).all()
    assert dark[-1] > dark[0] + 0.1
    assert (dark >= 0.5 - 1e-5).all()
    assert (light >= dark).all()


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5)])
def test_the_grid_of_jpeg_stands_out_wherever_it_begins(top: int, left: int) -> None:
    smooth = functional.interpolate(scene(2)[..., ::16, ::16], size=(160, 160), mode="bicubic").clamp(0, 1)
    file = io.BytesIO()
    Image.fromarray((smooth[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(file, "JPEG", quality=10)
    saved = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None].float() / 255
    plain, marked = (grid_statistics(2 * image[..., top:, left:] - 1)[0].view(2, 3) for image in (smooth, saved))
    assert (marked[:, 1] > plain[:, 1] + 0.5).all()
    assert (marked[:, 1] - marked[:, 2] > 0.5).all()


def test_statistics_are_of_float32_whatever_the_rest_is_computed_in() -> None:
    y = 2 * scene(3) - 1
    expected = picture_statistics(y)
    with torch.autocast("cpu", torch.bfloat16):
        found = picture_statistics(y)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_map_of_the_air_shows_where_what_is() -> None:
    image = torch.full((1, 3, 192, 288), 0.5)
    image[:, 0, :16, :24] = 0.25  # the first cell, a reddish dark one
    image[:, 1, 17, 25] = 1.0  # one pixel of the cell below and beside
    found = air_map(2 * image - 1)[0]
    assert found.shape == (MAP_NUMBERS, MAP_SIDE, MAP_SIDE)
    least, least_mean, mean, greatest = (found[3 * index : 3 * index + 3] for index in range(4))
    contrast, most_contrast, colourful, least_colourful = found[12:]
    assert least[:, 0, 0].tolist() == mean[:, 0, 0].tolist() == least_mean[:, 0, 0].tolist() == [0.25, 0.5, 0.5]
    assert greatest[:, 1, 1].tolist() == [0.5, 1.0, 0.5]
    assert float(colourful[0, 0]) == float(least_colourful[0, 0]) == 0.25
    assert float(colourful[1, 1]) == pytest.approx(0.5 / 64)
    assert float(least_colourful[1, 1]) == 0.0
    assert float(most_contrast[1, 1]) > float(contrast[1, 1]) > float(contrast[0, 0])
    assert torch.equal(found[:, 3:, 3:], found[:, 3:4, 3:4].expand(-1, 9, 9))


@pytest.mark.parametrize("size", [(1, 1), (40, 97), (250, 170), (1000, 300)])
def test_a_map_of_the_air_has_as_many_cells_whatever_the_size(size: tuple[int, int]) -> None:
    y = 2 * torch.rand(2, 3, *size) - 1
    found = air_map(y)
    assert found.shape == (2, MAP_NUMBERS, MAP_SIDE, MAP_SIDE)
    assert found.isfinite().all()


def test_a_map_of_the_air_is_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    y = 2 * torch.rand(1, 3, 200, 144) - 1
    whole = air_map(y)
    monkeypatch.setattr(module, "STRIP", 3000)
    torch.testing.assert_close(air_map(y), whole)


@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (3, 7), (12, 5)])
def test_cells_of_exported_graphs_are_those_of_torch(rows: int, columns: int) -> None:
    h = torch.randn(2, 3, 25, 12)
    assert torch.equal(cell_maxima(h, rows, columns), functional.adaptive_max_pool2d(h, (rows, columns)))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (80, 97), (33, 32), (20, 40)])
def test_blocks_are_summed_up_as_torch_pools_them(height: int, width: int) -> None:
    values = torch.randn(2, 3, height, width)
    torch.testing.assert_close(block_averages(values, 32), functional.avg_pool2d(values, 32, ceil_mode=True))
    assert torch.equal(block_maxima(values, 32), functional.max_pool2d(values, 32, ceil_mode=True))
