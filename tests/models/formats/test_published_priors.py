"""Published priors and networks of diffusers alone, in every zero-shot method and inside a bridge."""

from pathlib import Path
from typing import Any

import pytest
import torch

import rebridge
from rebridge import inverse
from rebridge.inverse import operators
from rebridge.models import Model, load_prior
from rebridge.models.formats import detect
from rebridge.models.formats.checkpoint import model_of
from rebridge.models.formats.published import convert
from tests.published import state

FEW: dict[str, dict[str, Any]] = {"deqir": {"steps": 3, "sweeps": 2}, "scd": {"steps": 3, "iterations": 1, "rank": 1}}
EXACT = ("ddnm", "ddrm")
"""Methods whose last step projects on the measurement, whatever the prior says."""
PRIORS = ["adm_uncond256", "adm_ffhq256", "ddpm_celebahq", "unet"]


def unet(folder: Path) -> Path:
    """A `UNet2DModel` with random weights, saved alone."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    diffusers.UNet2DModel(
        sample_size=16, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture
def prior(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    pytest.importorskip("diffusers")
    name = request.param
    if name == "unet":
        return load_prior(unet(tmp_path / "unet"), device="cpu")
    torch.save(state(name), tmp_path / "prior.pt")
    options: dict[str, Any] = {"head_width": 16} if name.startswith("adm") else {}
    converted = convert(tmp_path / "prior.pt", **options)
    model_of(converted, "prior").save_pretrained(tmp_path / "folder")
    return load_prior(tmp_path / "folder", device="cpu")


@pytest.mark.parametrize("prior", PRIORS, indirect=True)
@pytest.mark.parametrize("method", inverse.names())
def test_every_zero_shot_method_takes_a_published_prior(prior: Model, method: str) -> None:
    truth = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    operator = operators.create("sr2", (3, 16, 16))
    measured = rebridge.Measurement(operator.A(truth), operator)
    settings = {"name": method, **FEW.get(method, {"steps": 3})}
    found = rebridge.Restorer(prior)(measured, method=settings, seed=0)
    assert found.shape == truth.shape
    assert found.isfinite().all()
    error = (operator.A(found) - measured.y).square().mean()
    if method in EXACT:
        assert error < 0.01 * measured.y.square().mean()


@pytest.mark.parametrize("prior", PRIORS, indirect=True)
def test_a_prior_restores_inside_a_bridge_at_any_size(prior: Model) -> None:
    picture = torch.rand(1, 3, 21, 34, generator=torch.Generator().manual_seed(0))
    found = rebridge.Restorer(prior, bridge="goub")(picture, steps=2, seed=0)
    assert found.shape == picture.shape
    assert not torch.equal(found, rebridge.Restorer(prior, bridge="goub")(picture, steps=2, seed=1))


def test_a_network_of_diffusers_alone_is_a_prior_by_its_own_schedule(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    folder = unet(tmp_path / "unet")
    assert detect(folder) == "unet"
    prior = load_prior(folder, device="cpu")
    scheduler = diffusers.DDPMScheduler()
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        noise = diffusers.UNet2DModel.from_pretrained(folder)(x, 300).sample
        kept = scheduler.alphas_cumprod[300]
        expected = ((x - (1 - kept).sqrt() * noise) / kept.sqrt()).clamp(-1, 1)
        found: Any = prior.given(None)(x, torch.tensor([301 / 1000]), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction").save_pretrained(folder)
    assert load_prior(folder, device="cpu").process != prior.process
