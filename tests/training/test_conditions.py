"""Extra conditions from the folders of a configuration to the restored picture, by name all the way."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import rebridge
from rebridge import Restorer, networks
from rebridge.cli import app
from rebridge.data import PairedFolder, PairedSource
from rebridge.data.conditions import ConditionFiles
from rebridge.degradations.exposure import to_display, to_linear
from rebridge.evaluation import evaluate, psnr, synthetic_cases, with_conditions
from rebridge.images import read_image
from rebridge.models import ModelError, TrainedModel
from rebridge.networks.conditions import RESERVED, Condition, conditions_of
from rebridge.training import load_config, train
from rebridge.training.config_files import ConfigError
from rebridge.training.data import training_pairs

DECLARED: dict[str, Any] = {
    "depth": "map",
    "sigma": {"form": "number", "scale": 0.5},
    "scene": {"form": "class", "size": 3},
    "blur": {"form": "kernel", "size": 3},
    "text": {"form": "vector", "size": 4},
}
NETWORK = {"name": "fast", "widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8, "conditions": DECLARED}
RUN: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "trackers": [],
    "network": NETWORK,
    "sampler": {"name": "dbim", "steps": 2},
    "prediction": "residual",
    "states": {"end_fraction": 0.5, "rollout_fraction": 0.5, "rollout_again": 0.5},
    "optimisation": {"iterations": 4, "batch": 4, "lr": 0.01, "warmup": 1},
    "log_every": 1,
    "validate_every": 2,
    "checkpoint_every": 4,
}


def as_batch(path: Path) -> Tensor:
    return read_image(path).pixels[None]


def grey(array: np.ndarray[Any, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(array)).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs of 24 x 32 pixels, and a folder for each condition."""
    place, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for number in range(3):
        for side in ("clean", "degraded"):
            grey(random.integers(0, 256, (24, 32, 3)), place / side / f"{number}.png")
        grey(random.integers(0, 256, (24, 32)), place / "depth" / f"{number}.png")
        grey(random.integers(0, 256, (3, 3)), place / "blur" / f"{number}.png")
        for name, value in (("sigma", f"0.{number}\n"), ("scene", str(number))):
            (place / name).mkdir(exist_ok=True)
            (place / name / f"{number}.txt").write_text(value)
        (place / "text").mkdir(exist_ok=True)
        np.save(place / "text" / f"{number}.npy", random.standard_normal(4))
    return place


def pairs(folders: Path, names: Any = tuple(DECLARED)) -> dict[str, Any]:
    return {
        "task": "rain",
        "clean": str(folders / "clean"),
        "degraded": str(folders / "degraded"),
        "conditions": {name: str(folders / name) for name in names},
    }


