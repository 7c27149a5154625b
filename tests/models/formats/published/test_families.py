"""Files in the authors' layouts give the official outputs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rebridge import bridges, samplers
from rebridge.denoisers import NetworkDenoiser
from rebridge.models.formats.published import Converted, build, build_autoencoder, convert
from tests.published import CLOSE, TIMES, Replay, assert_stated, empty, image, outputs, reference, state, weights

SIZE = (2, 3, 16, 24)
UNIT = (2, 3, 22, 18)


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def saved(folder: Path, content: Any, name: str = "model.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def lucidrains(part: dict[str, Tensor]) -> dict[str, Any]:
    """Wrap weights as lucidrains does, with zeros where averages are not taken."""
    inner = {f"model.{name}": value for name, value in part.items()}
    other = {name: torch.zeros_like(value) for name, value in inner.items()}
    averages = {f"online_model.{name}": value for name, value in other.items()}
    averages |= {f"ema_model.{name}": value for name, value in inner.items()}
    averages |= {"initted": torch.tensor([True]), "step": torch.tensor([300])}
    averages["ema_model.betas"] = torch.zeros(5)
    return {"step": 300, "model": other, "opt": {"state": {}}, "ema": averages, "scaler": None}


def i2sb(part: dict[str, Tensor]) -> dict[str, Any]:
    """{net, ema, optimizer, sched} with a list of averages that have no names."""
    net = {f"diffusion_model.{name}": torch.zeros_like(value) for name, value in part.items()}
    averages = {"decay": 0.99, "num_updates": 3, "shadow_params": list(part.values()), "collected_params": []}
    return {"net": net | {"noise_levels": torch.zeros(1000)}, "ema": averages, "optimizer": {}, "sched": None}


def round_trip(converted: Converted) -> Converted:
    """Rebuild the network from JSON and safetensors, and return the model."""
    rebuilt = build(json.loads(json.dumps(converted.network.config)))
    rebuilt.load_state_dict(load_tensors(save_tensors(converted.network.state_dict())))
    assert rebuilt.bridge == converted.bridge
    config = json.loads(json.dumps(converted.config))
    assert bridges.create(config["bridge"].pop("name"), **config["bridge"]) == converted.bridge
    assert samplers.create(config["sampler"].pop("name"), **config["sampler"]) == converted.sampler
    assert converted.denoiser().clamp == config["clamp"]
    if converted.autoencoder is not None:
        build_autoencoder(config["autoencoder"]).load_state_dict(converted.autoencoder.state_dict())
    return converted


def test_diffuir_gives_the_official_outputs_at_any_size(tmp_path: Path) -> None:
    converted = round_trip(convert(saved(tmp_path, lucidrains(state("diffuir_unet")))))
    assert (converted.family, converted.parameters) == ("diffuir", reference("diffuir_unet")["tiny_parameters"])
    assert "averaged" in converted.taken
    network, expected = converted.network.network, outputs("diffuir_unet")
    for name, size in (("out", SIZE), ("odd", (2, 3, 18, 21))):
        torch.testing.assert_close(network(image(size, 0), TIMES, image(size, 1)), expected[name], **CLOSE)


def test_diffuir_restores_as_its_authors_do(tmp_path: Path) -> None:
    converted = convert(saved(tmp_path, lucidrains(state("diffuir_unet"))))
    y = 2 * image(SIZE, 1, 0, 1) - 1
    states: list[Tensor] = []
    denoiser = NetworkDenoiser(converted.network, converted.bridge, converted.prediction, clamp=converted.clamp).eval()
    noise = Replay(image(SIZE, 9))
    result = converted.sampler(
        converted.bridge, denoiser, y, noise=noise, callback=lambda step, t, x_t, x0: states.append(x_t)
    )
    states.append(result.clamp(-1, 1))
    expected = outputs("diffuir_chain")["states"]
    for found, official in zip(states, expected, strict=True):
        torch.testing.assert_close((found + 1) / 2, official, **CLOSE)


@pytest.mark.parametrize(("name", "form"), [("rddm_two_unets", "two"), ("rddm_shared_encoder", "shared")])
def test_rddm_gives_the_official_residual_and_noise(tmp_path: Path, name: str, form: str) -> None:
    converted = round_trip(convert(saved(tmp_path, lucidrains(state(name)))))
    assert (converted.family, converted.network.config["form"]) == ("rddm", form)
    assert converted.parameters == reference(name)["tiny_parameters"]
    found = dict(
        zip(("res", "noise"), converted.network.network(image(SIZE, 0), TIMES, image(SIZE, 1), TIMES), strict=True)
    )
    if form == "two":
        for head, value in outputs(name).items():
            torch.testing.assert_close(found[head], value, **CLOSE)
    for head, stated in reference(name)["outputs"].items():
        assert_stated(found[head], stated)


def test_rddm_for_dark_images_has_one_network(tmp_path: Path) -> None:
    path = saved(tmp_path, lucidrains(state("diffuir_unet")))
    converted = round_trip(convert(path, family="rddm", task="lowlight"))
    assert (converted.family, converted.tasks, converted.sampler.steps) == ("rddm", ("lowlight",), 2)
    y = image(SIZE, 1)
    assert converted.network(y, torch.tensor([1.0, 0.5]), y).shape == y.shape


@pytest.mark.parametrize("name", ["irsde_conditional_unet", "irsde_conditional_nafnet"])
def test_ir_sde_gives_the_official_noise(tmp_path: Path, name: str) -> None:
    wrapped = {f"module.{key}": value for key, value in state(name).items()}
    converted = round_trip(convert(saved(tmp_path, wrapped)))
    assert converted.parameters == reference(name)["tiny_parameters"]
    noise = converted.network.network(image(UNIT, 0, 0, 1), torch.tensor([7.0, 93.0]), image(UNIT, 1, 0, 1))
    torch.testing.assert_close(noise, outputs(name)["out"], **CLOSE)


def test_a_conditional_nafnet_is_refusion_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    path = saved(tmp_path, state("irsde_conditional_nafnet"))
    assert (convert(path).family, convert(path).bridge.params["lam"]) == ("refusion", 50 / 255)
    assert convert(path, family="ir-sde").bridge.params["lam"] == 10 / 255
    assert convert(path, max_sigma=20).bridge.params["lam"] == 20 / 255


@pytest.mark.slow
@pytest.mark.parametrize("name", ["irsde_conditional_unet", "irsde_conditional_nafnet"])
def test_ir_sde_gives_the_official_noise_at_the_published_size(tmp_path: Path, name: str) -> None:
    converted = convert(saved(tmp_path, state(name, "true_shapes")))
    x, y = image((1, 3, 16, 16), 0, 0, 1), image((1, 3, 16, 16), 1, 0, 1)
    found = converted.network.network(x, torch.tensor([42.0]), y)
    torch.testing.assert_close(found, outputs(name)["true_out"], **CLOSE)


@pytest.mark.parametrize(("name", "size"), [("irsde_denoising_unet", (2, 3, 24, 16)), ("irsde_denoising_nafnet", UNIT)])
def test_ir_sde_without_condition_gives_the_official_noise(tmp_path: Path, name: str, size: tuple[int, ...]) -> None:
    converted = round_trip(convert(saved(tmp_path, state(name))))
    assert (converted.family, converted.sampler.name) == ("ir-sde-denoising", "denoise")
    x = image(size, 0, 0, 1)
    noise = converted.network.network(x, torch.tensor([7.0, 93.0]), x)
    assert_stated(noise, reference(name)["outputs"]["out"])
    if name == "irsde_denoising_unet":
        torch.testing.assert_close(noise, outputs(name)["out"], **CLOSE)


@pytest.mark.parametrize("family", ["ir-sde", "goub", "unidb"])
def test_the_same_weights_serve_three_processes(tmp_path: Path, family: str) -> None:
    path = saved(tmp_path, state("irsde_conditional_unet"))
    converted = round_trip(convert(path, family=family, task="inpaint"))
    assert converted.bridge.name == family
    assert converted.bridge.params["lam"] == pytest.approx(30 / 255)
    y = image(UNIT, 1, 0, 1)
    assert converted.network(y, torch.tensor([1.0, 0.5]), y).isfinite().all()


PRIORS: dict[str, dict[str, Any]] = {
    "adm_uncond256": {"head_width": 16},
    "adm_cond256": {"head_width": 16, "label": 2},
    "adm_ffhq256": {"head_width": 16, "new_order": True},
}


@pytest.mark.parametrize("name", list(PRIORS))
def test_adm_gives_the_official_outputs(tmp_path: Path, name: str) -> None:
    pytest.importorskip("diffusers")
    converted = round_trip(convert(saved(tmp_path, state(name)), **PRIORS[name]))
    assert (converted.family, converted.parameters) == ("adm", reference(name)["tiny_parameters"])
    labels = torch.tensor([2, 5]) if name == "adm_cond256" else None
    found = converted.network.network(image(SIZE, 0), TIMES, labels)
    assert_stated(found, reference(name)["outputs"]["out"])
    if name != "adm_ffhq256":
        torch.testing.assert_close(found, outputs(name)["out"], **CLOSE)


def test_ddpm_gives_the_official_noise(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    converted = round_trip(convert(saved(tmp_path, state("ddpm_celebahq"), "celeba_hq.ckpt")))
    assert (converted.family, converted.parameters) == ("ddpm", reference("ddpm_celebahq")["tiny_parameters"])
    found = converted.network.network(image((2, 3, 32, 32), 0), TIMES)
    torch.testing.assert_close(found, outputs("ddpm_celebahq")["out"], **CLOSE)


def test_i2sb_takes_the_nameless_averages_and_gives_the_official_output(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    converted = round_trip(convert(saved(tmp_path, i2sb(state("i2sb_adm"))), task="blur-uni", head_width=16))
    assert (converted.family, converted.parameters) == ("i2sb", reference("i2sb_adm")["tiny_parameters"])
    assert "averaged" in converted.taken
    assert converted.bridge.noiseless
    both = torch.cat([image(SIZE, 0), image(SIZE, 1)], dim=1)
    found = converted.network.network(both, torch.tensor([0.1, 731.5]))
    torch.testing.assert_close(found, outputs("i2sb_adm")["out"], **CLOSE)


def test_ddbm_gives_the_stated_output(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    converted = round_trip(convert(saved(tmp_path, state("ddbm_adm")), head_width=16))
    assert (converted.family, converted.parameters) == ("ddbm", reference("ddbm_adm")["tiny_parameters"])
    both = torch.cat([image(SIZE, 0), image(SIZE, 1)], dim=1)
    assert_stated(converted.network.network(both, TIMES), reference("ddbm_adm")["outputs"]["out"])


@pytest.mark.parametrize("conditional", [False, True])
def test_bbdm_gives_the_stated_output_and_brings_its_autoencoder(tmp_path: Path, conditional: bool) -> None:
    pytest.importorskip("diffusers")
    content = reference("bbdm_ldm_unet")
    shapes = dict(content["tiny_shapes"])
    if conditional:
        shapes["input_blocks.0.0.weight"] = [32, 6, 3, 3]
    part = {f"denoise_fn.{key}": value for key, value in weights(shapes).items()}
    space = {f"vqgan.{key}": value for key, value in state("resshift_vqgan_f4").items()}
    model = {key: torch.zeros_like(value) for key, value in part.items()} | space | {"m_t": torch.zeros(1000)}
    converted = round_trip(
        convert(saved(tmp_path, {"epoch": 1, "step": 2, "model": model, "ema": part}), head_width=16)
    )
    assert converted.family == "bbdm"
    assert "averaged" in converted.taken
    seen = [image(SIZE, 0), image(SIZE, 1)] if conditional else [image(SIZE, 0)]
    found = converted.network.network(torch.cat(seen, dim=1), TIMES)
    assert_stated(found, content["outputs"]["cond" if conditional else "out"])
    assert converted.autoencoder is not None
    expected = outputs("resshift_vqgan_f4")
    torch.testing.assert_close(converted.autoencoder.encode(image((1, 3, 32, 24), 5)), expected["z"], **CLOSE)


def test_vq_autoencoder_gives_the_official_latents_and_images(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    extra = {"loss.discriminator.main.0.weight": torch.zeros(4, 4)}
    content = {"state_dict": state("resshift_vqgan_f4") | extra, "epoch": 5}
    converted = round_trip(convert(saved(tmp_path, content, "model.ckpt")))
    assert (converted.family, converted.parameters) == ("vq", reference("resshift_vqgan_f4")["tiny_parameters"])
    space: Any = converted.network.network
    expected = outputs("resshift_vqgan_f4")
    torch.testing.assert_close(space.encode(image((1, 3, 32, 24), 5)), expected["z"], **CLOSE)
    torch.testing.assert_close(space.decode(expected["z"]), expected["decoded"], **CLOSE)
    plain = space.decode(expected["z"], quantise=False)
    torch.testing.assert_close(plain, expected["decoded_unquantized"], **CLOSE)


def buffers(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def test_resshift_gives_the_official_outputs_and_needs_its_autoencoder_beside(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    content = reference("resshift_swinunet")
    whole = state("resshift_swinunet") | buffers(content["tiny_buffers"])
    unet = saved(tmp_path, {f"_orig_mod.{name}": value for name, value in whole.items()}, "resshift.pth")
    space = saved(tmp_path, state("resshift_vqgan_f4"), "autoencoder_vq_f4.pth")
    converted = round_trip(convert([unet, space]))
    assert converted.family == "resshift"
    assert converted.autoencoder is not None
    network, expected = converted.network.network, outputs("resshift_swinunet")
    assert sum(value.numel() for value in network.parameters()) == content["tiny_parameters"]
    times = torch.tensor([3, 11])
    found = network(image((2, 3, 16, 16), 0), times, image((2, 3, 16, 16), 1))
    torch.testing.assert_close(found, expected["out"], **CLOSE)
    other_size = network(image((2, 3, 24, 16), 3), times, image((2, 3, 24, 16), 4))
    torch.testing.assert_close(other_size, expected["odd"], **CLOSE)
    assert any("autoencoder" in note for note in convert(unet).notes)


def test_resshift_extracts_features_of_a_larger_picture(tmp_path: Path) -> None:
    content = reference("resshift_swinunet_lq64_shapes")
    path = saved(tmp_path, {"state_dict": weights(content["shapes"]) | buffers(content["buffers"])})
    converted = round_trip(convert(path))
    found = converted.network.network(image((2, 3, 16, 16), 0), torch.tensor([3, 11]), image((2, 3, 64, 64), 2))
    torch.testing.assert_close(found, outputs("resshift_swinunet")["out64"], **CLOSE)


def test_hidiff_gives_the_official_outputs_from_three_files(tmp_path: Path) -> None:
    whole = state("hidiff")
    paths = []
    for part in ("net_d", "net_g", "net_le_dm"):
        inner = {name.removeprefix(f"{part}."): value for name, value in whole.items() if name.startswith(f"{part}.")}
        paths.append(saved(tmp_path, {"params": inner}, f"{part}.pth"))
    converted = round_trip(convert(paths))
    assert (converted.family, converted.parameters) == ("hi-diff", reference("hidiff")["tiny_parameters"])
    network: Any = converted.network.network
    expected, y = outputs("hidiff"), image((2, 3, 32, 48), 1, 0, 1)
    condition = network.encoder(y)
    torch.testing.assert_close(condition, expected["condition"], **CLOSE)
    noise = network.diffusion.denoiser(image(tuple(condition.shape), 7), torch.tensor([3, 5]), condition)
    torch.testing.assert_close(noise, expected["estimate"], **CLOSE)
    torch.testing.assert_close(y + network.transformer(y, condition), expected["image"], **CLOSE)


def realblur() -> dict[str, dict[str, list[int]]]:
    """List names and shapes of RealBlur's three files, at a tiny width."""
    g = {
        name.removeprefix("net_g."): shape
        for name, shape in reference("hidiff")["tiny_shapes"].items()
        if "net_g." in name
    }
    for name, shape in g.items():
        width = {"1": 8, "2": 16, "3": 32}.get(name.split("level")[-1][:1], 64)
        width = 16 if name.startswith(("refinement", "decoder_level1")) else width
        if ".ffn.project_in." in name or ".ffn.dwconv." in name:
            shape[0] = 4 * width
        elif ".ffn.project_out." in name:
            shape[1] = 2 * width
    le = {"conv1.0.weight": [8, 48, 3, 3], "conv1.0.bias": [8]}
    for i in (0, 2):
        le |= {f"blocks.0.{i}.weight": [8, 8, 3, 3], f"blocks.0.{i}.bias": [8]}
    for i, (before, after) in zip((0, 2, 4), ((8, 16), (16, 16), (16, 32)), strict=True):
        le |= {f"conv2.{i}.weight": [after, before, 3, 3], f"conv2.{i}.bias": [after]}
    for name, (wide, hidden) in {"patch_mixer": (16, 8), "channel_mixer": (32, 128)}.items():
        le |= {f"mlp.{name}.0.weight": [hidden, wide], f"mlp.{name}.0.bias": [hidden]}
        le |= {f"mlp.{name}.2.weight": [wide, hidden], f"mlp.{name}.2.bias": [wide]}
    le |= {f"mlp.norm{i}.{kind}": [32] for i in (1, 2) for kind in ("weight", "bias")}
    le |= {"end.0.weight": [32, 32], "end.0.bias": [32]}
    d = {"resmlp.0.weight": [32, 65], "resmlp.0.bias": [32]}
    for i in (2, 3):
        d |= {f"resmlp.{i}.resmlp.0.weight": [32, 32], f"resmlp.{i}.resmlp.0.bias": [32]}
    return {"net_g": g, "net_le_dm": le, "net_d": d}


