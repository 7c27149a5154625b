"""Model folders: what is saved is what is loaded, and every broken folder gets one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rebridge import bridges, models, networks
from rebridge.models import ModelError, TrainedModel, load_model


def tiny_network() -> nn.Module:
    torch.manual_seed(0)
    network = networks.create("fast", widths=(8, 8), blocks=(1,), middle=1, embedding=8)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.05)
    return network


def save(folder: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "sampler": {"name": "dbim", "steps": 3},
        "tasks": ["rain", "noise"],
        "training": {"iterations": 10},
    }
    network, dtype = changes.pop("network", None), changes.pop("dtype", None)
    network = tiny_network() if network is None else network
    bridge, prediction = bridges.create("rdbm", steps=20), changes.pop("prediction", "residual")
    model = TrainedModel.of(network, bridge, prediction, **(settings | changes))
    return model.save_pretrained(folder, dtype=dtype)


def rewrite_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_a_saved_model_computes_the_same_after_loading(tmp_path: Path) -> None:
    save(tmp_path / "m")
    model = load_model(tmp_path / "m")
    assert isinstance(model, TrainedModel)
    x, y, t = torch.randn(2, 3, 20, 18), torch.randn(2, 3, 20, 18), torch.tensor([0.3, 1.0])
    with torch.no_grad():
        assert torch.equal(model.network(x, t, y), tiny_network().eval()(x, t, y))
    assert model.info.name == "m"
    assert model.bridge == bridges.create("rdbm", steps=20)
    assert model.sampler_config == {"name": "dbim", "steps": 3}
    assert model.tasks == ["rain", "noise"]
    assert model.denoiser.prediction == "residual"
    assert not model.denoiser.training
    assert model.parameters == sum(weight.numel() for weight in tiny_network().parameters())


@pytest.mark.parametrize("released", [False, True])
def test_a_network_of_an_earlier_version_keeps_its_details(tmp_path: Path, released: bool) -> None:
    """Their configurations do not say `released`; the weights have the same names and shapes."""
    network = networks.create("rdbm-t", multipliers=(1, 2), released=released).eval()
    for k, weight in enumerate(network.parameters()):
        nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(k))
    save(tmp_path, network=network)
    if not released:
        described = json.loads((tmp_path / "config.json").read_text())["network"]
        rewrite_config(tmp_path, network={key: value for key, value in described.items() if key != "released"})
    x, t, y = torch.rand(1, 3, 9, 7), torch.tensor([0.4]), torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path).network(x, t, y), network(x, t, y))  # type: ignore[misc]


def test_half_precision_files_are_half_as_large_and_load_as_float32(tmp_path: Path) -> None:
    full = save(tmp_path / "full") / "model.safetensors"
    half = save(tmp_path / "half", dtype=torch.float16) / "model.safetensors"
    model = load_model(tmp_path / "half")
    assert isinstance(model, TrainedModel)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    for weight, exact in zip(model.network.parameters(), tiny_network().parameters(), strict=True):
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_weights_get_one_sentence(tmp_path: Path, share: float) -> None:
    path = save(tmp_path / "m") / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or incomplete") as caught:
        load_model(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "m") / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="sha256"):
        load_model(tmp_path / "m")


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    save(tmp_path / "m")
    other = {"name": "fast", "channels": 3, "widths": [8, 8], "blocks": [2], "middle": 1, "embedding": 8}
    rewrite_config(tmp_path / "m", network=other)
    with pytest.raises(ModelError, match="it lacks weight '"):
        load_model(tmp_path / "m")
    rewrite_config(tmp_path / "m", network=other | {"blocks": [1], "embedding": 16})
    with pytest.raises(ModelError, match="the network needs"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"format": None}, "format None"),
        ({"bridge": None}, "lacks the key 'bridge'"),
        ({"bridge": {"steps": 3}}, "'bridge' lacks a name"),
        ({"bridge": {"name": "nonsense"}}, "nonsense"),
        ({"network": {"name": "fast", "nonsense": 1}}, "nonsense"),
        ({"prediction": "nonsense"}, "nonsense"),
        ({"tasks": "rain"}, "'tasks' must be of type list"),
    ],
)
def test_a_config_that_cannot_be_used_names_the_key(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    save(tmp_path / "m")
    rewrite_config(tmp_path / "m", **changes)
    with pytest.raises(ModelError, match=words):
        load_model(tmp_path / "m")


def test_what_is_no_model_folder_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a model folder: it has neither config\.json"):
        load_model(tmp_path)
    save(tmp_path / "m")
    with pytest.raises(ModelError, match="give the folder"):
        load_model(tmp_path / "m" / "config.json")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        load_model(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not readable JSON"):
        load_model(tmp_path / "m")


def test_an_unknown_name_lists_the_packaged_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(models.places, "PACKAGED", tmp_path)
    save(tmp_path / "one")
    save(tmp_path / "two")
    assert models.packaged() == ["one", "two"]
    assert load_model("one").info.name == "one"
    with pytest.raises(ModelError, match=r"unknown model 'three': .* packaged models are one, two"):
        load_model("three")


def test_every_packaged_model_loads() -> None:
    for name in models.packaged():
        assert load_model(name).parameters > 0


def test_an_id_of_the_hub_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"model 'someone/nothing' .* unset HF_HUB_OFFLINE") as caught:
        load_model("someone/nothing")
    assert "\n" not in str(caught.value)


def test_a_model_in_the_cache_of_the_hub_loads_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "0123456789" * 4
    repository = tmp_path / "models--someone--model"
    save(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert load_model("someone/model").info.name == "someone/model"


def test_a_full_disk_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ModelError, match=r"No space left on device$"):
        save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_model_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save(tmp_path / "m")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ModelError):
        save(tmp_path / "m", tasks=["haze"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before


def test_saving_again_replaces_the_model_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    save(tmp_path / "m", tasks=["haze"])
    assert load_model(tmp_path / "m").tasks == ["haze"]
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"


def test_weights_with_nan_are_neither_saved_nor_loaded(tmp_path: Path) -> None:
    network = tiny_network()
    nn.init.constant_(next(network.parameters()), float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        save(tmp_path / "m", network=network)
    assert not (tmp_path / "m").exists()


def test_the_card_names_tasks_parts_and_training(tmp_path: Path) -> None:
    save(tmp_path / "m")
    model = load_model(tmp_path / "m")
    assert isinstance(model, TrainedModel)
    card = model.card()
    written = (tmp_path / "m" / "README.md").read_text().splitlines(keepends=True)
    assert card == "".join(line for line in written if not line.startswith("| sha256"))
    for words in ("pipeline_tag: image-to-image", "- rain", "rdbm", "fast", "dbim", '"iterations": 10'):
        assert words in card


def test_only_a_model_folder_is_pushed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model folder"):
        models.push_model(tmp_path, "someone/model")


def test_what_could_not_be_loaded_again_is_refused_at_saving(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown sampler 'dbmi'"):
        save(tmp_path / "m", sampler={"name": "dbmi"})
    with pytest.raises(ModelError, match="needs a bridge with noise"):
        TrainedModel.of(tiny_network(), bridges.create("flow"), sampler={"name": "sde"}).save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="prediction must be one of"):
        save(tmp_path / "m", prediction="nonsense")
    changed = tiny_network()
    changed.tail = nn.Conv2d(8, 12, 1)
    with pytest.raises(ModelError, match=r"they differ in the weight 'tail\.weight'"):
        save(tmp_path / "m", network=changed)
    assert list(tmp_path.iterdir()) == []


def test_a_compiled_network_is_saved_as_the_network_it_was_made_of(tmp_path: Path) -> None:
    compiled: Any = torch.compile(tiny_network())
    save(tmp_path / "m", network=compiled)
    plain = save(tmp_path / "plain")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()


def test_presets_licence_source_and_clamp_survive_saving(tmp_path: Path) -> None:
    presets = tmp_path / "found.json"
    presets.write_text('{"format": 1, "tasks": {}}')
    model = TrainedModel.of(
        tiny_network(), bridges.create("rdbm"), "residual", clamp=False, presets=presets, licence="MIT", source="here"
    )
    loaded = load_model(model.save_pretrained(tmp_path / "m"))
    assert isinstance(loaded, TrainedModel)
    assert (loaded.info.licence, loaded.info.source, loaded.denoiser.clamp) == ("MIT", "here", False)
    assert loaded.info.presets is not None
    assert loaded.info.presets.read_text() == presets.read_text()


def test_loading_draws_no_random_numbers() -> None:
    state = torch.random.get_rng_state()
    for name in ("rdbm-tiny", "rdbm-small"):
        load_model(name, "cpu")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_network_far_larger_than_its_weights_takes_no_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    folder = load_model("rdbm-tiny", "cpu").save_pretrained(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["network"] |= {"widths": [32, 48, 64, 8192]}
    (folder / "config.json").write_text(json.dumps(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="does not fit the network"):
        load_model(folder, "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; its weights would be gigabytes
