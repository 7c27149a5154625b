"""The configurations of the paper's tasks run as they stand for someone who has the data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rebridge.data.layouts import LAYOUTS
from rebridge.training import load_config, train_file
from rebridge.training.config import DataConfig
from rebridge.training.config_files import expand, read_tree

CONFIGS = Path(__file__).parents[3] / "configs" / "irbridge"
TASKS = ("rain", "haze", "snow", "raindrop", "lowlight", "inpaint")
NAMES = {
    "rain100h": ("rain/rain-1", "norain/norain-1"),
    "reside-ots": ("hazy/0001_0.8_0.2", "clear/0001"),
    "reside-sots": ("hazy/0001_0.8_0.2", "gt/0001"),
    "snow100k": ("synthetic/1", "gt/1"),
    "raindrop": ("data/0_rain", "gt/0_clean"),
    "lol": ("low/1", "high/1"),
}
"""How each data set names a degraded and a clean image."""


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path.with_suffix(".png") if not path.suffix else path)


def pretend(data: DataConfig) -> None:
    """Put one pair (or a few images) where a configuration looks for its data."""
    for pairs in (*data.pairs, *data.validation_pairs):
        assert pairs.root is not None
        assert pairs.layout is not None
        assert LAYOUTS[pairs.layout].task == pairs.task
        for name in NAMES[pairs.layout]:
            photograph(expand(pairs.root, "root") / f"{name}.png")
    if isinstance(data.clean, Path):
        for number in range(data.holdout + 2):
            photograph(expand(data.clean, "clean") / f"{number}.png")


def run(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    monkeypatch.chdir(folder)
    small = ("device=cpu", "precision=fp32", "data.patch=32", "data.validation_size=32", "data.workers=0")
    count = ("data.validation_count=1", "optimisation.iterations=1", "optimisation.batch=1")
    result = train_file(config, [*small, *count, *overrides])
    assert result.model is not None
    assert result.psnr


@pytest.mark.parametrize("task", TASKS)
def test_the_pixel_prior_trains_on_the_data_set_of_each_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REBRIDGE_DATA", str(tmp_path / "data"))
    path = CONFIGS / f"pixel-{task}.yaml"
    pretend(load_config(path).data)
    run(
        path,
        tmp_path,
        monkeypatch,
        "network.widths=[4, 8]",
        "network.blocks=[1]",
        "network.middle=1",
        "sampler.steps=2",
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_controlnet_trains_on_the_data_set_of_each_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("diffusers")
    from tests.models.tiny_pipelines import save_stable_diffusion

    path = CONFIGS / f"{task}.yaml"
    config = load_config(path)
    # the recipe of the paper
    optimisation = config.optimisation
    assert (optimisation.lr, optimisation.iterations, optimisation.batch) == (5e-5, 10_000, 12)
    assert (optimisation.betas, optimisation.weight_decay, optimisation.eps) == ((0.9, 0.999), 1e-2, 1e-8)
    monkeypatch.setenv("REBRIDGE_DATA", str(tmp_path / "data"))
    pretend(config.data)
    run(path, tmp_path, monkeypatch, f"prior={save_stable_diffusion(tmp_path / 'sd')}", "steps=2")


@pytest.mark.parametrize("name", ["synthetic", "pixel-synthetic"])
def test_the_same_six_tasks_have_synthetic_configurations(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    assert set(read_tree(path)["data"]["tasks"]) == set(TASKS)


def test_files_that_build_on_one_another_in_a_circle_are_refused(tmp_path: Path) -> None:
    from rebridge.training import ConfigError

    (tmp_path / "a.yaml").write_text("base: b.yaml\nseed: 1\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nseed: 2\n")
    with pytest.raises(ConfigError, match="build on one another in a circle"):
        read_tree(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("seed: 2\ndata: {patch: 64, clean: x}\n")
    (tmp_path / "a.yaml").write_text("base: b.yaml\nseed: 1\ndata: {patch: 32}\n")
    assert read_tree(tmp_path / "a.yaml") == {"seed": 1, "data": {"patch": 32, "clean": "x"}}
