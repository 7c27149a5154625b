"""Grey images, and arrays of 2, 4 and 6 channels: data, training, model folder, restorer and metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rebridge import Restorer
from rebridge.data import ImageFolder
from rebridge.evaluation import paired_cases, psnr, ssim
from rebridge.training import ConfigError, parse_config, train


def save(path: Path, pixels: np.ndarray, kind: str) -> None:
    """Pixels (H, W, C) in [0, 1] as a file of some kind."""
    if kind == "png":
        Image.fromarray(np.uint8(255 * pixels[..., 0])).save(path.with_suffix(".png"))
    elif kind == "png16":
        Image.fromarray(np.uint16(65535 * pixels[..., 0])).save(path.with_suffix(".png"))
    elif kind == "npy-first":
        np.save(path.with_suffix(".npy"), np.moveaxis(pixels, -1, 0))
    else:
        np.save(path.with_suffix(".npy"), np.uint16(65535 * pixels) if kind == "npy16" else pixels.astype(np.float32))


def pairs(root: Path, channels: int, kind: str) -> Path:
    random = np.random.default_rng(0)
    for name in ("clean", "degraded"):
        (root / name).mkdir()
    for number in range(3):
        coarse = torch.from_numpy(random.uniform(0.2, 0.8, (1, channels, 6, 6)))
        clean = torch.nn.functional.interpolate(coarse, (40, 40), mode="bilinear")[0].permute(1, 2, 0).numpy()
        save(root / "clean" / str(number), clean, kind)
        save(root / "degraded" / str(number), np.clip(clean + random.normal(0, 0.05, clean.shape), 0, 1), kind)
    return root


@pytest.mark.parametrize(
    ("channels", "kind"), [(1, "png"), (1, "png16"), (1, "npy"), (2, "npy"), (4, "npy16"), (6, "npy-first")]
)
def test_a_network_of_other_channels_is_trained_saved_loaded_and_measured(
    tmp_path: Path, channels: int, kind: str
) -> None:
    part = {"task": "real", "clean": pairs(tmp_path, channels, kind) / "clean", "degraded": tmp_path / "degraded"}
    tree = {
        "output": tmp_path / "run",
        "device": "cpu",
        "threads": 1,
        "network": {"name": "fast", "channels": channels, "widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8},
        "sampler": {"name": "dbim", "steps": 2},
        "data": {
            "pairs": [part],
            "validation_pairs": [part],
            "patch": 16,
            "validation_count": 2,
            "validation_size": 16,
        },
        "optimisation": {"iterations": 2, "batch": 2, "warmup": 0},
    }
    result = train(parse_config(tree))
    assert result.model is not None
    assert all(np.isfinite(value) for value in result.psnr.values())
    restore = Restorer.from_pretrained(result.model, "cpu")
    clean, degraded = paired_cases(tmp_path, channels=channels)[0].load()
    assert clean.shape == (channels, 40, 40)
    restored = restore(degraded[None])
    assert restored.shape == (1, channels, 40, 40)
    array = degraded.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(restore(array), restored[0].permute(1, 2, 0).numpy(), atol=1e-6)
    assert psnr(restored, clean[None], rounded=False).isfinite().all()
    assert ssim(restored, clean[None]).isfinite().all()


def test_floats_are_kept_and_measured_beyond_eight_bits(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    np.save(tmp_path / "a.npy", values)
    read = ImageFolder(tmp_path, channels=1)[0]
    assert torch.equal(read[0], torch.from_numpy(values))
    moved = (read + 1e-4).clamp(0, 1)
    assert psnr(moved[None], read[None], rounded=False).item() == pytest.approx(80, abs=0.1)


def test_what_has_other_channels_or_values_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 5), np.float32))
    with pytest.raises(ValueError, match=r"a\.npy has the shape \(8, 8, 5\), and an image of 4 channels is wanted"):
        ImageFolder(tmp_path, channels=4)[0]
    np.save(tmp_path / "a.npy", np.full((8, 8), 700.0))
    with pytest.raises(ValueError, match=r"values must lie in \[0, 1\], or be uint8 or uint16, got 700 to 700"):
        ImageFolder(tmp_path, channels=1)[0]


def test_tasks_of_coloured_images_are_refused_for_other_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((32, 32, 4)))
    tree = {
        "output": tmp_path / "run",
        "network": {"name": "fast", "channels": 4},
        "data": {"clean": tmp_path, "tasks": {"haze": 1.0}, "patch": 16},
    }
    with pytest.raises(ConfigError, match=r"data\.tasks\.haze: the task 'haze' is of grey or coloured images"):
        train(parse_config(tree))
