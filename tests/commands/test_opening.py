"""Options of models reach the one function that loads them, for every method and for solving."""

from pathlib import Path
from typing import Any

import pytest

from rebridge import models
from rebridge.commands import opening
from rebridge.commands.options import ModelOptions, RestoreOptions, SolveOptions
from rebridge.commands.restore import restore
from rebridge.commands.solve import solve
from rebridge.networks.careful import Treating

DEVICE: dict[str, Any] = {"device": "cpu", "dtype": "bfloat16", "compile": True}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options with which models are loaded; none is compiled, which would take a minute."""
    calls: list[dict[str, Any]] = []

    def recording(load: Any) -> Any:
        def call(name: str, device: Any = None, **options: Any) -> Any:
            calls.append({"device": device, **options})
            return load(name, device=device, **{**options, "compile": None})

        return call

    for name in ("load_model", "load_prior"):
        monkeypatch.setattr(opening, name, recording(getattr(models, name)))
    return calls


def test_device_precision_and_compilation_reach_every_way_to_restore(
    loaded: list[dict[str, Any]], model: Path, pixel_folder: Path, photos: Path, tmp_path: Path
) -> None:
    files: dict[str, Any] = {"inputs": [photos / "a.png"], "steps": 2, "tile": 64, "overlap": 16, **DEVICE}
    prior = str(pixel_folder)
    assert restore(RestoreOptions(output=tmp_path / "1", model=str(model), **files)).written
    assert restore(RestoreOptions(output=tmp_path / "2", model=prior, method="irbridge", **files)).written
    assert solve(SolveOptions(output=tmp_path / "3", prior=prior, operator="noise@10", solver="ddnm", **files)).written
    assert len(loaded) == 3
    for options in loaded:
        assert DEVICE.items() <= options.items()


def test_options_of_the_other_method_are_refused(model: Path) -> None:
    for options in ({"preset": "paper"}, {"schedule": "critical"}, {"controlnet": "x"}, {"detail": 0.5}):
        with pytest.raises(ValueError, match="goes with --method irbridge"):
            opening.open_restorer(ModelOptions(model=str(model), **options))
    with pytest.raises(ValueError, match="--task goes with --method irbridge"):
        opening.open_restorer(ModelOptions(model=str(model)), "rain")


def test_another_bridge_is_walked_with_a_model_of_either_method(model: Path, pixel_folder: Path) -> None:
    other = opening.open_restorer(ModelOptions(model=str(model), bridge="ir-sde:lam=0.1")).restorer
    assert (other.bridge.name, other.model.process.name) == ("ir-sde", "goub")
    prior = opening.open_restorer(ModelOptions(method="irbridge", model=str(pixel_folder), bridge="goub")).restorer
    assert (prior.bridge.name, prior.model.process.name) == ("goub", "vp")


def test_a_model_that_can_be_told_removes_what_it_is_told() -> None:
    opened = opening.open_restorer(ModelOptions(model="rdbm-small"), "rain+noise")
    network = opened.restorer.model.network
    assert isinstance(network, Treating)
    assert network.treated == ["rain", "noise"]
    with pytest.raises(ValueError, match="--task rainbow: kinds must be some of rain, haze"):
        opening.open_restorer(ModelOptions(model="rdbm-small"), "rainbow")
