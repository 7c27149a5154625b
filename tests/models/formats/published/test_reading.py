"""Reading: every container, nothing that a file asks for is run, clear refusals."""

import argparse
import collections
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from rebridge.models.formats.published import FormatError, convert, read_weights
from tests.odd import refusal
from tests.published import state

PART = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
OTHER = {name: torch.zeros_like(value) for name, value in PART.items()}


class Harm:
    """Makes a file that would leave a mark when it is read carelessly."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def saved(folder: Path, content: Any, legacy: bool = False) -> Path:
    path = folder / "file.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def prefixed(prefix: str, part: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in part.items()}


CONTAINERS = {
    "plain": (PART, "only"),
    "ordered": (collections.OrderedDict(PART), "only"),
    "module": (prefixed("module.", PART), "only"),
    "compiled": (prefixed("_orig_mod.module.", PART), "only"),
    "state_dict": ({"state_dict": PART, "epoch": 3}, "trained"),
    "basicsr": ({"params": PART}, "trained"),
    "basicsr averages": ({"params": OTHER, "params_ema": PART}, "averaged"),
    "lucidrains": (
        {"step": 1, "model": OTHER, "opt": {}, "ema": prefixed("online_model.", OTHER) | prefixed("ema_model.", PART)},
        "averaged",
    ),
    "lucidrains without averages": ({"step": 1, "model": PART, "opt": {"state": {}}}, "trained"),
    "i2sb": ({"net": OTHER, "ema": {"decay": 0.99, "shadow_params": list(PART.values())}, "optimizer": {}}, "averaged"),
    "bbdm": ({"epoch": 1, "model": OTHER, "ema": PART}, "averaged"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", list(CONTAINERS))
def test_every_container_gives_its_best_weights_and_says_which(tmp_path: Path, kind: str, legacy: bool) -> None:
    content, words = CONTAINERS[kind]
    read = read_weights(saved(tmp_path, content, legacy))
    assert words in read.taken
    assert list(read.state) == list(PART)
    for name, value in PART.items():
        assert torch.equal(read.state[name], value)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(PART, tmp_path / "model.safetensors")
    assert torch.equal(read_weights(tmp_path / "model.safetensors").state["a.weight"], PART["a.weight"])


def test_averages_complete_what_was_not_trained(tmp_path: Path) -> None:
    model = OTHER | {"vqgan.weight": torch.full((3,), 7.0)}
    read = read_weights(saved(tmp_path, {"model": model, "ema": PART}))
    assert torch.equal(read.state["vqgan.weight"], model["vqgan.weight"])
    assert torch.equal(read.state["a.bias"], PART["a.bias"])


@pytest.mark.parametrize("legacy", [False, True])
def test_lightning_files_are_read_by_stand_ins(tmp_path: Path, legacy: bool) -> None:
    half = PART | {"b": torch.ones(3, dtype=torch.float16), "c": torch.tensor(3), "d": nn.Parameter(torch.ones(2))}
    half["view"] = torch.arange(12.0).reshape(3, 4).T[1:]
    content = {
        "state_dict": half,
        "callbacks": {collections.Counter: collections.Counter("abc")},
        "hyper_parameters": argparse.Namespace(lr=1e-4, names=["x"]),
        "best": np.float64(0.5),
        "pytorch-lightning_version": "1.4.2",
    }
    path = saved(tmp_path, content, legacy)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    read = read_weights(path)
    assert list(read.state) == list(half)
    for name, value in half.items():
        assert torch.equal(read.state[name], value)
        assert read.state[name].dtype == value.dtype


@pytest.mark.parametrize(
    "call", [(subprocess.Popen, ["true"]), (eval, "1"), (exec, "1"), (open, "mark"), (shutil.rmtree, "folder")]
)
def test_calls_of_every_kind_are_refused(tmp_path: Path, call: tuple[Any, ...]) -> None:
    class Calls:
        def __reduce__(self) -> tuple[Any, ...]:
            return call[0], call[1:]

    with pytest.raises(FormatError, match="asks to run"):
        read_weights(saved(tmp_path, {"state_dict": PART, "extra": Calls()}))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_harmful_file_runs_nothing_and_is_refused(tmp_path: Path, legacy: bool) -> None:
    mark = tmp_path / "mark"
    path = saved(tmp_path, {"state_dict": PART, "extra": Harm(mark)}, legacy)
    with pytest.raises(FormatError, match=r"file\.pth asks to run (posix|nt|os)\.system"):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("kept", [0, 3, 50, 200, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path: Path, kept: float, legacy: bool) -> None:
    path = saved(tmp_path, state("irsde_denoising_nafnet"), legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(FormatError, match=r"^file\.pth (is damaged|is empty|is a text|cannot)") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.yml", b"name: ir-sde\nnetwork_G:\n  nf: 64\n", "text file"),
        ("model.pth", b"name: ir-sde\nnetwork_G:\n  nf: 64\n", "text file"),
        ("model.pth", b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>", "web page"),
        ("model.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        ("model.pth", b"\x89PNG\r\n\x1a\n" + bytes(300), "damaged"),
        ("model.safetensors", b"\x00" * 20, "damaged"),
    ],
)
def test_what_is_no_file_of_weights_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=words):
        convert(tmp_path / name)


HURTFUL = {
    "memory": (b"\x80\x02}r\xff\xff\xff\x7f.", "asks for 2147483647 places of memory"),
    "depth": (b"\x80\x02})" + 5000 * b"\x85" + b"Ns.", "nests values more than 1000 deep"),
    "underflow": (b"\x80\x02(0)" + 5000 * b"\x85" + b"Ns.", "takes more than it has|more than 1000 deep"),
    "length": (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"}.", "damaged"),
}


@pytest.mark.parametrize("kind", list(HURTFUL))
def test_a_pickle_that_would_hurt_its_reader_is_refused(tmp_path: Path, kind: str) -> None:
    data, words = HURTFUL[kind]
    (tmp_path / "file.pth").write_bytes(data)
    with pytest.raises(FormatError, match=words):
        read_weights(tmp_path / "file.pth")


def test_an_archive_that_unpacks_to_far_more_than_itself_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + bytes(2**25))
    with pytest.raises(FormatError, match=r"unpacks to 0\.0 GiB"):
        read_weights(tmp_path / "file.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_larger_than_their_file_are_refused(tmp_path: Path, legacy: bool) -> None:
    huge = {"a.weight": torch.zeros(1).expand(100_000, 100_000)}
    with pytest.raises(FormatError, match=r"too small for a\.weight of shape \(100000, 100000\)"):
        read_weights(saved(tmp_path, huge, legacy))


@pytest.mark.parametrize("odd", [PART["a.weight"].to("meta"), PART["a.weight"].to_sparse(), PART["a.weight"] + 0j])
def test_what_is_no_plain_array_is_refused(tmp_path: Path, odd: Tensor) -> None:
    with pytest.raises(FormatError, match=r"something else than plain numbers as a\.weight"):
        read_weights(saved(tmp_path, PART | {"a.weight": odd}))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        convert(tmp_path / "nowhere.pth")
    with pytest.raises(FormatError, match="is a folder"):
        convert(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], PART["a.weight"], nn.Linear(2, 2), {"epoch": 3}])
def test_a_file_without_weights_by_name_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(FormatError, match=r"holds no"):
        read_weights(saved(tmp_path, content))


def test_averages_of_another_size_are_refused(tmp_path: Path) -> None:
    wide = {name: torch.zeros(4, *value.shape[1:]) for name, value in PART.items()}
    for content in ({"model": PART, "ema": prefixed("ema_model.", wide)}, {"model": PART, "ema": wide}):
        with pytest.raises(FormatError, match="another size"):
            read_weights(saved(tmp_path, content))
    with pytest.raises(FormatError, match="1 averaged weights for 2 trained"):
        read_weights(saved(tmp_path, {"net": PART, "ema": {"shadow_params": [torch.ones(1)]}}))


def test_weights_of_no_family_are_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"file\.pth holds 2 weights of no family known here, such as a\.weight"):
        convert(saved(tmp_path, PART))


def test_the_wrong_family_is_said_to_look_like_the_right_one(tmp_path: Path) -> None:
    path = saved(tmp_path, state("diffuir_unet"))
    with pytest.raises(FormatError, match="looks like DiffUIR, not GOUB"):
        convert(path, family="goub")
    with pytest.raises(ValueError, match="unknown published family 'goob'"):
        convert(path, family="goob")
    with pytest.raises(ValueError, match="no option 'max_sigma'"):
        convert(path, max_sigma=3)
    with pytest.raises(FormatError, match="not published for the task 'fog'"):
        convert(saved(tmp_path, state("irsde_conditional_unet")), task="fog")


SINGLE = [
    ("diffuir_unet", "DiffUIR"),
    ("rddm_two_unets", "RDDM"),
    ("irsde_conditional_unet", "IR-SDE"),
    ("irsde_conditional_nafnet", ""),
    ("adm_uncond256", "guided-diffusion"),
    ("ddpm_celebahq", "DDPM"),
    ("resshift_swinunet", "ResShift"),
    ("resshift_vqgan_f4", "VQ"),
]


@pytest.mark.parametrize(("name", "family"), SINGLE)
@pytest.mark.parametrize("missing", [3, -20])
def test_missing_weights_are_named_with_the_family(tmp_path: Path, name: str, family: str, missing: int) -> None:
    part = state(name)
    options: dict[str, Any] = {"head_width": 16} if name.startswith("adm") else {}
    del part[list(part)[missing]]
    with pytest.raises(FormatError, match=rf"file\.pth (looks like .*{family}.*|holds \d+ weights)") as caught:
        convert(saved(tmp_path, part), **options)
    assert "\n" not in str(caught.value)


def test_one_of_three_files_says_which_are_missing(tmp_path: Path) -> None:
    inner = {name.removeprefix("net_g."): value for name, value in state("hidiff").items() if name.startswith("net_g.")}
    with pytest.raises(FormatError, match="looks like HI-Diff, but lacks net_le_dm and net_d"):
        convert(saved(tmp_path, {"params": inner}))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", ["cut", "harmful", "averages", "safetensors"])
def test_a_file_that_cannot_be_read_is_named_by_what_it_looks_like(tmp_path: Path, kind: str, legacy: bool) -> None:
    part, words = state("diffuir_unet"), "is damaged"
    if kind == "harmful":
        path, words = saved(tmp_path, {"model": part, "x": Harm(tmp_path / "mark")}, legacy), "asks to run"
    elif kind == "averages":
        wide = {name: torch.zeros(3, *value.shape) for name, value in part.items()}
        path, words = saved(tmp_path, {"model": part, "ema": prefixed("ema_model.", wide)}, legacy), "another size"
    else:
        path = saved(tmp_path, prefixed("model.", part), legacy)
        if kind == "safetensors":
            path = path.with_suffix(".safetensors")
            save_file(part, path)
        path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
    with pytest.raises(FormatError, match=rf"^{path.name} looks like DiffUIR, but .*{words}") as caught:
        convert(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "family"),
    [("which_model_G: ConditionalUNet", "IR-SDE"), ("lambda_square: 30", "GOUB"), ("target: x.LBBDM", "BBDM")],
)
def test_settings_instead_of_weights_say_whose_they_are(tmp_path: Path, words: str, family: str) -> None:
    (tmp_path / "test.yml").write_text(f"name: x\n{words}\n")
    with pytest.raises(FormatError, match=rf"test\.yml looks like {family}, but is a text file, such as settings"):
        convert(tmp_path / "test.yml")


ANCHORS = [
    ("irsde_conditional_unet", "init_conv.weight", "IR-SDE"),
    ("irsde_conditional_nafnet", "intro.weight", "Refusion"),
    ("diffuir_unet", "unet0.init_conv.weight", "DiffUIR"),
    ("adm_uncond256", "input_blocks.0.0.weight", r"a prior of guided-diffusion \(ADM\)"),
    ("ddpm_celebahq", "temb.dense.0.weight", "a prior of DDPM"),
    ("resshift_vqgan_f4", "quantize.embedding.weight", "a VQ autoencoder"),
    ("resshift_swinunet", "input_blocks.1.1.patch_embed.proj.weight", "ResShift"),
]


@pytest.mark.parametrize(("name", "anchor", "title"), ANCHORS)
def test_the_family_is_named_even_without_the_weight_that_tells_it(
    tmp_path: Path, name: str, anchor: str, title: str
) -> None:
    whole = state(name)
    del whole[anchor]
    torch.save(whole, tmp_path / "model.pth")
    with pytest.raises(FormatError, match=f"looks like {title}, but lacks {anchor}"):
        convert(tmp_path / "model.pth")


def test_averages_of_another_network_are_refused(tmp_path: Path) -> None:
    averages = {f"ema_model.model.{key}": value for key, value in state("rddm_two_unets").items()}
    trained = {f"model.{key}": value for key, value in state("diffuir_unet").items()}
    torch.save({"model": trained, "ema": averages}, tmp_path / "model.pt")
    with pytest.raises(FormatError, match="averaged weights that its model has not"):
        convert(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("diffuir_unet", "unet0.downs.999999999.3.weight"),
        ("adm_uncond256", "output_blocks.999999999.0.weight"),
        ("resshift_swinunet", "input_blocks.999999999.0.weight"),
        ("resshift_vqgan_f4", "encoder.down.999999999.block.0.conv1.weight"),
    ],
)
def test_numbers_out_of_all_proportion_are_refused_at_once(tmp_path: Path, name: str, odd: str) -> None:
    path = saved(tmp_path, state(name) | {odd: torch.zeros(1)})
    with pytest.raises(FormatError, match=r"a part with the number 999999999, but \d+ weights in all"):
        convert(path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_whole_numbers_are_no_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    path = saved(tmp_path, {name: value.to(dtype) for name, value in state("diffuir_unet").items()})
    with pytest.raises(FormatError, match=r"looks like DiffUIR, but has whole numbers as network"):
        convert(path)


def test_a_task_is_refused_where_there_is_none(tmp_path: Path) -> None:
    torch.save(state("ddpm_celebahq"), tmp_path / "celeba_hq.ckpt")
    with pytest.raises(FormatError, match="not published by tasks: leave 'rain' out"):
        convert(tmp_path / "celeba_hq.ckpt", task="rain")


ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "empty": lambda value: torch.empty(0),
    "no rows": lambda value: value.new_empty((0, *value.shape[1:])),
    "no columns": lambda value: value.new_empty((*value.shape, 0)),
    "a number": lambda value: torch.tensor(1.0),
    "one more side": lambda value: value[None],
    "flat": lambda value: value.flatten(),
    "turned": lambda value: value.transpose(0, -1),
    "whole": lambda value: value.to(torch.int8),
    "complex": lambda value: value.to(torch.complex64),
    "sparse": lambda value: value.to_sparse(),
}


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from([name for name, _, _ in ANCHORS]),
    odd=st.sampled_from(sorted(ODD)),
    place=st.integers(0, 10**6),
)
def test_a_weight_of_any_odd_form_is_taken_or_refused_in_plain_words(
    tmp_path_factory: pytest.TempPathFactory, name: str, odd: str, place: int
) -> None:
    weights = dict(state(name))
    keys = sorted(weights)
    key = keys[place % len(keys)]
    weights[key] = ODD[odd](weights[key])
    path = saved(tmp_path_factory.getbasetemp(), weights)
    refusal(FormatError, lambda: convert(path))
