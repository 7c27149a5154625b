"""The loop: the loss falls, accumulation is a larger batch, the average and the learning rate follow their formulas."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

from rebridge.models import load_model
from rebridge.training import ConfigError, FitConfig, Task, TrainConfig, fit, learning_rate, parse_config, train
from rebridge.training.checkpoints import CheckpointError
from rebridge.training.config import LossConfig, OptimisationConfig
from rebridge.training.config_files import override
from rebridge.training.data import training_pairs, validation_pairs
from rebridge.training.ema import Ema
from rebridge.training.losses import distance
from rebridge.training.methods.bridge import BridgeTraining

Tiny = Callable[..., Any]


def loaded(folder: Path | None) -> Any:
    """The model of a run that came to its end."""
    assert folder is not None
    return load_model(folder)


def losses(config: Any) -> list[float]:
    lines = [json.loads(line) for line in (config.output / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("extra", [("objective=regression",), (), ("prediction=x0", "loss.on=output", "loss.kind=l2")])
def test_loss_falls_on_a_toy_problem(tiny: Tiny, extra: tuple[str, ...]) -> None:
    tasks = "data.tasks={lowlight: 1}"
    config = tiny(tasks, "optimisation.iterations=60", "optimisation.lr=1e-2", "validate_every=1000", *extra)
    train(config)
    curve = losses(config)
    assert sum(curve[-10:]) < 0.7 * sum(curve[:10])


def test_fp16_trains_as_fp32_does_up_to_its_rounding(tiny: Tiny, tmp_path: Path) -> None:
    common = ("optimisation.iterations=4", "optimisation.lr_min=1e-3", "validate_every=99")
    train(tiny(*common))
    half = tiny(f"output={tmp_path / 'half'}", "precision=fp16", *common)
    with pytest.warns(UserWarning, match="precision: fp16 is slow on a CPU"):
        train(half)
    whole = losses(tiny())
    assert losses(half) == pytest.approx(whole, rel=0.02)
    assert losses(half) != whole


def test_the_scaler_of_fp16_leaves_out_steps_whose_gradients_overflow_and_is_kept(tmp_path: Path) -> None:
    steep = 1e36  # times the first scale, 65536, it is beyond float32; 256 is the first power of two that it can be multiplied by
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    task = Task(module, lambda module, batch: -steep * next(module.parameters()).sum())
    described = {"optimisation": {"iterations": 9, "clip": None}, "precision": "fp16", "device": "cpu"}
    config = FitConfig.model_validate({"output": tmp_path, "checkpoint_every": 8, "log_every": 99, **described})
    data = TensorDataset(torch.zeros(16, 1))
    fit(task, config, data, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1 / steep))
    weights, scales = [], []
    for number in (8, 9):
        folder = tmp_path / f"checkpoint-{number:08d}"
        weights.append(load_file(folder / "model.safetensors")["weight"].item())
        scales.append(json.loads((folder / "state.json").read_text())["scaler"]["scale"])
    assert weights == pytest.approx([0, 1])
    assert scales == [256, 256]


@pytest.mark.parametrize("bridge", ["goub", "ir-sde"])
def test_a_noise_network_is_trained_on_the_step_objective_and_sampled_by_the_mean_ode(tiny: Tiny, bridge: str) -> None:
    times = "states={end_fraction: 0, times: grid, grid: 100}"
    process = [f"bridge={{name: {bridge}}}", "prediction=noise", "sampler={name: mean-ode, steps: 4}", "loss.on=step"]
    config = tiny(times, *process, "optimisation.iterations=3", "validate_every=3")
    result = train(config)
    assert all(math.isfinite(loss) and loss > 0 for loss in losses(config))
    assert all(math.isfinite(psnr) for psnr in result.psnr.values())


def test_the_step_objective_needs_noise_and_a_guide_as_many_kinds_as_there_are_tasks(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"loss\.on: step needs a bridge with noise, and flow here has none"):
        train(tiny("bridge={name: flow}", "loss.on=step"))
    with pytest.raises(ConfigError, match=r"loss\.guide: the data has .* kinds .*, network\.kinds is 0"):
        train(tiny("loss.guide=1.0"))
    with pytest.raises(ConfigError, match="weight and frequency are both 0, so nothing is left to learn"):
        tiny("loss={weight: 0}")


def test_two_accumulated_batches_of_four_equal_one_of_eight(tiny: Tiny, tmp_path: Path) -> None:
    networks = []
    for name, batch in {"a": ("4", "2"), "b": ("8", "1")}.items():
        overrides = [f"optimisation.batch={batch[0]}", f"optimisation.accumulate={batch[1]}"]
        config = tiny(f"output={tmp_path / name}", "validate_every=100", *overrides)
        train(config)
        networks.append((losses(config), loaded(config.output / "model").network.state_dict()))
    (loss_a, a), (loss_b, b) = networks
    assert loss_a == pytest.approx(loss_b, rel=1e-5)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


def test_average_follows_its_formula_and_forgets_the_start() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    ema = Ema(network, decay=0.5)
    expected = 0.0
    for step, weight in enumerate([3.0, -1.0, 2.0, 5.0, 1.0, 4.0, 0.5, 2.5, 1.5, 9.0]):
        nn.init.constant_(network.weight, weight)
        ema.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    average: Any = ema.module
    assert float(average.weight.detach()) == pytest.approx(expected, rel=1e-6)
    assert not average.weight.requires_grad


def test_learning_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    config = OptimisationConfig(iterations=110, warmup=10, lr=1.0, lr_min=0.1)
    assert [learning_rate(k, config) for k in range(10)] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert learning_rate(10, config) == 1.0
    assert learning_rate(60, config) == pytest.approx(0.55)
    assert learning_rate(110, config) == pytest.approx(0.1)
    held = OptimisationConfig(iterations=310, warmup=10, hold=100, lr=1.0, lr_min=0.1)
    assert [learning_rate(k, held) for k in (10, 60, 110)] == [1.0] * 3
    assert [learning_rate(k, held) for k in (210, 310)] == pytest.approx([0.55, 0.1])


def test_a_run_in_phases_ends_with_the_same_bits_where_it_was_resumed(tiny: Tiny, tmp_path: Path) -> None:
    phases = "progressive=[{iterations: 2, patch: 16, batch: 4}, {iterations: 1, patch: 32, batch: 1}]"
    common = (phases, "optimisation.iterations=4", "checkpoint_every=1", "validate_every=100")
    whole = tiny(f"output={tmp_path / 'whole'}", *common)
    train(whole)
    cut = tiny(f"output={tmp_path / 'cut'}", *common)
    train(cut)
    for number in (3, 4):
        shutil.rmtree(cut.output / f"checkpoint-{number:08d}")
    resumed = loaded(train(cut, resume=True).model).network.state_dict()
    expected = loaded(whole.output / "model").network.state_dict()
    assert all(torch.equal(weight, resumed[name]) for name, weight in expected.items())
    with pytest.raises(CheckpointError, match="another progressive"):
        train(tiny(f"output={tmp_path / 'cut'}", *common[1:]), resume=True)


@pytest.mark.parametrize(
    ("kind", "expected"), [("l1", 2.0), ("l2", 5.0), ("charbonnier", 2.0), ("psnr", math.log(5.0001))]
)
def test_distances(kind: str, expected: float) -> None:
    a, b = torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, 2.0]])
    assert float(distance(a, b, LossConfig.model_validate({"kind": kind}).kind)) == pytest.approx(expected, abs=1e-5)


def test_psnr_distance_counts_each_image_by_its_share_of_improvement() -> None:
    errors = torch.stack([torch.full((3, 4, 4), size) for size in (0.1, 1.0)]).requires_grad_()
    distance(errors, torch.zeros_like(errors), "psnr").backward()
    assert errors.grad is not None
    by_its_own_size = (errors.grad * errors).detach().sum(dim=(1, 2, 3))
    torch.testing.assert_close(by_its_own_size, torch.ones(2), rtol=0.02, atol=0)


def test_validation_is_the_psnr_of_the_averaged_weights_and_independent_of_the_run(
    tiny: Tiny, photographs: Path
) -> None:
    config = tiny("data.tasks={noise: {sigma: 0.1}}", "optimisation.lr=1e-12", "data.validation_count=2")
    result = train(config)
    # An untrained residual network answers y itself: the PSNR of the noise, -20 log10 0.1 where nothing is clipped.
    assert set(result.psnr) == {f"psnr/{steps}/{task}" for steps in ("1 step", "2 steps") for task in ("mean", "noise")}
    assert result.psnr["psnr/1 step/noise"] == pytest.approx(20.0, abs=1.0)
    held_out = {round(float(pair.clean.mean()), 4) for pair in validation_pairs(config.data, config.seed)}
    source: Any
    (source,) = training_pairs(config.data, config.seed).sources
    trained_on = {path.name for path in source.images.files}
    assert len(held_out) == 2
    assert len(trained_on) == len(list(photographs.iterdir())) - 2


def test_run_leaves_a_model_that_loads_and_tensorboard_files(tiny: Tiny) -> None:
    config = tiny()
    result = train(config)
    model = loaded(result.model)
    assert model.tasks == ["rain", "noise", "clean"]
    assert model.config["training"]["optimisation"]["iterations"] == 6
    assert list((config.output / "tensorboard").glob("events*"))


def test_start_from_continues_with_the_weights_of_a_model(tiny: Tiny) -> None:
    first = train(tiny())
    second = BridgeTraining(tiny(f"start_from={first.model}"), torch.device("cpu"))
    saved = loaded(first.model).network.state_dict()
    assert all(torch.equal(saved[name], value) for name, value in second.module.state_dict().items())


def test_start_from_a_network_of_other_details_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Its weights would fit, and mean something else; a model of an earlier version does not say what it has."""

    def settings(name: str, *more: str) -> TrainConfig:
        config = tiny(f"output={tmp_path / name}")
        tree = config.model_dump(mode="json") | {"network": {"name": "rdbm-t", "multipliers": [1, 2]}}
        return parse_config(override(tree, list(more)))

    before = train(settings("before", "network.released=false")).model
    assert before is not None
    file = before / "config.json"
    content = json.loads(file.read_text())
    del content["network"]["released"]
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="start_from: the network in .* has released=False, and this one True"):
        train(settings("now", f"start_from={before}"))
    train(settings("same", f"start_from={before}", "network.released=false"))


