"""Bridges in the latents of a tiny autoencoder: the recipes train, and what they export restores images by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rebridge import Restorer
from rebridge.models.autoencoders import DIFFUSERS_KL, PUBLISHED_VQ, Autoencoder, build_autoencoder, save_autoencoder
from rebridge.models.trained import TrainedModel
from rebridge.training import load_config, train

diffusers = pytest.importorskip("diffusers")
LATENT = Path(__file__).parents[2] / "configs" / "latent"
VQ = {"name": PUBLISHED_VQ, "width": 32, "multipliers": [1, 2], "blocks": 1, "codes": 16, "middle_attention": False}
KL = {"name": DIFFUSERS_KL, "block_out_channels": [8, 16], "norm_num_groups": 8, "latent_channels": 4,
      "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}  # fmt: skip
SMALL = ("network.widths=[4,8]", "network.blocks=[1]", "network.middle=1", "network.embedding=8", "device=cpu",
         "optimisation.iterations=2", "optimisation.batch=2", "data.patch=16", "data.validation_size=16",
         "data.validation_count=1", "data.holdout=1", "threads=1", "trackers=[]")  # fmt: skip


@pytest.fixture(scope="module")
def autoencoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("autoencoders")
    return {
        name: save_autoencoder(build_autoencoder(config), place / name) for name, config in (("vq", VQ), ("kl", KL))
    }


@pytest.mark.parametrize(("recipe", "kind"), [("bbdm", "vq"), ("resshift", "vq"), ("lbm", "kl")])
def test_a_latent_recipe_trains_and_its_model_restores_with_its_own_autoencoder(
    recipe: str, kind: str, autoencoders: dict[str, Path], photographs: Path, tmp_path: Path
) -> None:
    place = tmp_path / "autoencoder"
    shutil.copytree(autoencoders[kind], place)
    own = (f"space.autoencoder={place}", f"data.clean={photographs}", f"output={tmp_path / 'run'}")
    result = train(load_config(LATENT / f"{recipe}.yaml", [*SMALL, *own]))
    assert result.psnr
    shutil.rmtree(place)  # the exported folder holds all that restoring needs
    restore = Restorer.from_pretrained(tmp_path / "run" / "model", device="cpu")
    assert isinstance(restore.model, TrainedModel)
    assert restore.model.autoencoder is not None
    image = np.random.default_rng(0).random((21, 30, 3)).astype(np.float32)
    restored = restore(image, steps=2)
    assert restored.shape == image.shape
    assert np.isfinite(restored).all()
    other = Restorer(restore.model, "goub:lam=0.1", "dbim:steps=2")  # any other bridge runs in the same latents
    assert other(image).shape == image.shape


def test_maps_beside_latents_have_their_size(autoencoders: dict[str, Path], photographs: Path, tmp_path: Path) -> None:
    own = (f"space.autoencoder={autoencoders['vq']}", f"data.clean={photographs}", f"output={tmp_path / 'run'}")
    told = ("network.conditions={depth: map}", f"data.conditions={{depth: {photographs}}}")
    recipe = LATENT / "bbdm.yaml"
    with pytest.raises(ValueError, match="has 3 channels, and 2 are wanted"):
        train(load_config(recipe, [*SMALL, *own, "network.conditions={depth: {form: map, size: 2}}", told[1]]))
    assert train(load_config(recipe, [*SMALL, *own, *told])).psnr
    restore = Restorer.from_pretrained(tmp_path / "run" / "model", device="cpu")
    network = restore.model.network
    assert network is not None
    for name in ("extra.maps.weight", "tail.weight"):
        torch.nn.init.normal_(network.get_parameter(name), std=0.3)
    image, depth = torch.rand(1, 3, 150, 90), torch.rand(1, 150, 90)
    whole = restore(image, steps=2, depth=depth)
    assert whole.shape == image.shape
    other = (restore(image, steps=2, depth=depth.flip(-1)) - whole).abs().mean()
    tiled = (restore(image, steps=2, depth=depth, tile=64, overlap=32) - whole).abs().mean()
    assert 3 * tiled < other


def test_an_autoencoder_of_diffusers_serves_as_its_folder_is(tmp_path: Path) -> None:
    from rebridge.models.autoencoders import load_autoencoder

    torch.manual_seed(0)
    settings = {key: value for key, value in KL.items() if key != "name"}
    vae = diffusers.AutoencoderKL(**settings, scaling_factor=0.5, shift_factor=0.1)
    vae.save_pretrained(tmp_path)
    found: Autoencoder = load_autoencoder(tmp_path)
    image = torch.rand(1, 3, 16, 12) * 2 - 1
    with torch.no_grad():
        mode = vae.encode(image).latent_dist.mode()
        assert torch.allclose(found.encode(image), (mode - 0.1) * 0.5, atol=1e-6)
        assert torch.allclose(found.decode(found.encode(image)), vae.decode(mode).sample, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("network.channels=4", "its latents have 3 channels"),
        ("data.patch=15", "must be a multiple of 2"),
        ("clamp=true", "latents are not confined to a range"),
        ("space.autoencoder=nowhere", "holds no autoencoder"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    change: str, sentence: str, autoencoders: dict[str, Path], photographs: Path, tmp_path: Path
) -> None:
    own = (f"space.autoencoder={autoencoders['vq']}", f"data.clean={photographs}", f"output={tmp_path / 'run'}")
    with pytest.raises(ValueError, match=sentence):
        train(load_config(LATENT / "bbdm.yaml", [*SMALL, *own, change]))


def test_pixels_are_trained_as_before(tiny: Callable[..., Any]) -> None:
    assert tiny().space is None
    assert tiny().clamp
