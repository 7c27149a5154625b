"""Line statistics see direction and sign of lines, the same in strips as at once; the verdict hears them."""

import math

import pytest
import torch

from rebridge import networks
from rebridge.networks import verdict
from rebridge.networks.careful import KINDS, Careful, gathered
from rebridge.networks.verdict import LINE_NUMBERS, TURNS, Verdict, line_statistics

PER_SCALE = LINE_NUMBERS // 2


def lines(angle: float, tone: float) -> torch.Tensor:
    """Grey with thin lines at an angle in degrees from the vertical, (1, 3, 128, 128) in [-1, 1]."""
    axis = torch.arange(128.0)
    y, x = axis[:, None], axis[None]
    u = x * math.cos(math.radians(angle)) - y * math.sin(math.radians(angle))
    drawn = torch.exp(-((u % 24 - 12) ** 2) / 2)
    return (tone * drawn).expand(1, 3, -1, -1)


def mean_energies(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
    whole = line_statistics(y)
    assert whole.shape == (2, LINE_NUMBERS)
    monkeypatch.setattr(verdict, "STRIP", 64 * 208)
    assert torch.allclose(line_statistics(y), whole, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (16, 300)])
def test_the_smallest_pictures_have_statistics_too(size: tuple[int, int]) -> None:
    assert line_statistics(torch.zeros(1, 3, *size)).isfinite().all()


def test_numbers_far_from_those_of_training_are_cut_off() -> None:
    torch.manual_seed(0)
    judge = Verdict(5, 2).eval()
    far = torch.full((1, 5), 7.0)
    assert torch.equal(judge(far), judge(1000 * far))


def test_the_network_decides_by_its_verdict() -> None:
    torch.manual_seed(0)
    sizes = {"widths": [8, 12, 16], "blocks": [1, 1], "middle": 1, "features": 16}
    network = networks.create("careful", verdict=True, **sizes).eval()
    assert isinstance(network, Careful)
    assert network.verdict is not None
    y = 2 * torch.rand(1, 3, 64, 64) - 1
    with torch.no_grad():
        network.verdict.layers[-1].bias.copy_(torch.tensor([9.0 if kind == "rain" else -9.0 for kind in KINDS]))  # type: ignore[operator]
        found, treated = network.diagnose(y)
        assert [
            kind for kind, share in zip(KINDS, treated[0].tolist(), strict=True) if share > 0 and kind != "noise"
        ] == ["rain"]
        assert torch.equal(found, network.examine(y))
        seen = network.look(y)
        own = network.examiner.logits(seen)
        judged = network.verdict(gathered(seen, own))
        noise, blur = KINDS.index("noise"), KINDS.index("blur")
        judged[:, noise] = torch.maximum(judged[:, noise], own[:, noise])
        judged[:, blur] = torch.minimum(judged[:, blur], own[:, blur])
        assert torch.equal(network.judge(seen), judged)
    with pytest.raises(ValueError, match="without lines"):
        network.judge(seen._replace(lines=None))
