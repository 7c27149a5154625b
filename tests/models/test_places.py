"""The Hub: what is pushed loads again by revision, by huggingface_hub itself from a server that speaks its protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from rebridge import bridges, networks
from rebridge.models import ModelError, TrainedModel, find_model, load_model, push_model
from rebridge.models.config import read_config
from tests.models.hub_server import HubServer

ROOT = Path(__file__).parent.parent.parent
TALK = """
import json, sys
from rebridge.models import ModelError, find_model, load_model
from rebridge.models.config import read_config
found = {}
for name, revision in json.loads(sys.argv[1]):
    try:
        load_model(name, revision=revision)
        found[str(revision)] = read_config(find_model(name, revision))["sha256"]
    except ModelError as error:
        found[str(revision)] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def model_in(folder: Path, seed: int, **about: Any) -> Path:
    torch.manual_seed(seed)
    network = networks.create("fast", widths=[8, 16], blocks=[1], middle=1, embedding=16)
    torch.nn.init.normal_(next(network.parameters()))
    training = {"psnr": {"psnr/1 step/rain": 30.123, "psnr/5 steps/rain": 31.0}}
    model = TrainedModel.of(network, bridges.create("rdbm"), tasks=["rain"], training=training, **about)
    return model.save_pretrained(folder)


def talk(words: list[str], hub: HubServer, home: Path, offline: bool = False) -> Any:
    variables = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    variables |= {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_test", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def push(hub: HubServer, home: Path, *words: str, offline: bool = False) -> Any:
    return talk(["-m", "rebridge.cli", "push", *words], hub, home, offline)


def test_what_is_pushed_loads_by_revision_and_offline_from_the_cache(hub: HubServer, tmp_path: Path) -> None:
    first, second = (model_in(tmp_path / name, seed) for seed, name in enumerate(("one", "two")))
    code, out, err = push(hub, tmp_path, str(first), "me/rain", "--private", "--json")
    assert code == 0, err
    assert json.loads(out)["repository"] == "me/rain"
    assert hub.private["me/rain"]
    code, out, err = push(hub, tmp_path, str(second), "me/rain", "--revision", "next", "--message", "More")
    assert code == 0, err
    assert "me/rain" in out
    assert "next" in out
    sums = [read_config(folder)["sha256"] for folder in (first, second)]
    pushed = [hub.files("me/rain", branch) or {} for branch in ("main", "next")]
    assert [yaml.safe_load(files["README.md"].decode().split("---")[1])["sha256"] for files in pushed] == sums
    assert [hashlib.sha256(files["model.safetensors"]).hexdigest() for files in pushed] == sums
    commit = hub.branches["me/rain"]["main"]

    wanted = [("me/rain", None), ("me/rain", "next"), ("me/rain", commit), ("me/rain", "never"), ("me/none", "x")]
    code, out, err = talk(["-c", TALK, json.dumps(wanted)], hub, tmp_path / "home")
    assert code == 0, err
    found = json.loads(out)
    assert [found["None"], found["next"], found[commit]] == [sums[0], sums[1], sums[0]]
    assert "'me/rain' at revision 'never'" in found["never"]
    assert "neither a folder nor on the Hugging Face Hub" in found["x"]

    code, out, err = talk(["-m", "rebridge.cli", "info", "me/rain@next", "--json"], hub, tmp_path / "home")
    assert code == 0, err
    told = json.loads(out)
    assert (told["name"], read_config(Path(told["folder"]))["sha256"]) == ("me/rain@next", sums[1])

    wanted = [("me/rain", "next"), ("me/other", "gone")]
    code, out, err = talk(["-c", TALK, json.dumps(wanted)], hub, tmp_path / "home", offline=True)
    found = json.loads(out)
    assert found["next"] == sums[1]
    assert "unset HF_HUB_OFFLINE to download it, or give a folder" in found["gone"]


def test_without_the_extra_the_hub_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_in(tmp_path / "one", 0)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert load_model(folder).info.tasks == ("rain",)
    for call in (
        partial(load_model, "me/rain"),
        partial(find_model, "me/rain/x.pt"),
        partial(push_model, folder, "me/x"),
    ):
        with pytest.raises(ModelError, match=r"huggingface_hub is missing\): pip install 'rebridge\[hub\]'"):
            call()


def test_a_folder_with_an_at_in_its_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model(str(model_in(Path("me") / "rain@next", 0))) == Path("me/rain@next")


def test_pushing_offline_or_what_is_no_model_is_one_sentence(hub: HubServer, tmp_path: Path) -> None:
    folder = model_in(tmp_path / "one", 0)
    code, _, err = push(hub, tmp_path, str(folder), "me/rain", offline=True)
    assert (code, "HF_HUB_OFFLINE is set" in err) == (2, True)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    code, _, err = push(hub, tmp_path, str(folder), "me/damaged")
    assert (code, "wrong sha256" in err, "me/damaged" in hub.branches) == (2, True, False)


def test_the_card_has_the_metadata_that_the_hub_reads(tmp_path: Path) -> None:
    folder = model_in(tmp_path / "mine", 0, licence="Apache-2.0", base_model="someone/base")
    data = ModelCard.load(folder / "README.md").data
    assert (data.pipeline_tag, data.library_name, data.license) == ("image-to-image", "rebridge", "apache-2.0")
    assert data.base_model == "someone/base"
    results = data.eval_results or []
    assert {(result.metric_type, result.metric_value, result.metric_name) for result in results} == {
        ("psnr", 30.12, "PSNR in dB, 1 step"),
        ("psnr", 31.0, "PSNR in dB, 5 steps"),
    }


def test_a_card_of_the_users_own_keeps_its_words_and_gets_what_it_lacks(hub: HubServer, tmp_path: Path) -> None:
    folder = model_in(tmp_path / "mine", 0, licence="For study only, see the paper.")
    (folder / "README.md").write_text("---\nlicense: mit\ntags:\n- mine\n---\n\n# My own words\n")
    code, _, err = push(hub, tmp_path, str(folder), "me/own")
    assert code == 0, err
    text = (hub.files("me/own") or {})["README.md"].decode()
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["tags"], front["pipeline_tag"]) == ("mit", ["mine"], "image-to-image")
    assert text.endswith("\n# My own words\n")
