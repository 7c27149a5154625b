"""The configurations of the trained relatives: all load, name what exists, and the second stage begins where the first ends."""

from pathlib import Path

import pytest
import torch

from rebridge import bridges, networks, samplers
from rebridge.data import LAYOUTS
from rebridge.denoisers import NetworkDenoiser
from rebridge.networks.hidiff import HiDiff
from rebridge.training import TrainConfig, load_config

CONFIGS = Path(__file__).parents[2] / "configs"
ALL = sorted([*(CONFIGS / "refinement").glob("*.yaml"), *(CONFIGS / "hi-diff").glob("*.yaml")])


def built(config: TrainConfig) -> torch.nn.Module:
    with torch.device("meta"):
        return networks.create(config.network.name, **config.network.params)


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_configuration_names_what_exists(path: Path) -> None:
    config = load_config(path)
    bridge = bridges.create(config.bridge.name, **config.bridge.params)
    samplers.create(config.sampler.name, **config.sampler.params).check(bridge)
    network = built(config)
    NetworkDenoiser(network, bridge, config.prediction, scale=config.residual_scale)
    if config.predictor is not None:
        with torch.device("meta"):
            networks.create(config.predictor.network.name, **config.predictor.network.params)
    if isinstance(network, HiDiff):
        assert network.window >= config.data.patch
        assert config.latent is not None
    for part in [*config.data.pairs, *config.data.validation_pairs]:
        assert part.layout in LAYOUTS


def test_gopro_hide_realblur_and_synthetic_blur_are_there_for_both_methods() -> None:
    for method in ("refinement", "hi-diff"):
        layouts = set()
        for path in ALL:
            if path.parent.name == method:
                config = load_config(path)
                layouts |= {part.layout for part in [*config.data.pairs, *config.data.validation_pairs]} | set(
                    config.data.tasks
                )
        assert {"gopro", "hide", "realblur", "blur"} <= layouts


@pytest.mark.parametrize("name", ["blur-tiny", "gopro", "realblur"])
def test_the_second_stage_begins_with_the_weights_of_the_first(name: str) -> None:
    first, second = (load_config(CONFIGS / "hi-diff" / f"{name}-{stage}.yaml") for stage in (1, 2))
    assert second.start_from == first.output / "model"
    assert (first.latent.stage, second.latent.stage) == (1, 2)
    assert first.network == second.network
    assert first.data == second.data