def test_hidiff_of_realblur_computes_what_its_description_says(tmp_path: Path) -> None:
    parts = {name: weights(shapes) for name, shapes in realblur().items()}
    converted = round_trip(convert([saved(tmp_path, {"params": part}, f"{name}.pth") for name, part in parts.items()]))
    assert converted.parameters == sum(value.numel() for part in parts.values() for value in part.values())
    assert converted.network.config["form"] == "realblur"
    network: Any = converted.network.network
    y = image((2, 3, 32, 48), 1, 0, 1)
    le, d = parts["net_le_dm"], parts["net_d"]

    def convolved(h: Tensor, name: str) -> Tensor:
        return F.conv2d(h, le[f"{name}.weight"], le[f"{name}.bias"], padding=1)

    def dense(h: Tensor, part: dict[str, Tensor], name: str) -> Tensor:
        return F.linear(h, part[f"{name}.weight"], part[f"{name}.bias"])

    h = F.leaky_relu(convolved(F.pixel_unshuffle(y, 4), "conv1.0"), 0.1)
    h = h + convolved(F.leaky_relu(convolved(h, "blocks.0.0"), 0.1), "blocks.0.2")
    for i in (0, 2, 4):
        h = F.leaky_relu(convolved(h, f"conv2.{i}"), 0.1)
    z = F.adaptive_avg_pool2d(h, 4).flatten(2).mT
    inner = F.layer_norm(z, (32,), le["mlp.norm1.weight"], le["mlp.norm1.bias"]).mT
    z = z + dense(F.gelu(dense(inner, le, "mlp.patch_mixer.0")), le, "mlp.patch_mixer.2").mT
    inner = F.layer_norm(z, (32,), le["mlp.norm2.weight"], le["mlp.norm2.bias"])
    z = z + dense(F.gelu(dense(inner, le, "mlp.channel_mixer.0")), le, "mlp.channel_mixer.2")
    condition = F.leaky_relu(dense(z, le, "end.0"), 0.1)
    torch.testing.assert_close(network.encoder(y), condition, **CLOSE)
    noise = image(tuple(condition.shape), 7)
    h = torch.cat([condition, torch.full((2, 16, 1), 3 / 50), noise], dim=-1)
    for name in ("resmlp.0", "resmlp.2.resmlp.0", "resmlp.3.resmlp.0"):
        h = F.leaky_relu(dense(h, d, name), 0.1)
    torch.testing.assert_close(network.diffusion.denoiser(noise, torch.tensor([4, 4]), condition), h, **CLOSE)


