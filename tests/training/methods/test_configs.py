"""The configurations of refinement and HI-Diff name what exists; a second stage begins where the first ends."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rebridge import bridges, networks, samplers
from rebridge.data import LAYOUTS
from rebridge.denoisers import NetworkDenoiser
from rebridge.networks.hidiff import HiDiff
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


@pytest.mark.parametrize("name", ["blur-tiny", "gopro", "realblur"])
def test_the_second_stage_begins_with_the_weights_of_the_first(name: str) -> None:
    first, second = (stage.config for stage in load_stages(CONFIGS / "hi-diff" / f"{name}.yaml"))
    assert isinstance(first, HiDiffTrainConfig)
    assert isinstance(second, HiDiffTrainConfig)
    assert second.start_from == first.output / "model"
    assert (first.latent.stage, second.latent.stage) == (1, 2)
    assert first.network == second.network
    assert first.data == second.data