def test_start_from_a_network_of_fewer_blocks_begins_with_what_that_one_says(tiny: Tiny, tmp_path: Path) -> None:
    first = train(tiny())
    trained = loaded(first.model).network.eval()
    blocks = f"network.blocks={[count + 2 for count in trained.config['blocks']]}"
    larger: Any = BridgeTraining(tiny(f"start_from={first.model}", blocks), torch.device("cpu")).module.eval()
    x, y = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(larger(x, torch.ones(1), y), trained(x, torch.ones(1), y))
    assert sum(p.numel() for p in larger.parameters()) > sum(p.numel() for p in trained.parameters())
    with pytest.raises(ConfigError, match="start_from: .* does not hold the weights of this network"):
        train(
            tiny(
                f"output={tmp_path / 'third'}",
                f"start_from={first.model}",
                "network.blocks=[2]",
                "network.widths=[4, 6]",
            )
        )


def test_diverging_run_stops_with_a_sentence(tiny: Tiny) -> None:
    config = tiny("optimisation.lr=1e30", "optimisation.clip=null", "optimisation.warmup=0")
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at iteration"):
        train(config)
    assert math.isfinite(losses(config)[0])


def test_network_that_cannot_be_compiled_is_a_sentence_that_names_the_key(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise AssertionError("generated code")

    monkeypatch.setattr(torch, "compile", lambda network, **options: broken)
    with pytest.raises(ConfigError, match="compile: torch.compile cannot train the network 'fast'"):
        train(tiny("compile=true"))


def test_compiled_network_is_handed_to_the_same_loop(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile(network: Any, **options: Any) -> Any:
        compiled.append(options)
        return network

    monkeypatch.setattr(torch, "compile", compile)
    train(tiny("compile=true"))
    assert compiled == [{"dynamic": False}]


def test_a_prior_that_never_saw_a_condition_is_exported_as_one_without(tiny: Tiny) -> None:
    prior = ("bridge={name: vp}", "sampler={name: dbim, steps: 2}", "network={optional_condition: true}")
    plan = ("states={end_fraction: 0.0, times: log-noise, condition_dropout: 1.0}", "optimisation.iterations=2")
    result = train(tiny(*prior, *plan, "objective=bridge", "prediction=preconditioned", "loss.guide=0"))
    assert result.model is not None
    model = load_model(result.model)
    assert not model.info.conditional
    assert model.tasks == []
    card = (result.model / "README.md").read_text()
    assert "knows of no degraded image" in card
    assert "rebridge solve" in card