ALL: dict[str, dict[str, Any]] = {
    "diffuir_unet": {}, "rddm_two_unets": {}, "rddm_shared_encoder": {}, "irsde_conditional_unet": {},
    "irsde_conditional_nafnet": {}, "irsde_denoising_unet": {}, "adm_uncond256": {"head_width": 16},
    "ddbm_adm": {"head_width": 16}, "ddpm_celebahq": {}, "resshift_swinunet": {}, "resshift_vqgan_f4": {}, "hidiff": {},
}  # fmt: skip


@pytest.mark.parametrize("name", list(ALL))
def test_every_family_runs_in_bfloat16(tmp_path: Path, name: str) -> None:
    pytest.importorskip("diffusers")
    converted = convert(saved(tmp_path, state(name)), dtype=torch.bfloat16, **ALL[name])
    assert {value.dtype for value in converted.network.state_dict().values()} == {torch.bfloat16}
    x = image((1, 3, 32, 32), 0).bfloat16()
    arguments = (x, torch.tensor([0.5]), x, *((x,) if name == "resshift_swinunet" else ()))
    found = converted.network(*arguments)
    for value in found if isinstance(found, tuple) else (found,):
        assert value.dtype == torch.bfloat16
        assert value.isfinite().all()


PUBLISHED = [
    ("diffuir_unet", 36_261_187, {}),
    ("rddm_two_unets", 72_522_374, {}),
    ("rddm_shared_encoder", 51_980_614, {}),
    ("irsde_conditional_unet", 137_147_523, {}),
    ("irsde_conditional_nafnet", 76_608_387, {}),
    ("irsde_denoising_unet", 137_137_091, {}),
    ("irsde_denoising_nafnet", 76_606_659, {}),
    ("adm_uncond256", 552_814_086, {}),
    ("adm_cond256", 553_838_086, {"label": 0}),
    ("adm_ffhq256", 93_563_910, {}),
    ("ddbm_adm", 552_814_083, {}),
    ("ddpm_celebahq", 113_673_219, {}),
    ("resshift_swinunet", 118_593_583, {}),
    ("resshift_vqgan_f4", 55_322_782, {}),
    ("hidiff", 28_486_900, {}),
]


@pytest.mark.parametrize(("name", "count", "options"), PUBLISHED)
def test_published_sizes_are_read_off_theweights(
    monkeypatch: pytest.MonkeyPatch, name: str, count: int, options: dict[str, Any]
) -> None:
    from rebridge.models.formats.published import catalogue
    from rebridge.models.formats.published.reading import Weights

    monkeypatch.setattr(catalogue, "read_weights", lambda path: Weights(empty(name), "none", Path(path)))
    assert convert(f"{name}.pth", **options).parameters == count