@pytest.fixture(scope="module")
def model(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for a moment from a file, by the command line."""
    place = tmp_path_factory.mktemp("run")
    data = {"patch": 16, "check_pairs": False, "pairs": [pairs(folders)], "validation_pairs": [pairs(folders)]}
    (place / "run.yaml").write_text(
        yaml.safe_dump({**RUN, "output": str(place / "out"), "data": data}, sort_keys=False)
    )
    done = CliRunner().invoke(app, ["train", str(place / "run.yaml")])
    assert done.exit_code == 0, done.output
    return place / "out" / "model"


@pytest.fixture(scope="module")
def told(folders: Path) -> dict[str, Any]:
    """The conditions of the first picture, as a person has them in Python."""
    return {
        "depth": Image.open(folders / "depth" / "0.png"),
        "blur": np.asarray(Image.open(folders / "blur" / "0.png")) / 255,
        "sigma": 0.0,
        "scene": 0,
        "text": np.load(folders / "text" / "0.npy"),
    }


def test_a_saved_model_declares_its_conditions(model: Path) -> None:
    restore = Restorer.from_pretrained(model)
    assert restore.model.info.conditions == conditions_of(DECLARED)
    card = (model / "README.md").read_text()
    assert "restore(image, seed=0, depth=depth, sigma=sigma, scene=scene, blur=blur, text=text)" in card
    assert "| conditions | depth (a map of 1 channel), sigma (a number), scene (a class from 0 to 2)" in card
    assert json.loads((model / "config.json").read_text())["network"]["conditions"] == DECLARED


def test_the_restorer_and_the_command_line_take_the_same_conditions(
    model: Path, folders: Path, told: dict[str, Any], tmp_path: Path
) -> None:
    words = [word for name in DECLARED for word in ("--condition", f"{name}={folders / name}")]
    command = ["restore", str(folders / "degraded"), "-o", str(tmp_path), "--model", str(model)]
    done = CliRunner().invoke(app, [*command, *words])
    assert done.exit_code == 0, done.output
    restore = Restorer.from_pretrained(model)
    mine = np.asarray(restore(Image.open(folders / "degraded" / "0.png"), **told))
    assert np.array_equal(mine, np.asarray(Image.open(tmp_path / "0.png")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png"]


def test_each_image_of_a_batch_has_its_own_conditions_or_all_share_one(model: Path) -> None:
    restore = Restorer.from_pretrained(model)
    for weight in restore.model.network.parameters():  # type: ignore[union-attr]
        weight.data.normal_(std=0.1, generator=torch.Generator().manual_seed(weight.numel()))
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 24, 32, generator=draw)
    own: dict[str, Any] = {
        "depth": torch.rand(2, 1, 24, 32, generator=draw),
        "blur": torch.rand(2, 3, 3, generator=draw),
        "sigma": torch.tensor([0.1, 0.4]),
        "scene": torch.tensor([2, 0]),
        "text": torch.randn(2, 4, generator=draw),
    }
    together = restore(images, **own)
    for row in range(2):
        its: dict[str, Any] = {name: value[row] for name, value in own.items()}
        alone = restore(images[row : row + 1], **its)
        torch.testing.assert_close(alone, together[row : row + 1])
    shared: dict[str, Any] = {name: value[0] for name, value in own.items()}
    torch.testing.assert_close(restore(images, **shared)[:1], together[:1])
    assert (restore(images, **shared)[1:] - together[1:]).abs().max() > 1e-4


def test_tiles_see_the_part_of_a_map_that_belongs_to_them() -> None:
    torch.manual_seed(0)
    network = networks.create(
        "fast", **{k: v for k, v in NETWORK.items() if k not in ("name", "conditions")}, conditions={"depth": "map"}
    )
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    model = TrainedModel.of(network, rebridge.bridges.create("rdbm"), "residual", sampler={"name": "dbim", "steps": 2})
    image, depth = torch.rand(1, 3, 150, 210), torch.rand(1, 1, 150, 210)
    whole, tiled = (Restorer(model)(image, depth=depth, tile=tile) for tile in (0, 128))
    assert (whole - tiled).abs().max() < 1 / 255
    assert (Restorer(model)(image, depth=depth.flip(-1), tile=0) - whole).abs().max() > 4 / 255


class Copy(networks.Network):
    """A network of a user's own that says what it is told, in place of the picture."""

    optional_condition = True
    conditions = {"shown": Condition("map", 3), "share": Condition("number")}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, t: Tensor, y: Tensor, **told: Tensor) -> Tensor:
        said = self.weight[0] * (2 * told["shown"] - 1) + self.weight[1] * told["share"].view(-1, 1, 1, 1)
        return said.expand_as(x)


