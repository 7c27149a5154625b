"""What is computed in strips and in place gives the bits of what is computed whole."""

import pytest
import torch
from torch import nn
from torch.nn.functional import fold

from rebridge import networks
from rebridge.networks import equaliser, features


def block(width: int) -> features.GatedBlock:
    torch.manual_seed(0)
    made = features.GatedBlock(width)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@pytest.mark.parametrize(("height", "width"), [(1, 5), (2, 9), (7, 33), (16, 8), (65, 40)])
def test_a_block_in_strips_is_the_block(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = block(8)
    monkeypatch.setattr(features, "LEAST_ROWS", 4)
    h = torch.randn(2, 8, height, width).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        whole = gated(h)
        for strip in (1, 5 * width, 1000 * width):
            monkeypatch.setattr(features, "BLOCK_STRIP", strip)
            over = h.clone(memory_format=torch.preserve_format)
            assert gated.change_in_place(over) is over
            torch.testing.assert_close(over, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["fast", "careful"])
def test_a_network_without_gradients_gives_what_it_gives_with_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sizes = {"widths": (8, 8, 16), "blocks": (2, 1), "middle": 1}
    network = networks.create(name, **sizes).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    y = torch.rand(1, 3, 48, 64) * 2 - 1
    before = y.clone()
    with_gradients = network(y, torch.ones(1), y).detach()
    monkeypatch.setattr(features, "BLOCK_STRIP", 100)
    monkeypatch.setattr(features, "LEAST_ROWS", 4)
    monkeypatch.setattr(features, "MODULATED_AT_ONCE", 100)
    with torch.inference_mode():
        torch.testing.assert_close(network(y, torch.ones(1), y), with_gradients, rtol=0, atol=2e-6)
    assert torch.equal(y, before)


def test_half_overlapping_windows_add_up_as_fold_adds_them() -> None:
    windows = torch.randn(2, 3, 4, 5, 64, 64)
    columns = windows.permute(0, 1, 4, 5, 2, 3).flatten(1, 3).flatten(2)
    assert torch.equal(equaliser.overlap_added_in_place(windows), fold(columns, (160, 192), 64, stride=32))


def test_spectra_of_some_rows_of_windows_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.rand(2, 3, 160, 96)
    whole = equaliser.power_spectra(y)
    monkeypatch.setattr(equaliser, "WINDOWS_AT_ONCE", 10)
    torch.testing.assert_close(equaliser.power_spectra(y), whole, rtol=1e-4, atol=1e-6)
