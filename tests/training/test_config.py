"""Every error in a configuration is one sentence that names the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rebridge import samplers
from rebridge.training import ConfigError, TrainConfig, load_config, load_stages, parse_config, train
from rebridge.training.config_files import override, read_tree
from rebridge.training.methods.bridge import BridgeObjective, settings_of
from tests.odd import VALUES, places, refusal, with_value

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
SHARED = {"controlnet.yaml", "pixel.yaml"}
"""What others build on, and no run by itself."""
SMALLEST = {"output": "runs/x", "data": {"clean": "images", "tasks": {"rain": 1.0}}}

WHOLE = read_tree(Path(__file__).parents[2] / "configs" / "tiny.yaml")

Tiny = Callable[..., Any]


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.name not in SHARED], ids=lambda path: path.stem)
def test_every_configuration_of_the_project_is_valid_and_stays_inside_it(path: Path) -> None:
    for stage in load_stages(path):
        assert stage.config.output.parts[0] == "runs"
        clean = stage.config.data.clean
        folders = [*(clean if isinstance(clean, list) else [clean]), *(pairs.root for pairs in stage.config.data.pairs)]
        assert all(str(folder).startswith(("${REBRIDGE_DATA}", "examples")) for folder in folders if folder is not None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("optimisation.lrr=1", "unknown key optimisation.lrr; did you mean optimisation.lr?"),
        ("optimizer=adam", "unknown key optimizer"),
        ("optimisation.lr=-1", "optimisation.lr: input should be greater than 0, got -1"),
        ("optimisation.lr=fast", "optimisation.lr: input should be a valid number"),
        ("states.end_fraction=1.5", "states.end_fraction"),
        ("loss.kind=l3", "loss.kind: unknown loss 'l3'; known are l1, l2, charbonnier, psnr"),
        ("data.tasks.rain=-2", "data.tasks.rain.weight"),
        ("data.tasks.rain=0", "data: all weights are 0"),
        ("data.clean=null", "data: give clean and tasks, or pairs, or both"),
        ("data.pairs=[{task: blur, clean: a}]", "data.pairs.0: give clean and degraded, or layout and root, got clean"),
        ("output=null", "output"),
    ],
)
def test_error_names_the_key(change: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(override(SMALLEST, [change]))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="the key output is missing"):
        parse_config({"data": SMALLEST["data"]})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("bridge.name=nothing", "bridge: unknown bridge 'nothing'"),
        ("bridge.lam=-1", "bridge: lam must be positive"),
        ("bridge.lambda=1", "bridge: .*no parameter 'lambda'"),
        ("network.width=3", "network: .*no parameter 'width'"),
        ("data.tasks.rein=1", "data.tasks.rein: unknown task 'rein'"),
        ("data.tasks.noise.size=1", "data.tasks.noise: .*no parameter 'size'"),
        ("data.tasks.rain.size=1", "data.tasks.rain.size cannot be set: data.tasks.rain is 1.0, not a group"),
        ("data.clean=nowhere", "data.clean: nowhere is not a folder"),
        ("data.holdout=6", "data.holdout: 6 of 6 images leaves none"),
        ("data.pairs=[{task: rain, layout: rain99, root: .}]", "data.pairs.0: unknown data set layout 'rain99'"),
        ("start_from=nowhere", "start_from: nowhere"),
        ("bridge.modulation=zero,prediction=noise", "prediction: prediction 'noise' needs a bridge with noise"),
        ("sampler.order=9", "sampler: order must be 1, 2 or 3, got 9"),
        ("sampler.steps=0", "sampler: steps must be at least 1, got 0"),
    ],
)
def test_error_found_while_building_the_run_names_the_key(tiny: Tiny, change: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        train(tiny(*(change.split(",") if "prediction" in change else [change])))


def test_override_reaches_any_depth_and_leaves_the_rest_alone() -> None:
    tree = {"a": {"b": 1, "c": [1, {"d": 2}]}}
    changed = override(tree, ["a.b=1e-4", "a.c.1.d=[x, 2]", "e.f=true"])
    assert changed == {"a": {"b": 1e-4, "c": [1, {"d": ["x", 2]}]}, "e": {"f": True}}
    assert tree == {"a": {"b": 1, "c": [1, {"d": 2}]}}


def test_words_that_old_yaml_takes_for_truth_values_stay_words_and_small_numbers_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "{output: no, loss: {on: output}, bridge: {lam: 1e-4}, compile: true, data: {clean: a, tasks: {b: 1}}}"
    )
    config = load_config(path)
    assert (str(config.output), config.loss.on, config.bridge.params, config.compile) == (
        "no",
        "output",
        {"lam": 1e-4},
        True,
    )


@pytest.mark.parametrize("text", ["optimisation.lr", "=1", "a..b=1", "data.clean.x=1", "seed=[1", "a.b.1.c=2"])
def test_malformed_override_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(override(SMALLEST | {"a": {"b": [0]}}, [text]))
    assert text.partition("=")[0] in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_as_configuration_gives_a_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))


@settings(max_examples=100, deadline=None)
@given(place=st.sampled_from(sorted(places(WHOLE))), value=VALUES)
def test_any_value_in_any_place_is_taken_or_refused_in_plain_words(place: tuple[str, ...], value: Any) -> None:
    refusal(ConfigError, lambda: parse_config(with_value(WHOLE, place, value)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("output=[]", "output: a path was expected, got []"),
        ("start_from=5", "start_from: a path was expected, got 5"),
        ("data=1.5", "data: settings by name were expected, got 1.5"),
        ("data.tasks=[rain]", "data.tasks: settings by name were expected, got ['rain']"),
        ("progressive=5", "progressive: a list was expected, got 5"),
        ("seed=x", "seed: input should be a valid integer, got 'x'"),
        ("network.widths.a=4", "network.widths.a cannot be set: network.widths is a list with the places 0 to 1"),
        ("network.widths.2=4", "network.widths.2 cannot be set: network.widths is a list with the places 0 to 1"),
    ],
)
def test_a_value_of_another_kind_is_named_in_plain_words(change: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(override(WHOLE, [change]))
    assert sentence in str(caught.value)


def test_missing_file_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_config("nowhere.yaml")


def test_a_bridge_that_holds_y_in_its_states_cannot_drop_it(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"states\.condition_dropout: rdbm has y in its states"):
        train(tiny("states.condition_dropout=0.1"))


def test_times_by_the_noise_are_for_processes_that_end_in_it(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"states\.times: log-noise is for processes that end in noise, and rdbm"):
        train(tiny("states.times=log-noise"))


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"prediction": "noise", "objective": "regression"}, "trains at t = 1 only, and on rdbm"),
        ({"prediction": "velocity", "states": {"end_fraction": 1.0}}, "states.end_fraction trains at t = 1 only"),
        ({"prediction": "blend", "bridge": {"name": "flow"}}, "blend weighs by noise, and flow here has none"),
        ({"prediction": "preconditioned", "bridge": {"modulation": "zero"}}, "weighs by noise, and rdbm here has none"),
        ({"loss": {"weighting": "posterior"}, "bridge": {"name": "flow"}}, "posterior needs a bridge with noise"),
    ],
)
def test_combinations_that_teach_nothing_are_refused_with_a_sentence(extra: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        settings_of(TrainConfig.model_validate(SMALLEST | extra))


@pytest.mark.parametrize("name", ["ir-sde", "resshift", "goub"])
def test_without_a_sampler_the_one_of_the_bridges_authors_is_taken(name: str) -> None:
    bridge, sampler = settings_of(TrainConfig.model_validate(SMALLEST | {"bridge": {"name": name}}))
    assert sampler == samplers.recommended(bridge)


def test_regression_may_train_what_weighs_by_noise_on_a_bridge_without() -> None:
    extra = {"prediction": "blend", "bridge": {"name": "flow"}, "objective": "regression"}
    settings_of(TrainConfig.model_validate(SMALLEST | extra))


def test_a_noise_network_of_a_pinned_bridge_trains_inside_alone() -> None:
    config = TrainConfig.model_validate(SMALLEST | {"prediction": "noise", "bridge": {"name": "goub"}, "clamp": False})
    objective = BridgeObjective(config, settings_of(config)[0], nn.Identity(), nn.Identity())
    assert objective.plan.end_fraction == 0
    assert not objective.restorer.clamp