def test_a_network_of_ones_own_learns_from_its_conditions_what_y_cannot_tell(tmp_path: Path) -> None:
    """x0 is the map, and y is noise: only a map that is cropped and turned with x0 can explain it to the last bit."""
    random = np.random.default_rng(1)
    for number in range(4):
        picture = random.integers(0, 256, (20, 20, 3))
        grey(picture, tmp_path / "clean" / f"{number}.png")
        grey(picture, tmp_path / "shown" / f"{number}.png")
        grey(random.integers(0, 256, (20, 20, 3)), tmp_path / "degraded" / f"{number}.png")
        (tmp_path / "share").mkdir(exist_ok=True)
        (tmp_path / "share" / f"{number}.txt").write_text("0.5")
    networks.register("copy", Copy)
    try:
        tree = {
            **RUN,
            "network": {"name": "copy"},
            "prediction": "x0",
            "states": {"end_fraction": 0.5},
            "output": str(tmp_path / "out"),
            "optimisation": {"iterations": 150, "batch": 4, "lr": 0.05, "warmup": 1, "ema_decay": 0.5},
            "validate_every": 150,
            "data": {"patch": 16, "check_pairs": False, "pairs": [pairs(tmp_path, ("shown", "share"))]},
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        train(load_config(tmp_path / "run.yaml"))
        restore = Restorer.from_pretrained(tmp_path / "out" / "model")
        clean = Image.open(tmp_path / "clean" / "2.png")
        found = restore(torch.rand(1, 3, 20, 20), shown=clean, share=0.5)
        assert (found[0].permute(1, 2, 0).numpy() * 255 - np.asarray(clean)).__abs__().max() < 6
    finally:
        networks.catalogue.NETWORKS.unregister("copy")


def test_a_kernel_is_turned_and_a_map_cropped_with_the_picture(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    picture = random.integers(0, 256, (7, 7))
    for side in ("clean", "degraded", "blur", "depth"):
        grey(picture, tmp_path / side / "a.png")
    declared = conditions_of({"depth": "map", "blur": {"form": "kernel", "size": 7}})
    folder = PairedFolder(tmp_path / "clean", tmp_path / "degraded", channels=1)
    files = ConditionFiles({name: tmp_path / name for name in declared}, declared, [path for _, path in folder.pairs])
    source, seen = PairedSource(folder, "rain", conditions=files), set()
    for seed in range(24):
        pair = source.draw(7, torch.Generator().manual_seed(seed))
        assert torch.equal(pair.conditions["depth"], pair.clean)
        assert torch.equal(pair.conditions["blur"], pair.clean[0])
        small = source.draw(4, torch.Generator().manual_seed(seed))
        assert torch.equal(small.conditions["depth"], small.degraded)
        seen.add(pair.clean.numpy().tobytes())
    assert len(seen) == 8


def test_the_level_of_synthetic_noise_is_told_as_it_was_drawn(tmp_path: Path) -> None:
    grey(np.full((32, 32, 3), 128), tmp_path / "clean" / "a.png")
    grey(np.arange(32 * 32).reshape(32, 32) % 256, tmp_path / "depth" / "a.png")
    network = {**NETWORK, "conditions": {"sigma": "number", "depth": "map"}}
    data = {
        "clean": str(tmp_path / "clean"),
        "tasks": {"noise": {"sigma": [0.0, 0.2]}},
        "patch": 24,
        "margin": 2,
        "quantise": False,
        "conditions": {"depth": str(tmp_path / "depth")},
    }
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump({**RUN, "network": network, "output": "out", "data": data}, sort_keys=False)
    )
    config = load_config(tmp_path / "run.yaml")
    stream = training_pairs(config.data, 0, declared=config.declared)
    drawn = [stream[number] for number in range(20)]
    levels = torch.stack([pair.conditions["sigma"] for pair in drawn])
    measured = torch.stack([(pair.degraded - pair.clean).std() for pair in drawn])
    assert ((measured - levels).abs() < 0.1 * levels + 1e-4).all()
    assert levels.max() - levels.min() > 0.1
    assert all(pair.conditions["depth"].shape == (1, 24, 24) for pair in drawn)


def test_evaluate_tells_a_model_the_conditions_of_each_picture(model: Path, folders: Path) -> None:
    words = [word for name in DECLARED for word in ("--condition", f"{name}={folders / name}")]
    command = ["evaluate", "--pairs", str(folders), "--model", str(model), "--json"]
    done = CliRunner().invoke(app, [*command, *words, "--baselines"])
    assert done.exit_code == 0, done.output
    found = {row["name"]: row["psnr"] for row in json.loads(done.output)["images"] if row["method"] == "model"}
    restore = Restorer.from_pretrained(model)
    files = ConditionFiles(
        {name: folders / name for name in DECLARED}, conditions_of(DECLARED), sorted((folders / "degraded").iterdir())
    )
    for number in range(3):
        clean, degraded = (as_batch(folders / side / f"{number}.png") for side in ("clean", "degraded"))
        own: dict[str, Any] = files.read(number, (24, 32), lambda picture: picture, lambda kernel: kernel)
        expected = psnr(restore(degraded, seed=0, **own), clean).item()
        assert found[f"degraded/{number}"] == pytest.approx(expected, abs=1e-4)
    done = CliRunner().invoke(app, [*command, *words[2:]])
    assert (done.exit_code, "needs the condition 'depth', a map of 1 channel" in done.output) == (2, True)


def test_compare_tells_each_model_the_conditions_that_it_declares(model: Path, folders: Path) -> None:
    words = [word for name in DECLARED for word in ("--condition", f"{name}={folders / name}")]
    command = ["compare", "--clean", str(folders / "clean"), "--task", "noise", "--sampler", "dbim", "--steps", "2"]
    command += ["--seeds", "0", "--model", str(model), "--json"]
    done = CliRunner().invoke(app, [*command, "--model", "rdbm-tiny", *words])
    assert done.exit_code == 0, done.output
    found = {row["subject"]: row["quality"] for row in json.loads(done.output)}
    assert set(found) == {str(model), "rdbm-tiny"}
    restore, qualities = Restorer.from_pretrained(model), []
    files = ConditionFiles(
        {name: folders / name for name in DECLARED}, conditions_of(DECLARED), sorted((folders / "clean").iterdir())
    )
    for number, case in enumerate(synthetic_cases(folders / "clean", ["noise"], 0)):
        clean, degraded = (image[None] for image in case.load())
        own: dict[str, Any] = files.read(number, (24, 32), lambda picture: picture, lambda kernel: kernel)
        qualities.append(psnr(restore(degraded, seed=0, steps=2, sampler="dbim", **own), clean).item())
    assert found[str(model)] == pytest.approx(sum(qualities) / len(qualities), abs=1e-3)
    for wrong, sentence in (
        ([*command, *words[2:]], "needs the condition 'depth', a map of 1 channel"),
        ([*command, *words, "--condition", "fog=1"], "takes no condition or option 'fog'"),
        (["compare", "--analytic", "--condition", "sigma=1"], "--condition goes with models that restore"),
    ):
        done = CliRunner().invoke(app, wrong)
        assert (done.exit_code, sentence in " ".join(done.output.split())) == (2, True), done.output


def test_evaluate_draws_a_parameter_of_the_degradation_and_tells_it(folders: Path) -> None:
    cases = synthetic_cases(folders / "clean", ["lowlight"], seed=3, told=["exposure", "gamma"])
    cases = with_conditions(cases, lambda path: {"depth": as_batch(folders / "depth" / path.name)[0, :1]})
    seen = []

    def restore(degraded: Tensor, exposure: float, gamma: float, depth: Tensor) -> Tensor:
        seen.append((exposure, depth.shape))
        return to_display((to_linear(degraded ** (1 / gamma)) / exposure).clamp(0, 1))

    scores = evaluate(restore, cases).scores
    assert all(score.gain > 3 for score in scores)
    assert all(0.08 <= exposure <= 0.36 and shape == (1, 24, 32) for exposure, shape in seen)
    assert len({exposure for exposure, _ in seen}) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": None}, "model 'model' needs the condition 'depth', a map of 1 channel"),
        ({"fog": 1}, "model 'model' takes no condition or option 'fog'; its conditions are depth (a map of 1 channel), sigma"),
        ({"depth": torch.zeros(1, 12, 32)}, "'depth' is a map of 1 channel: it must have the shape 1 x 1 x 24 x 32"),
        ({"depth": "far"}, "the condition 'depth' is a map of 1 channel: an image must be a PIL image"),
        ({"sigma": "much"}, "the condition 'sigma' is a number"),
        ({"scene": 3}, "the condition 'scene' is a class from 0 to 2, got 3"),
    ],
)  # fmt: skip
def test_the_restorer_says_what_is_wrong_with_a_condition(
    model: Path, told: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    given = {name: value for name, value in (told | change).items() if value is not None}
    with pytest.raises(ModelError, match=re.escape(sentence)):
        Restorer.from_pretrained(model)(torch.rand(3, 24, 32), **given)


def test_a_model_without_conditions_takes_none() -> None:
    with pytest.raises(ValueError, match="takes no condition or option 'stepz'; its conditions are none"):
        Restorer.from_pretrained("rdbm-tiny")(torch.rand(3, 24, 32), stepz=3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": None}, "needs the condition 'depth', a map of 1 channel"),
        ({"fog": "1"}, "takes no condition or option 'fog'"),
        ({"depth": "nowhere"}, "--condition depth=nowhere: no such file or folder"),
        ({"depth": "0.5"}, "condition 'depth'"),
    ],
)
def test_the_command_line_refuses_conditions_with_one_sentence(
    model: Path, folders: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    given = {name: str(folders / name) for name in DECLARED} | change
    words = [word for name, value in given.items() if value is not None for word in ("--condition", f"{name}={value}")]
    command = ["restore", str(folders / "degraded" / "0.png"), "-o", str(tmp_path / "out.png"), "--model", str(model)]
    done = CliRunner().invoke(app, [*command, *words])
    assert done.exit_code in (1, 2)
    assert sentence in " ".join(done.output.split())
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conditions": {}}, "data.pairs.0.conditions.depth is missing: the network needs this condition"),
        ({"conditions": {"fog": "x"}}, "data.pairs.0.conditions.fog: the network's conditions are depth (a map"),
    ],
)
def test_a_configuration_without_its_conditions_is_refused(
    folders: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    data = {"patch": 16, "check_pairs": False, "pairs": [pairs(folders) | change]}
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump({**RUN, "output": str(tmp_path / "out"), "data": data}, sort_keys=False)
    )
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        train(load_config(tmp_path / "run.yaml"))


