"""Model folders that are broken, hostile, unsigned or half replaced: one sentence, or the model that was there."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rebridge import bridges, networks
from rebridge.images import write_atomic
from rebridge.irbridge.presets import read_presets
from rebridge.models import ModelError, TrainedModel, folder, load_model
from rebridge.models.weights import PREVIOUS_FILE
from tests.odd import VALUES, places, refusal, with_value

SHAPE = {"widths": (4, 4), "blocks": (1,), "middle": 1, "embedding": 4}


class Killed(BaseException):
    """Stands for a SIGKILL."""


def model(value: float) -> TrainedModel:
    """A model with all weights of one value."""
    network = networks.create("fast", **SHAPE)
    for weight in network.parameters():
        torch.nn.init.constant_(weight, value)
    return TrainedModel.of(network, bridges.create("rdbm"), "residual")


def value_of(path: Path) -> float:
    loaded = load_model(path)
    assert isinstance(loaded, TrainedModel)
    return next(loaded.network.parameters()).flatten()[0].item()


def rewrite(path: Path, **changes: Any) -> None:
    config = json.loads((path / "config.json").read_text()) | changes
    (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_a_folder_without_checksum_is_refused_with_what_to_add(tmp_path: Path) -> None:
    path = model(0.5).save_pretrained(tmp_path / "m")
    rewrite(path, sha256=None)
    checksum = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    with pytest.raises(ModelError, match=rf'has no checksum .* add "sha256": "{checksum}" to it'):
        load_model(path)
    rewrite(path, sha256=checksum)
    assert value_of(path) == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"name": "fast", "widths": [10**9, 4]}},
        {"network": {"name": "fast", "widths": [8192] * 4, "blocks": [128] * 3}},
        {"network": {"name": "fast", "blocks": [10**9]}},
        {"network": {"name": "fast", "widths": "no"}},
        {"network": {"name": "fast", "widths": {}}},
        {"network": {"name": "fast", "kinds": -1}},
        {"network": {"name": "published/x"}},
        {"network": {"name": ["fast"]}},
        {"network": []},
        {"predictor": {"network": []}},
        {"predictor": {"network": {"name": 5}}},
        {"bridge": {"name": "goub", "lam": 1e400}},
        {"bridge": {"name": "goub", "steps": 10**9}},
        {"bridge": {"name": "goub", "steps": "x"}},
        {"sampler": {"name": 3}},
        {"tasks": [["rain"]]},
        {"residual_scale": "1"},
        {"sha256": 5},
        {"sha256": "0" * 64},
    ],
)
def test_a_config_of_wrong_types_or_numbers_gives_one_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    path = model(0.5).save_pretrained(tmp_path / "m")
    rewrite(path, **change)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), value=VALUES)
def test_any_value_in_any_place_of_a_config_loads_or_is_refused_in_plain_words(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    if not path.exists():
        model(0.5).save_pretrained(path)
        (path / "sound.json").write_bytes((path / "config.json").read_bytes())
    config = json.loads((path / "sound.json").read_text())
    place = data.draw(st.sampled_from(sorted(places(config))))
    (path / "config.json").write_text(json.dumps(with_value(config, place, value)))
    refusal(ModelError, lambda: load_model(path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    for number, replace in enumerate((os.mkfifo, lambda place: os.symlink("/dev/zero", place))):
        path = model(0.5).save_pretrained(tmp_path / str(number))
        (path / name).unlink()
        replace(path / name)
        with pytest.raises(ModelError, match="is a (named pipe|device), not|not a model folder"):
            load_model(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1, "format": 1}', "[]", "", "\x00"])
def test_broken_json_gives_one_sentence(tmp_path: Path, text: str) -> None:
    path = model(0.5).save_pretrained(tmp_path / "m")
    (path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json (is not readable JSON|must hold)"):
        load_model(path)
    (tmp_path / "presets.json").write_text(text)
    with pytest.raises(ValueError, match=r"presets\.json holds no presets"):
        read_presets(tmp_path / "presets.json")


def test_a_model_that_is_replaced_loads_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def killed_at(count: int) -> Callable[..., None]:
        calls = iter(range(count))

        def write_or_die(*arguments: Any, **options: Any) -> None:
            if next(calls, None) is None:
                raise Killed
            write_atomic(*arguments, **options)

        return write_or_die

    for count in range(6):
        path = model(0.25).save_pretrained(tmp_path / str(count))
        monkeypatch.setattr(folder, "write_atomic", killed_at(count))
        with contextlib.suppress(Killed):
            model(0.75).save_pretrained(path)
        monkeypatch.undo()
        seen.append(value_of(path))
        model(0.5).save_pretrained(path)
        assert value_of(path) == 0.5
        assert sorted(file.name for file in path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert seen == [0.25, 0.25, 0.25, 0.75, 0.75, 0.75]


def test_a_disk_that_is_full_while_a_model_is_replaced_leaves_that_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model(0.25).save_pretrained(tmp_path / "m")

    def full(place: Path, *arguments: Any, **options: Any) -> None:
        if place.name == "config.json":
            raise OSError(28, "No space left on device")
        write_atomic(place, *arguments, **options)

    monkeypatch.setattr(folder, "write_atomic", full)
    with pytest.raises(ModelError, match="No space left on device"):
        model(0.75).save_pretrained(path)
    assert value_of(path) == 0.25
    assert not (path / PREVIOUS_FILE).exists()


def test_permissions_and_other_files_of_a_replaced_folder_stay(tmp_path: Path) -> None:
    path = model(0.25).save_pretrained(tmp_path / "m")
    (path / "notes.txt").write_text("mine")
    os.chmod(path / "model.safetensors", 0o600)
    model(0.75).save_pretrained(path)
    assert (path / "model.safetensors").stat().st_mode & 0o777 == 0o600
    assert (path / "notes.txt").read_text() == "mine"
