"""What an exported model restores is what `Restorer` restores, with numpy and onnxruntime alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from rebridge import Restorer, bridges, networks
from rebridge.cli import app
from rebridge.integrations.onnx import export_onnx, export_torch, write_graph
from rebridge.integrations.onnx_runner import DENOISER_FILE, INT8_FILE, OnnxRestorer, TorchNoise
from rebridge.models import ModelError, TrainedModel, load_model
from rebridge.networks import Condition
from rebridge.samplers import ImageNoise

onnxruntime = pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]
JUDGING = dict.fromkeys(("verdict", "air_map", "light_map"), True)
ALONE = """
import runpy, sys
for name in ("torch", "rebridge", "onnx", "PIL"):
    sys.modules[name] = None
run, *words = sys.argv[1:]
sys.argv = [run, *words]
runpy.run_path(run, run_name="__main__")
"""


def picture(height: int, width: int, seed: int = 0) -> Any:
    rows, columns, colour = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    smooth = 120 + 90 * np.sin(rows / 5 + colour) * np.cos(columns / 7)
    return np.clip(smooth + np.random.default_rng(seed).normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def shaken(network: nn.Module) -> nn.Module:
    """With weights that let every part count."""
    torch.manual_seed(1)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.08)
    return network.eval()


@pytest.fixture(scope="module")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "tiny"
    result = CliRunner().invoke(app, ["export", str(model_folder), "-o", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["difference"] <= 1 / 255
    assert {"denoiser.onnx", "run.py", "sampling.json"} <= set(found["files"])
    return folder


@pytest.mark.parametrize(("size", "steps", "seed"), [((33, 50), None, 0), ((16, 7), 1, 3), ((64, 40), 8, 11)])
def test_the_runner_gives_the_pixels_of_the_restorer(
    exported: Path, model_folder: Path, size: tuple[int, int], steps: int | None, seed: int
) -> None:
    restore = Restorer.from_pretrained(model_folder, device="cpu")
    image = picture(*size)
    found = OnnxRestorer(exported)(image, steps=steps, seed=seed).astype(int)
    assert np.abs(found - restore(image, steps=steps, seed=seed).astype(int)).max() <= 1
    smooth = image.astype(np.float32) / 255
    assert np.allclose(OnnxRestorer(exported)(smooth, seed=seed), restore(smooth, seed=seed), atol=1e-4)


def test_a_folder_runs_without_torch_and_without_rebridge(exported: Path, model_folder: Path, tmp_path: Path) -> None:
    image = picture(30, 41)
    np.save(tmp_path / "in.npy", image)
    words = [str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy"), "--seed", "4"]
    subprocess.run([sys.executable, "-c", ALONE, str(exported / "run.py"), *words], check=True, cwd=tmp_path)
    wanted = Restorer.from_pretrained(model_folder, device="cpu")(image, seed=4)
    assert np.abs(np.load(tmp_path / "out.npy").astype(int) - wanted.astype(int)).max() <= 1


def test_the_graph_takes_any_time_batch_and_size(exported: Path, model_folder: Path) -> None:
    session = onnxruntime.InferenceSession(exported / DENOISER_FILE, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["x", "t", "y"]
    model: Any = load_model(model_folder, device="cpu")
    for batch, height, width in ((1, 20, 33), (3, 9, 64)):
        x, y = (torch.rand(batch, 3, height, width) * 2 - 1 for _ in range(2))
        t = torch.cat([torch.tensor([1.0]), torch.rand(batch - 1)])
        found = session.run(None, {"x": x.numpy(), "t": t.numpy(), "y": y.numpy()})[0]
        assert np.allclose(found, model.denoiser(x, t, y).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fast", {"widths": (8, 8), "blocks": (1,), "kinds": 3, "equalise": True, "ripples": True, "fill": True}),
        ("careful", {"widths": (8, 8), "blocks": (1,), "middle": 1, "features": 8, **JUDGING}),
        ("hi-diff-tiny", {"widths": (8, 8, 8), "blocks": (1,) * 3, "heads": (1,) * 3, "dense": 1, "encoder_width": 8}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_networks_that_branch_and_transform_export_too(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    network = shaken(networks.create(name, **options))
    write_graph(TrainedModel.of(network, bridges.create("rdbm"), "residual").denoiser, tmp_path / "x.onnx", 3)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for batch, height, width in ((1, 50, 70), (1, 21, 96), (3, 128, 33)):
        pictures = np.stack([picture(height, width, seed) for seed in range(batch)])
        y = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        feed = {"x": y, "t": torch.full((batch,), 0.7), "y": y}
        with torch.no_grad():
            change = network(*feed.values())
            wanted = change + y
        names = {value.name for value in session.get_inputs()}
        found = session.run(None, {key: value.numpy() for key, value in feed.items() if key in names})[0]
        # shaken weights change a picture by several times its range, and that by what a decision has in its last digits
        tolerance = 3e-3 * max(float(change.abs().max()), 1.0)
        assert np.abs(found - wanted.clamp(-1, 1).numpy()).max() < tolerance, (height, width)


def test_noise_is_that_of_torch() -> None:
    for shape in ((3, 5, 7), (3, 1, 1), (1, 2, 2), (3, 16, 16)):
        ours, theirs = TorchNoise(5, 2), ImageNoise([5], 2)
        for _ in range(3):  # a second draw goes on where the first one ended
            assert np.allclose(ours(shape), theirs(torch.zeros(1, *shape))[0].numpy(), atol=2e-6)


def test_eight_bits_are_written_where_they_cost_little_and_else_not(model_folder: Path, tmp_path: Path) -> None:
    from rebridge.integrations.int8 import quantise_export

    clean = picture(48, 48)
    pairs = [(clean, picture(48, 48, seed)) for seed in (1, 2)]
    found = export_onnx(load_model(model_folder, device="cpu"), tmp_path, pairs, int8=False)
    assert INT8_FILE not in found.files
    kept = quantise_export(tmp_path, pairs, most=50.0)
    assert kept.way
    graph = onnx.load(tmp_path / INT8_FILE).graph
    assert any(item.data_type == onnx.TensorProto.INT8 for item in graph.initializer)
    small = OnnxRestorer(tmp_path, int8=True)(clean).astype(float)
    assert np.sqrt(np.mean((small - OnnxRestorer(tmp_path)(clean)) ** 2)) < 12
    refused = quantise_export(tmp_path, pairs, most=-50.0)
    assert (refused.way, (tmp_path / INT8_FILE).exists()) == ("", False)
    assert "no int8 network is written" in refused.note
    with pytest.raises(ValueError, match="has no int8 network"):
        OnnxRestorer(tmp_path, int8=True)


def test_torch_export_gives_the_same_estimates(
    model_folder: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model: Any = load_model(model_folder, device="cpu")
    assert export_torch(model, tmp_path).files == ("denoiser.pt2",)
    assert not [caught for caught in recwarn if "complete tensor" in str(caught.message)]
    denoise = torch.export.load(tmp_path / "denoiser.pt2").module()
    for batch, height, width in ((1, 64, 32), (2, 32, 96)):
        x, y = (torch.rand(batch, 3, height, width) * 2 - 1 for _ in range(2))
        t = torch.rand(batch)
        assert torch.allclose(denoise(x, t, y), model.denoiser(x, t, y), atol=1e-4)


@pytest.fixture(scope="module")
def informed() -> TrainedModel:
    """A model whose network is told something of every form."""
    declared = {
        "depth": "map",
        "sides": {"form": "map", "size": 3},
        "sigma": {"form": "number", "scale": 0.5},
        "scene": {"form": "class", "size": 3},
        "blur": {"form": "kernel", "size": 3},
        "text": {"form": "vector", "size": 4},
    }
    network = shaken(networks.create("fast", widths=(8, 8), blocks=(1,), middle=1, embedding=8, conditions=declared))
    for weight in network.get_submodule("extra").parameters():
        weight.data *= 5
    process = bridges.create("rdbm")
    return TrainedModel.of(network, process, "residual", sampler={"name": "dbim", "steps": 2}, tasks=["noise"])


def told(height: int, width: int) -> dict[str, Any]:
    draw = np.random.default_rng(height)
    maps = {"depth": draw.random((height, width), np.float32), "sides": picture(height, width, 5)}
    kernel, text = draw.random((3, 3), np.float32), draw.standard_normal(4).astype(np.float32)
    return {**maps, "sigma": 0.3, "scene": 2, "blur": kernel, "text": text}


def test_extra_conditions_are_further_inputs_by_name(informed: TrainedModel, tmp_path: Path) -> None:
    pairs = [(picture(48, 40), picture(48, 40, 1))]
    found = export_onnx(informed, tmp_path / "out", pairs)
    assert found.difference < 1e-4
    assert found.int8.lost is not None
    runner, restore = OnnxRestorer(tmp_path / "out"), Restorer(informed)
    names = ["x", "t", "y", *informed.info.conditions]
    session = onnxruntime.InferenceSession(tmp_path / "out" / DENOISER_FILE, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == names
    assert list(runner.conditions) == names[3:]
    for size in ((33, 50), (16, 21)):
        image, given = picture(*size).astype(np.float32) / 255, told(*size)
        restored = restore(image, **given)
        assert np.abs(runner(image, **given) - restored).max() < 1e-4
        for name, other in (("depth", 1 - given["depth"]), ("scene", 0), ("text", -given["text"]), ("sigma", 3.0)):
            assert np.abs(runner(image, **{**given, name: other}) - restored).max() > 1e-3, name
    batch, given = np.stack([picture(24, 32, seed) for seed in range(2)]), told(24, 32)
    given["sigma"] = np.array([0.1, 0.5], np.float32)
    for row, level in enumerate((0.1, 0.5)):
        alone = runner(batch[row], **{**given, "sigma": level})
        assert np.array_equal(runner(batch, **given)[row], alone)


class Windowed(networks.Network):
    """One convolution over the picture and a map, in windows of 64 pixels."""

    conditions = {"depth": Condition("map"), "sigma": Condition("number")}  # noqa: RUF012
    window = 64

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 3, 5, padding=2)

    def forward(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layer(torch.cat([y, given["depth"]], 1)) * given["sigma"].view(-1, 1, 1, 1)
        return output


def test_maps_are_cut_with_the_windows_of_a_picture(tmp_path: Path) -> None:
    model = TrainedModel.of(
        shaken(Windowed()), bridges.create("rdbm"), "residual", sampler={"name": "dbim", "steps": 2}
    )
    export_onnx(model, tmp_path, int8=False)
    image, given = picture(150, 203).astype(np.float32) / 255, {"depth": told(150, 203)["depth"], "sigma": 0.5}
    assert np.allclose(OnnxRestorer(tmp_path)(image, **given), Restorer(model)(image, **given), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": None}, "the model needs the condition 'depth', a map of size 1"),
        ({"fog": 1}, "takes no condition 'fog'; its conditions are depth, sides, sigma"),
        ({"depth": np.zeros((9, 9), np.float32)}, "'depth' must have the shape"),
        ({"scene": 3}, "'scene' is a class from 0 to 2"),
        ({"text": [0.0, np.nan, 0.0, 0.0]}, "'text' must be finite"),
    ],
)
def test_the_runner_says_what_is_wrong_with_a_condition(
    informed: TrainedModel, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    export_onnx(informed, tmp_path, int8=False)
    given = {name: value for name, value in (told(16, 16) | change).items() if value is not None}
    with pytest.raises(ValueError, match=sentence):
        OnnxRestorer(tmp_path)(picture(16, 16), **given)


def test_the_runner_alone_reads_conditions_as_the_command_line_does(informed: TrainedModel, tmp_path: Path) -> None:
    model, given = informed.save_pretrained(tmp_path / "model"), told(30, 41)
    done = CliRunner().invoke(app, ["export", str(model), "-o", str(tmp_path / "out"), "--no-int8"])
    assert done.exit_code == 0, done.output
    words: list[str] = []
    for name, value in given.items():
        words += ["--condition", f"{name}={value}" if np.ndim(value) == 0 else f"{name}={tmp_path / name}"]
        if np.ndim(value):
            (tmp_path / name).mkdir()
            np.save(tmp_path / name / "in.npy", value)
    np.save(tmp_path / "in.npy", picture(30, 41))
    command = [str(tmp_path / "in.npy"), "-o", str(tmp_path / "out.npy"), *words]
    subprocess.run([sys.executable, "-c", ALONE, str(tmp_path / "out" / "run.py"), *command], check=True, cwd=tmp_path)
    wanted = Restorer.from_pretrained(model, device="cpu")(picture(30, 41), **given)
    assert np.abs(np.load(tmp_path / "out.npy").astype(int) - wanted.astype(int)).max() <= 1


def test_a_program_of_torch_export_takes_conditions_by_name(informed: TrainedModel, tmp_path: Path) -> None:
    export_torch(informed, tmp_path)
    denoise = torch.export.load(tmp_path / "denoiser.pt2").module()
    x, y = (torch.rand(1, 3, 64, 32) * 2 - 1 for _ in range(2))
    given = {"depth": torch.rand(1, 1, 64, 32), "sides": torch.rand(1, 3, 64, 32), "sigma": torch.tensor([0.2])}
    given |= {"scene": torch.tensor([1]), "blur": torch.rand(1, 3, 3), "text": torch.randn(1, 4)}
    t = torch.rand(1)
    wanted: Any = informed.given(y / 2 + 0.5, **given)(x, t, y)
    assert torch.allclose(denoise(x, t, y, **given), wanted, atol=1e-4)


def test_what_cannot_be_exported_is_one_sentence(exported: Path, model_folder: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    again = run(app, ["export", str(model_folder), "-o", str(exported)])
    assert again.exit_code == 2
    assert "holds an export already" in again.stderr
    odd = run(app, ["export", str(model_folder), "-o", str(tmp_path / "x"), "--sampler", "multiplicative:steps=3"])
    assert odd.exit_code == 2
    assert "cannot be exported" in odd.stderr
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="steps must be one of 1, 2, 3"):
        OnnxRestorer(exported)(picture(16, 16), steps=7)
    with pytest.raises(ValueError, match="holds no exported model"):
        OnnxRestorer(tmp_path)
    with pytest.raises(ModelError, match="no network on a bridge"):
        export_torch(Restorer(lambda x, t, y: y, bridges.create("goub")).model, tmp_path)
