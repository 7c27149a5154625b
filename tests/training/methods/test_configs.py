"""The configurations of refinement and HI-Diff name what exists; a second stage begins where the first ends."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rebridge import bridges, networks, samplers
from rebridge.data import LAYOUTS
from rebridge.denoisers import NetworkDenoiser
from rebridge.networks.hidiff import HiDiff, PriorNetwork
from rebridge.networks.hidiff_released import ReleasedHiDiff
from rebridge.training import TrainConfig, load_stages
from rebridge.training.methods.hidiff import HiDiffTrainConfig
from rebridge.training.stages import Stage

CONFIGS = Path(__file__).parents[3] / "configs"
ALL = sorted([*(CONFIGS / "refinement").glob("*.yaml"), *(CONFIGS / "hi-diff").glob("*.yaml")])


def built(config: TrainConfig) -> torch.nn.Module:
    with torch.device("meta"):
        return networks.create(config.network.name, **config.network.params)


STAGES = [(path, stage) for path in ALL for stage in load_stages(path)]


@pytest.mark.parametrize(
    ("path", "stage"), STAGES, ids=[f"{path.parent.name}/{path.stem}/{stage.name}" for path, stage in STAGES]
)
def test_a_configuration_names_what_exists(path: Path, stage: Stage) -> None:
    config: Any = stage.config
    bridge = bridges.create(config.bridge.name, **config.bridge.params)
    samplers.create(config.sampler.name, **config.sampler.params).check(bridge)
    network = built(config)
    NetworkDenoiser(network, bridge, config.prediction, scale=config.residual_scale)
    if stage.method == "refinement":
        with torch.device("meta"):
            networks.create(config.predictor.network.name, **config.predictor.network.params)
    if isinstance(network, HiDiff):
        assert network.window is not None
        assert network.window >= config.data.patch
    if isinstance(network, PriorNetwork):
        assert stage.method == "hidiff"
    for part in [*config.data.pairs, *config.data.validation_pairs]:
        assert part.layout in LAYOUTS


def test_gopro_hide_realblur_and_synthetic_blur_are_there_for_both_methods() -> None:
    for method in ("refinement", "hi-diff"):
        layouts: set[str | None] = set()
        for path, stage in STAGES:
            if path.parent.name == method:
                data = stage.config.data
                layouts |= {part.layout for part in [*data.pairs, *data.validation_pairs]} | set(data.tasks)
        assert {"gopro", "hide", "realblur", "blur"} <= layouts


@pytest.mark.parametrize(("name", "form", "steps"), [("gopro", "gopro", 8), ("realblur", "realblur", 16)])
def test_hi_diffs_recipes_are_those_of_the_released_options(name: str, form: str, steps: int) -> None:
    """options/train/{GoPro,RealBlur_J}_S{1,2}.yml of zhengchen1999/HI-Diff."""
    patches = [(20_000, 128, 16), (20_000, 160, 10), (20_000, 192, 8), (20_000, 256, 4), (20_000, 320, 2)]
    for stage in load_stages(CONFIGS / "hi-diff" / f"{name}.yaml"):
        config: Any = stage.config
        network = built(config)
        assert isinstance(network, ReleasedHiDiff)
        assert (network.config["form"], network.diffusion.steps, network.random_start) == (form, steps, True)
        assert network.window is None
        phases = [(phase.iterations, phase.patch, phase.batch) for phase in config.progressive]
        assert phases == [*patches, (200_000, 384, 2)]
        optimisation = config.optimisation
        rates = [optimisation.learning_rate(iteration) for iteration in (0, 99_999, 200_000, 300_000)]
        assert rates == pytest.approx([2e-4, 2e-4, (2e-4 + 1e-6) / 2, 1e-6])
        assert (optimisation.clip, optimisation.weight_decay, optimisation.betas) == (0.01, 1e-4, (0.9, 0.999))
        assert (optimisation.ema_decay, optimisation.iterations, config.seed) == (0, 300_000, 100)
        assert (config.loss.kind, config.latent.weight, config.precision) == ("l1", 1.0, "fp32")
        assert bridges.create(config.bridge.name).value_range == (0.0, 1.0)


@pytest.mark.parametrize("name", ["blur-tiny", "gopro", "realblur"])
def test_the_second_stage_begins_with_the_weights_of_the_first(name: str) -> None:
    first, second = (stage.config for stage in load_stages(CONFIGS / "hi-diff" / f"{name}.yaml"))
    assert isinstance(first, HiDiffTrainConfig)
    assert isinstance(second, HiDiffTrainConfig)
    assert second.start_from == first.output / "model"
    assert (first.latent.stage, second.latent.stage) == (1, 2)
    assert first.network == second.network
    assert first.data == second.data
