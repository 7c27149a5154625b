"""The networks of published checkpoints, called directly: official outputs, any size, options that leave the rest alone."""

from typing import Any

import pytest
import torch
from torch import nn

from rebridge import networks
from rebridge.models.formats.published.renaming import LUCIDRAINS, flat_gains, rename
from rebridge.networks.conditional_nafnet import ConditionalNAFNet
from rebridge.networks.conditional_unet import ConditionalUNet
from rebridge.networks.hidiff_released import ReleasedDiffusion, ReleasedHiDiff
from rebridge.networks.rddm import SharedEncoder, TwoUNets
from rebridge.networks.swin_unet import SwinUNet
from tests.published import numbers

SMALL_HIDIFF = {"widths": (8, 16, 16, 32), "blocks": (1, 1, 1, 1), "heads": (1, 2, 2, 4), "refinement": 1}


def sine_weights(parameters: list[tuple[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Parameter number j: 0.3 sin(0.37 k + 1.3 j), plus 0.5 where it has one axis."""
    state = {}
    for j, (name, shape) in enumerate(parameters):
        k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        values = 0.3 * torch.sin(0.37 * k + 1.3 * j) + (0.5 if len(shape) == 1 else 0.0)
        state[name] = values.reshape(shape)
    return state


@pytest.mark.parametrize("name", ["rdbm-t", "rdbm-s", "rdbm-b", "rdbm-l"])
@pytest.mark.parametrize("case", range(6))
def test_new_networks_of_rdbm_give_the_official_output(case: int, name: str) -> None:
    cases: list[dict[str, Any]] = numbers("unet")["cases"]
    found = cases[case]
    parameters = found["parameters"] or cases[case // 3 * 3]["parameters"]
    network = networks.create(name, width=found["dim"], multipliers=found["multipliers"]).double()
    network.load_state_dict(flat_gains(rename(sine_weights(parameters), LUCIDRAINS)))
    side = found["size"]
    k = torch.arange(3 * side * side, dtype=torch.float64).reshape(1, 3, side, side)
    t = torch.tensor([(found["index"] + 1) / 100], dtype=torch.float64)
    with torch.no_grad():
        output = network(torch.sin(0.11 * k), t, torch.cos(0.07 * k))
    torch.testing.assert_close(output, torch.tensor(found["output"], dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_the_details_of_earlier_versions_are_an_option_with_the_same_weights() -> None:
    before, now = (networks.create("rdbm-t", multipliers=(1, 2), released=released) for released in (False, True))
    assert (before.multiple, now.multiple) == (2, 4)
    assert list(before.state_dict()) == list(now.state_dict())
    x, t, y = torch.rand(1, 3, 8, 8), torch.tensor([0.5]), torch.rand(1, 3, 8, 8)
    for network in (before, now):
        for k, weight in enumerate(network.parameters()):
            torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(k))
    with torch.no_grad():
        assert (before(x, t, y) - now(x, t, y)).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 19), (7, 9), (16, 24)])
def test_published_networks_take_any_size(height: int, width: int) -> None:
    x, y = torch.rand(2, 3, height, width), torch.rand(2, 3, height, width)
    t = torch.tensor([3.0, 40.0])
    with torch.no_grad():
        for conditional in (True, False):
            assert ConditionalUNet(width=8, depth=2, conditional=conditional)(x, t, y).shape == x.shape
            nafnet = ConditionalNAFNet(width=8, encoder=(1, 2), decoder=(1, 1), conditional=conditional)
            assert nafnet(x, t, y).shape == x.shape
        for network in (TwoUNets(width=8, multipliers=(1, 2)), SharedEncoder(width=8, multipliers=(1, 2))):
            residual, noise = network(x, t, y, t)
            assert residual.shape == noise.shape == x.shape
        swin = SwinUNet(width=32, multipliers=(1, 1), blocks=(1, 1), attention=(True, True), shifted=(True, False), embed=32,
                        heads=2, window=4)  # fmt: skip
        assert swin(x, t, y).shape == x.shape


def test_the_swin_unet_refuses_a_picture_of_another_size() -> None:
    swin = SwinUNet(
        width=32, multipliers=(1,), blocks=(1,), attention=(True,), shifted=(True,), embed=32, heads=2, window=4
    )
    with pytest.raises(ValueError, match="1 times as large as the latent"):
        swin(torch.rand(1, 3, 8, 8), torch.ones(1), torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("form", ["gopro", "realblur"])
def test_released_hidiff_restores_alike_each_time_unless_its_start_is_random(form: str) -> None:
    y, t = torch.rand(2, 3, 21, 34), torch.ones(2)
    options: dict[str, Any] = SMALL_HIDIFF | {
        "encoder_width": 8,
        "encoder_blocks": 1,
        "denoiser_width": 16,
        "steps": 4,
        "form": form,
    }
    network = ReleasedHiDiff(**options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
        first = network(y, t, y)
        assert first.shape == y.shape
        assert torch.equal(first, network(y, t, y))
        network.random_start = True
        assert not torch.equal(first, network(y, t, y))


@pytest.mark.parametrize("noise", [True, False])
def test_the_released_diffusion_is_the_posterior_mean_on_its_authors_schedule(noise: bool) -> None:
    steps, c, z = 4, torch.rand(1, 2, 3), torch.randn(1, 2, 3)
    network = ReleasedDiffusion(Halves(), steps, noise)
    betas = torch.linspace(0.1, 0.99, steps) if noise else torch.linspace(0.1**0.5, 0.99**0.5, steps).square()
    kept = torch.cat([torch.ones(1), (1 - betas).cumprod(0)])
    expected = z
    for i in range(steps, 0, -1):
        z0 = expected / 2 + 0.1 * i
        if noise:
            z0 = ((expected - (1 - kept[i]).sqrt() * z0) / kept[i].sqrt()).clamp(-1, 1)
        first = kept[i - 1].sqrt() * betas[i - 1] / (1 - kept[i])
        second = (1 - betas[i - 1]).sqrt() * (1 - kept[i - 1]) / (1 - kept[i])
        expected = first * z0 + second * expected
    torch.testing.assert_close(network(c, z), expected, rtol=1e-5, atol=1e-5)


class Halves(nn.Module):
    """A denoiser z/2 + 0.1 step."""

    def forward(self, z: torch.Tensor, step: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return z / 2 + 0.1 * step.reshape(-1, 1, 1)


def test_published_realblur_networks_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = ReleasedHiDiff(expansion=2.0, form="realblur", encoder_blocks=5, denoiser_blocks=5, steps=16)
    assert sizes_of(network) == [22_281_943, 1_506_264, 394_752]


@pytest.mark.parametrize(
    ("name", "params", "sizes"),
    [
        ("hi-diff", {"released": True}, [25_298_923, 558_040, 2_629_937]),
        ("hi-diff-realblur", {}, [22_281_943, 1_506_264, 394_752]),
    ],
)
def test_hidiff_as_released_has_the_released_sizes_and_a_teacher(name: str, params: Any, sizes: list[int]) -> None:
    with torch.device("meta"):
        network: Any = networks.create(name, **params)
    assert isinstance(network, ReleasedHiDiff)
    assert sizes_of(network) == sizes
    assert network.teacher is not None
    teacher = sum(p.numel() for p in network.teacher.parameters())
    assert teacher - sizes[1] == 3 * 16 * 64 * 9  # three more channels, unshuffled by 4, into 64 features of 3x3


def sizes_of(network: ReleasedHiDiff) -> list[int]:
    parts = (network.transformer, network.encoder, network.diffusion)
    return [sum(p.numel() for p in part.parameters()) for part in parts]


@pytest.mark.parametrize("noise", [True, False])
def test_the_released_diffusion_starts_training_at_the_noised_prior(noise: bool) -> None:
    network, z, eps = ReleasedDiffusion(Halves(), 3, noise), torch.ones(1, 1, 1), 2 * torch.ones(1, 1, 1)
    kept = 0.9 * (1 - 0.545) * 0.01 if noise else 0.9 * (1 - ((0.1**0.5 + 0.99**0.5) / 2) ** 2) * 0.01
    share = kept if noise else kept**0.5
    expected = torch.full_like(z, share + 2 * (1 - share**2) ** 0.5)
    torch.testing.assert_close(network.training_start(z, eps), expected)


@pytest.mark.parametrize("params", [{"unshuffle": 2}, {"spectra": 4}, {"prior": "none"}, {"features": 8}])
def test_hidiff_as_released_has_no_options_of_ours(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(params))} cannot be combined with released"):
        networks.create("hi-diff", released=True, **params)
