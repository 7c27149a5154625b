"""Dialects turn official calls into x0: time tables, scalings and whole chains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges, samplers
from rebridge.denoisers import Estimate, NetworkDenoiser
from rebridge.models.formats.published import build, convert
from rebridge.models.formats.published.ddbm import DDBMDialect
from rebridge.models.formats.published.i2sb import I2SBDialect
from rebridge.models.formats.published.irsde import DenoisingDialect, IRSDEDialect
from tests.published import numbers, state
from tests.reference import Replay, denoiser, inputs

TINY_ADM = {
    "width": 32, "multipliers": [1], "blocks": 1, "attention": [False], "head_width": 16, "outputs": 3,
}  # fmt: skip
TINY_UNET = {"name": "unet", "width": 8, "depth": 2}


class Recorded(nn.Module):
    """A network given by a function that remembers what it was called with."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.calls: list[tuple[Tensor, ...]] = []

    def forward(self, *arguments: Tensor) -> Any:
        self.calls.append(arguments)
        return self.function(*arguments)


@pytest.mark.parametrize(
    ("name", "chain", "sampler"),
    [
        ("goub", "goub sde", "sde"),
        ("ir-sde", "irsde sde", "sde"),
        ("ir-sde", "irsde posterior", "dbim:eta=1"),
    ],
)
def test_noise_predictors_replay_the_authors_chains(name: str, chain: str, sampler: str) -> None:
    y, noise = inputs()
    y, noise = (y.double() + 1) / 2, noise.double()
    dialect = IRSDEDialect({"name": name, "lam": 30 / 255, "steps": 100, "schedule": "cosine"}, TINY_UNET)
    dialect.network = Recorded(
        lambda x, index, y: 4 * torch.tanh(1.3 * x - 0.7 * y + 0.4 * index.double().reshape(-1, 1, 1, 1) / 100)
    )
    walk = samplers.parse(sampler, steps=100)
    start = None if name == "goub" else y + 30 / 255 * noise[129]
    wrapped = NetworkDenoiser(dialect, dialect.bridge, clamp=False)
    found = walk(dialect.bridge, wrapped, y, x=start, noise=Replay(noise))
    expected = torch.tensor(numbers("ou_noise")[chain], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["ddbm-vp", "ddbm-ve"])
def test_ddbm_scales_as_its_authors_do(name: str) -> None:
    pytest.importorskip("diffusers")
    content = numbers("ddbm_scalings")[name]
    dialect = DDBMDialect(
        {"name": name, **({"sigma_max": content["t_max"]} if name == "ddbm-ve" else {})}, inputs=6, **TINY_ADM
    )
    x, y = torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2, 2)
    answer = torch.rand(1, 3, 2, 2)
    network = Recorded(lambda seen, time: answer)
    dialect.network = network
    for row in content["rows"]:
        t = torch.tensor([row["t"]], dtype=torch.float64)
        found = dialect(x, t, y)
        torch.testing.assert_close(found, row["c_skip"] * x + row["c_out"] * answer, rtol=1e-5, atol=1e-5)
        seen, time = network.calls[-1]
        torch.testing.assert_close(seen, torch.cat([row["c_in"] * x, y], dim=1), rtol=1e-5, atol=1e-5)
        assert time.item() == pytest.approx(row["c_noise"], rel=1e-5)


