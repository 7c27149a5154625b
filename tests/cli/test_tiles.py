"""Latent models obey --tile: the network sees several latent tiles, and their blend is close to the whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rebridge.cli import app

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


def test_a_latent_model_restores_in_tiles_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import UNet2DConditionModel

    from tests.models import tiny_pipelines as tiny

    folder = tiny.save_stable_diffusion(tmp_path / "sd")
    control = tiny.save_controlnet(folder, tmp_path / "control")
    pixels = torch.rand(12, 16, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    Image.fromarray(pixels).resize((192, 128), Image.Resampling.BICUBIC).save(tmp_path / "in.png")
    seen: list[tuple[int, ...]] = []
    forward = UNet2DConditionModel.forward

    def spy(self: UNet2DConditionModel, sample: torch.Tensor, *args: object, **kwargs: object) -> object:
        seen.append(tuple(sample.shape[-2:]))
        return forward(self, sample, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", spy)
    found = []
    for tile in (0, 96):
        seen.clear()
        out = tmp_path / f"{tile}.png"
        words = ["restore", tmp_path / "in.png", "-o", out, "--method", "irbridge", "--model", folder, "--steps", 2]
        result = CliRunner().invoke(
            app, [str(word) for word in (*words, "--controlnet", control, "--tile", tile, "--overlap", 48)]
        )
        assert result.exit_code == 0, result.output
        found.append(np.asarray(Image.open(out)).astype(float))
        if tile == 0:
            assert set(seen) == {(64, 96)}
        else:
            assert len(set(seen)) == 1
            assert max(seen[0]) <= 48
            assert len(seen) >= 2 * 4
    assert np.abs(found[0] - found[1]).mean() < 5