def test_a_picture_without_its_condition_is_named(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text("1")
    declared = conditions_of({"sigma": "number"})
    with pytest.raises(ValueError, match="1.png has no file of its name in .*, which holds the condition 'sigma'"):
        ConditionFiles({"sigma": tmp_path}, declared, [folders / "clean" / "0.png", folders / "clean" / "1.png"])


def test_solving_passes_conditions_to_the_prior_one_for_each_measurement() -> None:
    operator = rebridge.inverse.operators.create("mask", (3, 16, 16), missing=0.5)
    prior = TrainedModel.of(Copy(), rebridge.bridges.create("vp"), "x0", condition=False)
    prior.network.weight.data = torch.tensor([1.0, 0.0])
    images = torch.rand(2, 3, 16, 16)
    measured = operator.A(images)
    for method in ("ddnm", "red-diff", "deqir"):
        told = {"shown": images, "share": torch.zeros(2)}
        found = rebridge.solve(measured, operator, prior, method, steps=4, conditions=told)
        assert found.mean.shape == images.shape
        if method == "ddnm":  # its prior says what is there, and it agrees with what was measured
            assert (found.mean - images).abs().max() < 1e-3
        alone = rebridge.solve(
            measured[1:], operator, prior, method, steps=4, seed=0, conditions={"shown": images[1], "share": 0.0}
        )
        seeds = rebridge.solve(measured, operator, prior, method, steps=4, seed=[7, 0], conditions=told)
        torch.testing.assert_close(alone.mean, seeds.mean[1:])
    with pytest.raises(ModelError, match="needs the condition 'shown'"):
        rebridge.solve(measured, operator, prior, "ddnm", steps=4)


def test_no_condition_has_the_name_of_an_option() -> None:
    calls = (Restorer.__call__, Restorer.sample, TrainedModel.given, networks.create("fast").forward)
    taken = {name for call in calls for name in inspect.signature(call).parameters} - {"conditions"}
    assert taken <= set(RESERVED)


def test_tuning_tells_a_prior_its_conditions(folders: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {key: value for key, value in NETWORK.items() if key != "name"} | {"optional_condition": True}
    network = networks.create("fast", **(small | {"conditions": {"depth": "map", "sigma": "number"}}))
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    prior = TrainedModel.of(network, rebridge.bridges.create("vp"), "x0").save_pretrained(tmp_path / "prior")
    words = ["tune", "--pairs", str(folders), "--model", str(prior), "-o", str(tmp_path / "tuned.json"), "--steps", "2"]
    words += ["--rounds", "1", "--search", "eta=0.5", "--limit", "2", "--json"]
    told = ["--condition", f"depth={folders / 'depth'}", "--condition", f"sigma={folders / 'sigma'}"]
    done = CliRunner().invoke(app, [*words, *told])
    assert done.exit_code == 0, done.output
    restore, qualities = Restorer.from_preset(str(prior), "sound", "pairs"), []
    for number in range(2):
        clean, degraded = (as_batch(folders / side / f"{number}.png") for side in ("clean", "degraded"))
        depth = as_batch(folders / "depth" / f"{number}.png")[0, :1]
        found = restore(degraded, seed=0, steps=2, depth=depth, sigma=float(f"0.{number}"))
        qualities.append(psnr(found, clean).item())
    assert json.loads(done.stdout)[0]["before"] == pytest.approx(sum(qualities) / 2, abs=1e-3)
    done = CliRunner().invoke(app, [*words, *told[2:]])
    assert (done.exit_code, "needs the condition 'depth'" in done.output) == (2, True)


def test_the_command_line_tells_a_prior_what_python_tells_it(folders: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {key: value for key, value in NETWORK.items() if key != "name"} | {"optional_condition": True}
    network = networks.create("fast", **(small | {"conditions": {"depth": "map", "sigma": "number"}}))
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    prior = TrainedModel.of(network, rebridge.bridges.create("vp"), "x0", condition=False)
    place = prior.save_pretrained(tmp_path / "prior", dtype=torch.float32)
    words = [
        "solve",
        str(folders / "clean" / "0.png"),
        "-o",
        str(tmp_path / "out.png"),
        "--operator",
        "mask:missing=0.5",
    ]
    words += ["--simulate", "--solver", "ddnm", "--steps", "3", "--prior", str(place), "--condition", "sigma=0.2"]
    told = ["--condition", f"depth={folders / 'depth'}"]
    done = CliRunner().invoke(app, [*words, *told])
    assert done.exit_code == 0, done.output
    clean = torch.from_numpy(np.asarray(Image.open(folders / "clean" / "0.png"))).permute(2, 0, 1)[None] / 255
    operator = rebridge.inverse.operators.create("mask", (3, 24, 32), missing=0.5)
    conditions = {"depth": Image.open(folders / "depth" / "0.png"), "sigma": 0.2}
    found = rebridge.solve(operator.A(clean), operator, str(place), "ddnm", steps=3, conditions=conditions).mean
    mine = (found[0].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(mine, np.asarray(Image.open(tmp_path / "out.png")))
    missing = CliRunner().invoke(app, [*words, "--overwrite"])
    assert missing.exit_code == 2
    assert "needs the condition 'depth'" in " ".join(missing.output.split())
