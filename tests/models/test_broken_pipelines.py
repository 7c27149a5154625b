"""Folders of diffusers that are broken or hostile: one sentence, no code of theirs runs, nothing waits or fills the memory."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import diffusers

from rebridge.models import ModelError, load_model
from tests.models import tiny_pipelines as tiny
from tests.odd import refusal


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_stable_diffusion(tmp_path_factory.mktemp("pipelines") / "sd")


@pytest.fixture
def sd(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "sd"))


class Payload:
    """Unpickled, it would leave a folder."""

    def __reduce__(self) -> Any:
        return (os.mkdir, (os.environ["PAYLOAD"],))


def refused(path: Path, words: str = "") -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_components_come_from_diffusers_or_transformers_only(sd: Path, tmp_path: Path) -> None:
    (sd / "unet" / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})\nclass Evil: pass\n")
    for library in ("evil", "os", "unet.evil", ["diffusers"], 5):
        change(sd / "model_index.json", unet=[library, "Evil"])
        refused(sd, "only those of diffusers and transformers are loaded")
    assert not (tmp_path / "ran").exists()


def test_an_interrupted_download_and_pickles_give_one_sentence(
    sd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYLOAD", str(tmp_path / "ran"))
    os.truncate(sd / "text_encoder" / "model.safetensors", 500)
    refused(sd)
    (sd / "text_encoder" / "model.safetensors").unlink()
    (sd / "text_encoder" / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    refused(sd)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["[]", "5", "{", "[" * 100_000, '{"a": 1, "a": 2}', ""])
@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "text_encoder/config.json"])
def test_configs_that_are_none_give_one_sentence(sd: Path, name: str, content: str) -> None:
    (sd / name).write_text(content)
    refused(sd)


def test_numbers_beyond_all_models_and_words_for_numbers_are_named(sd: Path) -> None:
    kept = (sd / "text_encoder" / "config.json").read_text()
    for value, words in ((10**9, "'vocab_size' is 1000000000, more than any model has"), ("many", ""), ([], "")):
        change(sd / "text_encoder" / "config.json", vocab_size=value)
        refused(sd, words)
        (sd / "text_encoder" / "config.json").write_text(kept)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("unet/config.json", "in_channels", [4]),
        ("vae/config.json", "block_out_channels", None),
        ("vae/config.json", "up_block_types", 0),
        ("text_encoder/config.json", "attention_dropout", []),
        ("tokenizer/tokenizer_config.json", "bos_token", []),
        ("model_index.json", "unet", ""),
        ("model_index.json", "vae", 10**6),
    ],
)
def test_values_of_another_kind_are_refused_in_plain_words(sd: Path, name: str, key: str, value: Any) -> None:
    change(sd / name, **{key: value})
    sentence = refusal(ModelError, lambda: load_model(sd))
    assert sentence is not None
    assert str(sd) in sentence


@pytest.mark.parametrize("name", ["unet/config.json", "vae/diffusion_pytorch_model.safetensors", "model_index.json"])
def test_pipes_are_refused_at_once(sd: Path, name: str) -> None:
    (sd / name).unlink()
    os.mkfifo(sd / name)
    refused(sd)


def test_releases_that_run_foreign_code_are_refused(sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers, "__version__", "0.37.1")
    refused(sd, r"diffusers 0\.37\.1 is too old to load pipelines safely: pip install 'diffusers>=0\.38'")