@pytest.mark.parametrize("modulation", ["one", "zero"])
def test_i2sb_counts_noise_levels_and_divides_by_the_forward_spread(modulation: str) -> None:
    pytest.importorskip("diffusers")
    bridge = bridges.create("i2sb", beta_max=1.0)
    dialect = I2SBDialect({"name": "i2sb", "beta_max": 1.0, "modulation": modulation}, inputs=3, **TINY_ADM)
    network = Recorded(lambda x, level: torch.ones_like(x))
    dialect.network = network
    x = torch.rand(3, 3, 2, 2)
    steps = torch.tensor([0, 500, 999])
    found = dialect(x, steps.double() / 999, x)
    spread = bridge._betas.cumsum(0)[steps].sqrt().float()  # type: ignore[attr-defined]
    torch.testing.assert_close(x - found, spread.reshape(-1, 1, 1, 1).expand_as(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.calls[0][1], (torch.linspace(1e-4, 1, 1000) * 1000)[steps], rtol=1e-5, atol=1e-5)


def test_denoising_finds_the_index_of_a_noise_level() -> None:
    dialect = DenoisingDialect({"name": "ve", "sigma_max": 140 / 255}, TINY_UNET, steps=100)
    i = torch.arange(1, 103, dtype=torch.float64)  # the authors' formula, index by index
    f = (
        torch.cos((i / 102 + 0.008) / 1.008 * torch.pi / 2).square()
        / torch.cos(torch.tensor(0.008 / 1.008 * torch.pi / 2)) ** 2
    )
    thetas = (1 - f)[:-1]
    cumulative = thetas.cumsum(0) - thetas[0]
    clock = cumulative * (-torch.log(torch.tensor(0.04, dtype=torch.float64)) / cumulative[-1])
    share = (1 - torch.exp(-2 * clock)).sqrt()
    found = dialect.index_of(share)
    torch.testing.assert_close(found, torch.arange(101, dtype=torch.float64), rtol=0, atol=1e-3)


def test_denoising_starts_from_the_noisy_image_itself(tmp_path: Path) -> None:
    torch.save(state("irsde_denoising_unet"), tmp_path / "model.pth")
    converted = convert(tmp_path / "model.pth", max_sigma=75, steps=100)
    y = torch.rand(1, 3, 20, 18) * 2 - 1
    level = 25 / 75
    grid = converted.sampler.times(converted.bridge)
    torch.testing.assert_close(grid[0].item(), level, rtol=1e-3, atol=0)
    times = torch.linspace(grid[0], 0, 21, dtype=torch.float64)
    expected = samplers.create("dbim", steps=20)(converted.bridge, converted.denoiser(), y, x=y, times=times)
    torch.testing.assert_close(converted.sampler(converted.bridge, converted.denoiser(), y), expected)


@pytest.mark.parametrize("process", ["vp", "ve", "rectified-flow"])
def test_denoise_begins_where_the_process_has_as_much_noise(process: str) -> None:
    bridge, truth = bridges.create(process), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    walk, seen = samplers.create("denoise", sigma=25, steps=3), []
    y = truth + 2 * 25 / 255 * torch.randn_like(truth)
    walk(bridge, lambda x, t, y: seen.append((x, t)) or truth, y)  # type: ignore[func-returns-value]
    c = bridge.coefficients(seen[0][1].double())
    torch.testing.assert_close(c.gamma / c.alpha, torch.full_like(c.gamma, 50 / 255), rtol=1e-3, atol=0)
    torch.testing.assert_close(seen[0][0], c.alpha * y, rtol=1e-6, atol=1e-6)


def test_rddm_moves_by_both_predictions() -> None:
    y, noise = inputs()
    y, noise = y.double(), noise.double()
    content = numbers("rddm")
    process = bridges.create("rddm", steps=1000, sum_scale=0.01)

    def both(x: Tensor, t: Tensor, y: Tensor) -> Estimate:
        return Estimate(denoiser(x, t, y), torch.tanh(x - y))

    found = samplers.create("increments", steps=10, grid="index")(process, both, y, noise=Replay(noise))
    expected = content["pred_res_noise (noise head tanh(x_t-y)) use_pred_noise eta=0 steps=10"]
    found = found.clamp(-1, 1)  # as the authors do at the end
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [2, 5, 10])
def test_increments_replay_rddm(steps: int) -> None:
    y, noise = inputs()
    process = bridges.create("rddm", steps=1000, sum_scale=0.01)
    walk = samplers.create("increments", steps=steps, grid="index")
    found = walk(process, denoiser, y.double(), noise=Replay(noise.double()))
    expected = torch.tensor(numbers("rddm")[f"pred_res use_pred_noise eta=0 steps={steps}"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [3, 4])
def test_held_increments_replay_diffuir(steps: int) -> None:
    y, noise = inputs()
    walk = samplers.create("increments", steps=steps, grid="index", hold=True, start_noise=0.1)
    found = walk(bridges.create("diffuir"), denoiser, y.double(), noise=Replay(noise.double()))
    expected = torch.tensor(numbers("diffuir")[f"released steps={steps}"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_residual_posterior_replays_resshift_and_rddm() -> None:
    y, noise = inputs()
    y, noise = y.double(), noise.double()
    content = numbers("resshift")["steps=15"]
    process = bridges.create("resshift", steps=15, min_noise=content["min_noise"])
    found = samplers.create("residual-posterior", steps=15)(process, denoiser, y, noise=Replay(noise))
    torch.testing.assert_close(found, torch.tensor(content["posterior"], dtype=torch.float64), rtol=0, atol=1e-9)
    walk = samplers.create("residual-posterior", steps=10, grid="index")
    found = walk(bridges.create("rddm", steps=1000, sum_scale=0.01), denoiser, y, noise=Replay(noise))
    expected = torch.tensor(numbers("rddm")["pred_res use_pred_noise eta=1.0 steps=10"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_samplers_of_published_models_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="start_noise must not be negative"):
        samplers.create("increments", start_noise=-1.0)
    with pytest.raises(ValueError, match="eta must lie in"):
        samplers.create("residual-posterior", eta=2.0)


LATENT = {"bbdm", "resshift"}


@pytest.mark.parametrize("name", ["diffuir_unet", "rddm_two_unets", "irsde_conditional_unet", "irsde_conditional_nafnet",
                                  "hidiff"])  # fmt: skip
@pytest.mark.parametrize("sampler", [None, "dbim", "dbim:2", "ode"])
def test_pixel_models_restore_a_picture_of_any_size(tmp_path: Path, name: str, sampler: str | None) -> None:
    torch.save(state(name), tmp_path / "model.pth")
    converted = convert(tmp_path / "model.pth")
    if sampler == "dbim:2" and converted.bridge.noiseless:
        pytest.skip("order 2 needs noise")
    walk = converted.sampler
    if sampler is not None:
        walk = samplers.create(sampler.split(":")[0], steps=5, **({"order": 2} if ":" in sampler else {}))
    elif walk.steps > 10:
        walk = type(walk)(**walk.params | {"steps": 5})
    low, high = converted.bridge.value_range
    y = low + (high - low) * torch.rand(1, 3, 30, 41, generator=torch.Generator().manual_seed(0))
    wrapped = NetworkDenoiser(converted.network, converted.bridge, clamp=converted.clamp).eval()
    found = walk(converted.bridge, wrapped, y, generator=torch.Generator().manual_seed(1))
    assert found.shape == y.shape
    assert found.isfinite().all()


def test_resshift_asks_for_the_picture(tmp_path: Path) -> None:
    torch.save(state("resshift_swinunet"), tmp_path / "model.pth")
    dialect: Any = convert(tmp_path / "model.pth").network
    y, picture = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match="seeing"):
        dialect(y, torch.ones(1), y)
    assert dialect.seeing(picture)(y, torch.ones(1), y).shape == y.shape


def test_a_configuration_that_fits_no_family_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown published family"):
        build({"name": "nothing"})
    with pytest.raises(ValueError, match="diffuir"):
        build({"name": "diffuir", "colour": 3})
