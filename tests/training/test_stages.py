"""Files with several stages: order, folders, weights, resuming, one stage alone; and where the data are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rebridge.training import ConfigError, Step, load_config, load_stages, train, train_file
from rebridge.training.config_files import merged

ROOT = Path(__file__).parents[2]


@pytest.fixture
def staged(photographs: Path, tmp_path: Path) -> Path:
    """Three tiny stages: a network, the same with a block more, and a third that begins with the first's weights."""
    path = tmp_path / "staged.yaml"
    path.write_text(
        f"base: {ROOT / 'configs' / 'tiny.yaml'}\n"
        f"output: {tmp_path / 'run'}\n"
        f"data: {{clean: {photographs}}}\n"
        "optimisation: {iterations: 2}\n"
        "stages:\n"
        "  - {name: first}\n"
        "  - {name: deeper, network: {blocks: [2]}, seed: 1}\n"
        "  - {name: again, start_from: first}\n"
    )
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_stages_run_in_order_each_in_its_folder_from_the_weights_of_the_one_before(
    staged: Path, tmp_path: Path
) -> None:
    iterations: list[int] = []
    result = train_file(staged, callbacks=[lambda step: iterations.append(step.iteration)])
    assert iterations == [1, 2, 1, 2, 1, 2]
    assert result.model == tmp_path / "run" / "again" / "model"
    configs: list[Any] = [stage.config for stage in load_stages(staged)]
    first, deeper, again = configs
    assert first.start_from is None
    assert deeper.start_from == again.start_from == tmp_path / "run" / "first" / "model"
    assert (deeper.network.params["blocks"], deeper.network.params["widths"], deeper.seed) == ([2], [4, 8], 1)


def test_a_stage_equals_a_run_by_itself(staged: Path, tmp_path: Path) -> None:
    train_file(staged)
    start = f"start_from={tmp_path / 'run' / 'first' / 'model'}"
    train_file(staged, ["stages=null", f"output={tmp_path / 'alone'}", start])
    a, b = weights(tmp_path / "run" / "again"), weights(tmp_path / "alone")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_resuming_passes_over_finished_stages_and_goes_on_in_the_one_that_was_stopped(
    staged: Path, tmp_path: Path
) -> None:
    train_file(staged, [f"output={tmp_path / 'whole'}"])

    def stop(step: Step) -> None:
        seen.append(step.iteration)
        if len(seen) == 3:
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        train_file(staged, ["checkpoint_every=1"], callbacks=[stop])
    rest: list[int] = []
    train_file(staged, ["checkpoint_every=1"], resume=True, callbacks=[lambda step: rest.append(step.iteration)])
    assert (seen, rest) == ([1, 2, 1], [2, 1, 2])
    for stage in ("first", "deeper", "again"):
        a, b = weights(tmp_path / "run" / stage), weights(tmp_path / "whole" / stage)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_one_stage_is_chosen_by_name_or_number(staged: Path, tmp_path: Path) -> None:
    train_file(staged, stage=1)
    train_file(staged, stage="again")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["again", "first"]
    with pytest.raises(ConfigError, match="has no stage 'last'; its stages are first, deeper, again"):
        train_file(staged, stage="last")
    with pytest.raises(ConfigError, match="has several stages: name one of first, deeper, again"):
        load_config(staged)


def test_overrides_hold_for_all_stages_or_for_one(staged: Path) -> None:
    changes = ["optimisation.lr=0.5", "stages.1.optimisation.batch=3"]
    rates = [(s.config.optimisation.lr, s.config.optimisation.batch) for s in load_stages(staged, changes)]
    assert rates == [(0.5, 4), (0.5, 3), (0.5, 4)]


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ("[]", "stages must be a list of groups"),
        ("[{name: a}, {name: a}]", "two stages have the name a"),
        ("[{name: a, sed: 1}]", "stage a: unknown key sed; did you mean seed"),
    ],
)
def test_wrong_stages_are_named(staged: Path, stages: str, sentence: str) -> None:
    text = staged.read_text()
    staged.write_text(text[: text.index("stages:")] + f"stages: {stages}\n")
    with pytest.raises(ConfigError, match=sentence):
        load_stages(staged)


def test_a_group_that_names_another_part_takes_the_place_of_the_one_below() -> None:
    below = {"network": {"name": "fast", "kinds": 7}, "data": {"patch": 8, "holdout": 1}}
    assert merged(below, {"network": {"kinds": 3}})["network"] == {"name": "fast", "kinds": 3}
    assert merged(below, {"network": {"name": "equaliser"}})["network"] == {"name": "equaliser"}
    assert merged(below, {"data": {"patch": 16}})["data"] == {"patch": 16, "holdout": 1}


def test_a_missing_data_folder_is_one_sentence_that_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REBRIDGE_DATA", raising=False)
    config = load_config(ROOT / "configs" / "equaliser-tiny.yaml", [f"output={tmp_path}"])
    with pytest.raises(ConfigError, match=r"data\.clean: .* needs the environment variable REBRIDGE_DATA: set it"):
        train(config)
    monkeypatch.setenv("REBRIDGE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"data\.clean: .*nowhere/train/bsd432 is not a folder"):
        train(config)


def test_settings_are_checked_before_the_data_are_read(tmp_path: Path) -> None:
    path = ROOT / "configs" / "equaliser-tiny.yaml"
    with pytest.raises(ConfigError, match="network: .* has no parameter 'depth'"):
        train(load_config(path, [f"output={tmp_path}", "network.depth=3", "data.clean=nowhere"]))


def test_the_names_of_earlier_releases_load_with_a_warning() -> None:
    old = "states={own_fraction: 0.5, own_steps: 2, own_noise: noise, own_again: 0.25, times: trust}"
    with pytest.warns(DeprecationWarning, match="own_fraction is now rollout_fraction"):
        states = load_config(ROOT / "configs" / "tiny.yaml", [old]).states
    assert (states.rollout_fraction, states.rollout_steps, states.rollout_again) == (0.5, 2, 0.25)
    assert (states.rollout_noise, states.times) == ("noise", "uniform-in-weight")
