"""Published checkpoints as models: opened, restoring pictures, saved as ordinary folders, used as priors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rebridge
from rebridge.denoisers import as_estimate
from rebridge.models import ModelError, TrainedModel, load_model, load_prior
from rebridge.models.formats import detect
from rebridge.models.formats.checkpoint import model_of
from rebridge.models.formats.published import convert
from tests.published import reference, state, weights

PIXELS = [
    "diffuir_unet",
    "rddm_two_unets",
    "irsde_conditional_unet",
    "irsde_conditional_nafnet",
    "hidiff",
    "irsde_denoising_unet",
]


def saved(folder: Path, content: Any, name: str = "model.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def picture(height: int = 30, width: int = 41) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", PIXELS)
def test_a_file_restores_a_picture_of_any_size_and_becomes_a_folder(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, state(name))
    assert detect(path) == "published"
    model = load_model(path)
    assert isinstance(model, TrainedModel)
    restored = rebridge.Restorer(model)(picture(), steps=2, seed=0)
    assert restored.shape == picture().shape
    model.save_pretrained(tmp_path / "folder")
    again = load_model(tmp_path / "folder")
    assert isinstance(again, TrainedModel)
    assert again.info.sampler == model.info.sampler
    assert again.info.tasks == model.info.tasks
    assert again.denoiser.clamp == model.denoiser.clamp
    found = rebridge.Restorer(again)(picture(), steps=2, seed=0)
    # weights of folders lie in another layout, in which sums end otherwise
    assert np.abs(found.astype(int) - restored).max() <= 1
    assert again.info.licence is not None
    assert "MIT" in again.info.licence or name in ("rddm_two_unets", "hidiff")


@pytest.mark.parametrize("name", ["i2sb_adm", "ddbm_adm", "adm_uncond256", "ddpm_celebahq", "irsde_denoising_nafnet"])
def test_five_steps_of_dbim_restore_with_every_network_of_pixels(tmp_path: Path, name: str) -> None:
    pytest.importorskip("diffusers")
    weights = state(name)
    if name == "i2sb_adm":
        weights = {f"diffusion_model.{key}": value for key, value in weights.items()}
    family = "auto:head_width=16" if "adm" in name else "auto"
    model = load_model(saved(tmp_path, weights), device="cpu", family=family)
    restored = rebridge.Restorer(model)(picture(21, 26), sampler="dbim", steps=5, seed=0)
    assert restored.shape == (21, 26, 3)


@pytest.mark.parametrize("name", ["diffuir_unet", "irsde_conditional_unet"])
def test_the_recommended_sampler_is_the_authors(tmp_path: Path, name: str) -> None:
    model = load_model(saved(tmp_path, state(name)))
    expected = {"diffuir_unet": ("increments", 3), "irsde_conditional_unet": ("dbim", 100)}[name]
    assert (model.info.sampler["name"], model.info.sampler["steps"]) == expected
    few = rebridge.Restorer(model, sampler={"name": "dbim", "steps": 2})
    assert few(picture(), seed=0).shape == picture().shape


@pytest.mark.parametrize("name", ["adm_uncond256", "ddpm_celebahq"])
def test_priors_need_no_condition_and_survive_a_folder(tmp_path: Path, name: str) -> None:
    pytest.importorskip("diffusers")
    options: dict[str, Any] = {"head_width": 16} if name.startswith("adm") else {}
    model = model_of(convert(saved(tmp_path, state(name)), **options), "prior")
    assert not model.info.conditional
    x, t = torch.rand(1, 3, 32, 32), torch.tensor([0.5])
    with torch.no_grad():
        found: Any = model.given(None)(x, t, x)
        model.save_pretrained(tmp_path / "folder")
        again = load_prior(tmp_path / "folder", device="cpu")
        repeated: Any = again.given(None)(x, t, x)
        assert torch.equal(repeated, found)
    assert not again.info.conditional


def bbdm(folder: Path) -> Any:
    """BBDM with its autoencoder, from one file."""
    pytest.importorskip("diffusers")
    part = {f"denoise_fn.{key}": value for key, value in weights(reference("bbdm_ldm_unet")["tiny_shapes"]).items()}
    space = {f"vqgan.{key}": value for key, value in state("resshift_vqgan_f4").items()}
    return convert(saved(folder, {"model": part | space}), head_width=16)


def resshift(folder: Path) -> Any:
    """ResShift and its autoencoder, from two files."""
    pytest.importorskip("diffusers")
    unet = saved(folder, state("resshift_swinunet"), "resshift.pth")
    return convert([unet, saved(folder, state("resshift_vqgan_f4"), "vq.pth")])


@pytest.mark.parametrize("build", [bbdm, resshift])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_latent_model_becomes_a_folder_with_its_autoencoder(tmp_path: Path, build: Any, dtype: Any) -> None:
    model = model_of(build(tmp_path), "latent")
    model.save_pretrained(tmp_path / "folder", dtype=dtype)
    again = load_model(tmp_path / "folder", device="cpu")
    assert (again.parameters, again.space.scale) == (model.parameters, 4)
    restored = rebridge.Restorer(model)(picture(), steps=2, seed=0)
    found = rebridge.Restorer(again)(picture(), steps=2, seed=0)
    if dtype is None:
        assert np.array_equal(found, restored)
    assert found.shape == picture().shape
    tiled = rebridge.Restorer(again)(picture(70, 131), steps=1, seed=0, tile=64)
    assert tiled.shape == (70, 131, 3)


@pytest.mark.parametrize(
    "name", ["diffuir_unet", "irsde_conditional_nafnet", "hidiff", "rddm_two_unets", "ddpm_celebahq"]
)
def test_weights_in_bfloat16_stay_so_and_states_do_not(tmp_path: Path, name: str) -> None:
    full = model_of(convert(saved(tmp_path, state(name))), "model")
    full.save_pretrained(tmp_path / "folder", dtype=torch.bfloat16)
    half = load_model(tmp_path / "folder", device="cpu")
    assert half.network is not None
    assert {value.dtype for value in half.network.parameters()} == {torch.bfloat16}
    y, t = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0.4])
    condition = None if half.process.generative else y
    with torch.no_grad():
        found, expected = (as_estimate(model.given(condition)(y, t, y)).x0 for model in (half, full))
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.12 * expected.abs().mean()
    wide = load_model(tmp_path / "folder", device="cpu", dtype="float32")
    assert wide.network is not None
    assert {value.dtype for value in wide.network.parameters()} == {torch.float32}


def test_a_file_of_the_hub_loads_by_its_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commit = "0123456789" * 4
    repository = tmp_path / "models--someone--weights"
    (repository / "snapshots" / commit).mkdir(parents=True)
    saved(repository / "snapshots" / commit, state("diffuir_unet"), "model-300.pt")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_model("someone/weights/model-300.pt", device="cpu").process.name == "diffuir"
    with pytest.raises(ModelError, match=r"file 'someone/weights/other\.pt' .* HF_HUB_OFFLINE"):
        load_model("someone/weights/other.pt")


@pytest.mark.parametrize("task", [None, "edges2handbags", "diode"])
def test_a_published_repository_loads_by_its_id_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str | None
) -> None:
    commit = "0123456789" * 4
    repository = tmp_path / "models--alexzhou907--DDBM"
    (repository / "snapshots" / commit).mkdir(parents=True)
    name = "diode_ema_0.9999_440000.pt" if task == "diode" else "e2h_ema_0.9999_420000.pt"
    saved(repository / "snapshots" / commit, state("ddbm_adm"), name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = load_model("alexzhou907/DDBM", device="cpu", family="ddbm:head_width=16", task=task)
    assert (model.process.name, model.info.tasks) == ("ddbm-vp", (task or "edges2handbags",))


def test_a_latent_model_restores_through_its_autoencoder(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    part = {f"denoise_fn.{key}": value for key, value in weights(reference("bbdm_ldm_unet")["tiny_shapes"]).items()}
    space = {f"vqgan.{key}": value for key, value in state("resshift_vqgan_f4").items()}
    converted = convert(saved(tmp_path, {"model": part | space}), head_width=16)
    restored = rebridge.Restorer(model_of(converted, "bbdm"))(picture(), steps=2, seed=0)
    assert restored.shape == picture().shape


def test_resshift_restores_with_its_autoencoder_and_is_refused_without(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    unet = saved(tmp_path, state("resshift_swinunet"), "resshift.pth")
    space = saved(tmp_path, state("resshift_vqgan_f4"), "vq.pth")
    model = load_model(unet, autoencoder=space)
    assert rebridge.Restorer(model)(picture(), steps=2, seed=0).shape == picture().shape
    with pytest.raises(ModelError, match="autoencoder that is not in the file"):
        load_model(unet)
    with pytest.raises(ModelError, match="alone it restores nothing"):
        load_model(space)


def test_parts_of_hidiff_are_found_beside_one_another(tmp_path: Path) -> None:
    whole = state("hidiff")
    for part in ("net_d", "net_g", "net_le_dm"):
        inner = {name.removeprefix(f"{part}."): value for name, value in whole.items() if name.startswith(f"{part}.")}
        saved(tmp_path, {"params": inner}, f"{part}.pth")
    assert load_model(tmp_path / "net_g.pth").tasks == ["blur"]


def test_family_and_task_are_options_of_loading(tmp_path: Path) -> None:
    path = saved(tmp_path, state("irsde_conditional_unet"))
    model = load_model(path, family="goub", task="inpaint")
    assert (model.process.name, model.tasks) == ("goub", ["inpaint"])
    with pytest.raises(ModelError, match="looks like IR-SDE"):
        load_model(path, family="diffuir")
    with pytest.raises(ModelError, match="has no option guidance"):
        load_model(path, guidance=2.0)


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match=r"bad\.pth is damaged"):
        load_model(tmp_path / "bad.pth")


def test_a_model_can_be_pictured_in_half_precision(tmp_path: Path) -> None:
    model = load_model(saved(tmp_path, state("diffuir_unet")), dtype="bfloat16")
    assert rebridge.Restorer(model)(picture(), seed=0).shape == picture().shape
