"""Pipelines of diffusers as priors: the real loading code on tiny pipelines in folders, held to diffusers' own samplers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from rebridge import Restorer
from rebridge.bridges import create
from rebridge.bridges import transition as tr
from rebridge.denoisers import as_estimate
from rebridge.models import ModelError, load_model, load_prior
from rebridge.models.diffusers import TILED_FROM, DiffusersModel, LatentSpace, TabulatedVP, process_of
from rebridge.models.pipelines import load_pipeline
from tests.models import tiny_pipelines as tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {
        "sd": tiny.save_stable_diffusion(root / "sd"),
        "sd-v": tiny.save_stable_diffusion(root / "sd-v", "v_prediction"),
        "sd-sample": tiny.save_stable_diffusion(root / "sd-sample", "sample"),
        "sd-control": tiny.save_stable_diffusion(root / "sd-control", controlnet=True),
        "sdxl": tiny.save_stable_diffusion_xl(root / "sdxl"),
        "ddpm": tiny.save_ddpm(root / "ddpm"),
    }


@pytest.fixture(scope="session")
def controlnet(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet for the tiny Stable Diffusion whose outputs are not zero, as they are before training."""
    folder = tmp_path_factory.mktemp("controlnets") / "control"
    return tiny.save_controlnet(folders["sd"], folder)


@pytest.fixture
def quiet() -> Iterator[None]:
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(before)


# -- what a pipeline says --------------------------------------------------------------------------------------------------


def test_the_process_is_that_of_the_scheduler(folders: dict[str, Path]) -> None:
    prior = load_pipeline(folders["sd"])
    j = torch.arange(1000)
    c = prior.process.coefficients((j.double() + 1) / 1000)
    alphas = prior.pipeline.scheduler.alphas_cumprod.double()
    torch.testing.assert_close(c.alpha, alphas.sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(c.gamma, (1 - alphas).sqrt(), rtol=1e-9, atol=0)
    assert torch.equal(prior.index((j.double() + 1) / 1000), j.float())
    assert prior.index(torch.tensor([0.0, 0.0005])).tolist() == [0.0, 0.0]  # before the first trained time


@pytest.mark.parametrize(("lam", "index"), [(1, 283), (2, 491), (3, 609), (4, 685), (5, 740)])
def test_critical_times_of_the_loaded_scheduler_are_the_papers(folders: dict[str, Path], lam: int, index: int) -> None:
    process = load_pipeline(folders["sd"]).process
    s = tr.critical_time(create("ir-sde", lam=lam / 255), 1.0, process)
    assert abs(s.item() * 1000 - 1 - index) <= 1


@pytest.mark.parametrize(("name", "prediction"), [("sd", "epsilon"), ("sd-v", "v_prediction"), ("sd-sample", "sample")])
def test_the_clean_estimate_is_that_of_diffusers_own_scheduler(
    folders: dict[str, Path], name: str, prediction: str
) -> None:
    prior = load_pipeline(folders[name])
    assert prior.prediction == prediction
    scheduler = prior.pipeline.scheduler
    scheduler.set_timesteps(1000)
    scheduler.register_to_config(clip_sample=False)
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    embedding = prior.texts[True]["encoder_hidden_states"].expand(2, -1, -1)
    for j in (30, 500, 950):
        with torch.no_grad():
            output = prior.unet(z, j, encoder_hidden_states=embedding).sample
        expected = scheduler.step(output, j, z).pred_original_sample
        s = torch.full((2,), (j + 1) / 1000, dtype=torch.float64)
        estimate = as_estimate(prior.given(torch.rand(2, 3, 16, 16))(z, s, z)).x0
        torch.testing.assert_close(estimate, expected, rtol=1e-4, atol=1e-4)


def test_a_generation_is_that_of_diffusers_own_pipeline(folders: dict[str, Path], quiet: None) -> None:
    # the bridge leaves no trace in DDIM: the library's sampler on the prior's process, and the pipeline's loop
    prior = load_pipeline(folders["sd"])
    pipeline = prior.pipeline
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.register_to_config(clip_sample=False, set_alpha_to_one=True, steps_offset=1)
    pipeline.scheduler.final_alpha_cumprod = torch.tensor(1.0)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = pipeline(
        prompt="", guidance_scale=1.0, num_inference_steps=10, latents=noise.clone(), output_type="latent", height=16, width=16
    ).images  # fmt: skip
    from rebridge.samplers import create as create_sampler

    times = [(j + 1) / 1000 for j in pipeline.scheduler.timesteps.tolist()] + [0.0]
    images = torch.rand(1, 3, 16, 16)
    result = create_sampler("dbim")(prior.process, prior.given(images), noise, x=noise, times=times)
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-3)


def test_a_schedule_with_zero_terminal_snr_is_walked_to_its_end() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    process = process_of(scheduler)
    assert process.coefficients(1.0).alpha.item() == pytest.approx(0, abs=1e-5)
    s = tr.critical_time(create("ir-sde", lam=2 / 255), torch.linspace(0.6, 1.0, 9, dtype=torch.float64), process)
    assert torch.isfinite(s).all()
    assert (s.diff() > 0).all()
    with pytest.raises(ValueError, match="must hold at least one number"):
        TabulatedVP()


# -- spaces ----------------------------------------------------------------------------------------------------------------


def test_latents_are_those_of_the_pipelines_own_conventions(folders: dict[str, Path]) -> None:
    prior = load_pipeline(folders["sd"])
    images = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        expected = prior.vae.encode(2 * images - 1).latent_dist.mode() * prior.vae.config.scaling_factor
        decoded = prior.vae.decode(expected / prior.vae.config.scaling_factor).sample / 2 + 0.5
    latents = prior.space.encode(images)
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(prior.space.decode(latents, (32, 48)), decoded)


@pytest.mark.parametrize("name", ["sd", "sdxl", "ddpm", "sd-control"])
@pytest.mark.parametrize("size", [(32, 32), (31, 45)])
def test_every_size_comes_back_as_it_was(folders: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    restore = Restorer.from_preset(folders[name], bridge={"name": "goub"})
    image = torch.rand(1, 3, *size)
    restored = restore(image, steps=3, seed=0)
    assert restored.shape == image.shape
    assert torch.equal(restored, restore(image, steps=3, seed=0))


def test_an_xl_pipeline_takes_a_controlnet_too(folders: dict[str, Path], tmp_path: Path) -> None:
    control = tiny.save_controlnet(folders["sdxl"], tmp_path / "control")
    prior = load_pipeline(folders["sdxl"], controlnet=control, guidance=2.0, negative_prompt="a")
    assert Restorer.from_preset(prior)(torch.rand(1, 3, 32, 32), steps=3).shape == (1, 3, 32, 32)


def test_a_network_that_predicts_its_variance_too_is_read_right(folders: dict[str, Path]) -> None:
    prior = load_pipeline(folders["ddpm"])
    z, s = torch.randn(1, 3, 16, 16), torch.tensor([0.5])
    expected = as_estimate(prior.given(z)(z, s, z)).x0
    inner = prior.output
    prior.output = lambda *a: torch.cat([inner(*a), torch.ones_like(z)], 1)
    assert torch.equal(as_estimate(prior.given(z)(z, s, z)).x0, expected)


@pytest.mark.parametrize("preset", ["paper", "sound"])
def test_both_presets_restore_in_latents(folders: dict[str, Path], controlnet: Path, preset: str) -> None:
    restore = Restorer.from_preset(load_model(folders["sd"], controlnet=controlnet), preset=preset, task="rain")
    assert restore(torch.rand(2, 3, 32, 32), steps=5).shape == (2, 3, 32, 32)


def test_tiles_of_the_autoencoder_are_used_when_asked_for_and_for_large_images(folders: dict[str, Path]) -> None:
    for tiling, shape, expected in ((True, (1, 3, 64, 64), True), (False, (1, 3, 64, 64), False)):
        prior = load_pipeline(folders["sd"], tiling=tiling)
        prior.space.encode(torch.rand(shape))
        assert prior.vae.use_tiling is expected
    assert isinstance(prior.space, LatentSpace)
    assert prior.space._tiled((1, 3, 1, TILED_FROM + 1)).use_tiling
    whole = load_pipeline(folders["sd"])
    tiled = load_pipeline(folders["sd"], tiling=True)
    tiled.vae.tile_sample_min_size, tiled.vae.tile_latent_min_size = 64, 32
    image = torch.rand(1, 3, 96, 96)
    assert tiled.space.encode(image).shape == whole.space.encode(image).shape
    assert tiled.space.decode(tiled.space.encode(image), (96, 96)).shape == image.shape


# -- switches --------------------------------------------------------------------------------------------------------------


def test_attention_slices_change_nothing(folders: dict[str, Path]) -> None:
    image = torch.rand(1, 3, 32, 32)
    plain, sliced = (
        Restorer.from_preset(load_model(folders["sd"], attention_slicing=s))(image, steps=3) for s in (False, True)
    )
    assert (plain - sliced).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", ["bf16", "float16"])
def test_lower_precision_is_close_and_the_state_stays_in_single(folders: dict[str, Path], dtype: str) -> None:
    prior = load_pipeline(folders["sd"], dtype=dtype)
    assert {p.dtype for p in prior.unet.parameters()} == {prior.dtype}
    exact = load_pipeline(folders["sd"])
    z, s = torch.randn(1, 4, 16, 16), torch.tensor([0.5])
    image = torch.rand(1, 3, 32, 32)
    low = as_estimate(prior.given(image)(z, s, z)).x0
    assert low.dtype == torch.float32
    assert (low - as_estimate(exact.given(image)(z, s, z)).x0).abs().max() < 0.2
    assert prior.space.encode(image).dtype == torch.float32


def test_guidance_leans_from_the_network_without_condition_to_that_with(
    folders: dict[str, Path], controlnet: Path
) -> None:
    image, z, s = torch.rand(1, 3, 32, 32), torch.randn(1, 4, 16, 16), torch.tensor([0.5])

    def estimate(**options: Any) -> Tensor:
        return as_estimate(load_pipeline(folders["sd"], **options).given(image)(z, s, z)).x0

    known, free = estimate(controlnet=controlnet), estimate()
    assert (known - free).abs().max() > 1e-3
    torch.testing.assert_close(estimate(controlnet=controlnet, guidance=2.0), 2 * known - free)
    texts = {"prompt": "a b", "negative_prompt": "c", "guidance": 3.0}
    assert (estimate(controlnet=controlnet, **texts) - estimate(controlnet=controlnet, guidance=3.0)).abs().max() > 1e-6


def test_the_conditioning_scale_is_the_share_of_the_controlnet(folders: dict[str, Path], controlnet: Path) -> None:
    """0 is the network without it; the residuals are added times the scale, so those of half the scale are half of them."""
    image, z, s = torch.rand(1, 3, 32, 32), torch.randn(1, 4, 16, 16), torch.tensor([0.5])

    def estimate(**options: Any) -> Tensor:
        return as_estimate(load_pipeline(folders["sd"], **options).given(image)(z, s, z)).x0

    def scaled(factor: float) -> Tensor:
        return estimate(controlnet=controlnet, controlnet_conditioning_scale=factor)

    whole, free = estimate(controlnet=controlnet), estimate()
    torch.testing.assert_close(scaled(0.0), free)
    torch.testing.assert_close(scaled(1.0), whole, rtol=0, atol=0)
    seen: list[Tensor] = []
    for factor in (1.0, 0.5):
        prior = load_pipeline(folders["sd"], controlnet=controlnet, controlnet_conditioning_scale=factor)
        prior.unet.register_forward_pre_hook(
            lambda module, inputs, options: seen.append(options["mid_block_additional_residual"]), with_kwargs=True
        )
        prior.given(image)(z, s, z)
    torch.testing.assert_close(seen[1], 0.5 * seen[0])
    assert (scaled(0.5) - whole).abs().max() > 1e-4


def test_the_controlnet_sees_the_degraded_image_and_nothing_else_does(
    folders: dict[str, Path], controlnet: Path
) -> None:
    z, s = torch.randn(1, 4, 16, 16), torch.tensor([0.5])
    images = [torch.rand(1, 3, 32, 32) for _ in range(2)]
    cases: list[tuple[dict[str, Any], bool]] = [({}, True), ({"controlnet": controlnet}, False)]
    for options, same in cases:
        prior = load_pipeline(folders["sd"], **options)
        a, b = (as_estimate(prior.given(image)(z, s, z)).x0 for image in images)
        assert torch.equal(a, b) is same


def test_a_controlnet_takes_part_inside_its_window_alone(folders: dict[str, Path], controlnet: Path) -> None:
    z, image = torch.randn(1, 4, 16, 16), torch.rand(1, 3, 32, 32)
    early, late = torch.tensor([0.9]), torch.tensor([0.1])  # of the way from noise, a tenth and nine tenths are done

    def estimate(s: Tensor, **options: Any) -> Tensor:
        return as_estimate(load_pipeline(folders["sd"], **options).given(image)(z, s, z)).x0

    half = {"controlnet": controlnet, "control_guidance_end": 0.5}
    assert torch.equal(estimate(early, **half), estimate(early, controlnet=controlnet))
    assert torch.equal(estimate(late, **half), estimate(late))
    assert not torch.equal(estimate(late), estimate(late, controlnet=controlnet))
    with pytest.raises(ModelError, match="must lie in"):
        load_pipeline(folders["sd"], control_guidance_start=0.8, control_guidance_end=0.2)


def test_lora_weights_change_the_prior_by_their_scale(folders: dict[str, Path], tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = StableDiffusionPipeline.from_pretrained(folders["sd"], safety_checker=None)
    torch.manual_seed(0)
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(pipeline.unet))
    z, s = torch.randn(1, 4, 16, 16), torch.tensor([0.5])

    def estimate(**options: Any) -> Tensor:
        return as_estimate(load_pipeline(folders["sd"], **options).given(torch.rand(1, 3, 32, 32))(z, s, z)).x0

    plain, adapted = estimate(), estimate(lora=tmp_path)
    assert not torch.allclose(plain, adapted, atol=1e-4)
    assert torch.allclose(plain, estimate(lora=tmp_path, lora_scale=0.0), atol=1e-5)
    with pytest.raises(ModelError, match="holds no LoRA weights"):
        load_pipeline(folders["sd"], lora=folders["ddpm"])


def test_a_compiled_pipeline_restores_as_the_plain_one(folders: dict[str, Path]) -> None:
    image = torch.rand(1, 3, 32, 32)
    plain, compiled = (
        Restorer.from_preset(load_model(folders["ddpm"], compile=compile))(image, steps=2) for compile in (False, True)
    )
    assert (plain - compiled).abs().max() < 1e-4


# -- loading ---------------------------------------------------------------------------------------------------------------


def test_load_prior_finds_out_what_a_folder_holds(folders: dict[str, Path]) -> None:
    assert isinstance(load_prior(folders["sd"]), DiffusersModel)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "float8"}, "dtype must be one of float32, bfloat16, float16, got 'float8'"),
        ({"cpu_offload": "model"}, "cpu_offload must be model or sequential, on a GPU; got 'model' on cpu"),
        ({"controlnet": "missing-control"}, "there is no folder missing-control; give a folder with a diffusers model"),
    ],
)
def test_impossible_options_get_one_sentence(folders: dict[str, Path], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load_pipeline(folders["sd"], **options)
    with pytest.raises(
        ModelError,
        match="is a diffusers pipeline and has no option condition; it takes dtype, compile, controlnet, prompt",
    ):
        load_prior(folders["sd"], condition=False)


def test_a_missing_folder_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"there is no folder .*/no-such; give a folder with a diffusers model, or a hub id"
    ):
        load_pipeline(tmp_path / "no-such")
    with pytest.raises(ModelError, match=r"is no prior: it has neither model_index.json \(diffusers\) nor config.json"):
        load_pipeline(tmp_path)


def test_a_wrong_pipeline_class_gets_one_sentence(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "FluxPipeline", "_diffusers_version": "0.42"})
    )
    with pytest.raises(ModelError, match=r"is a FluxPipeline; supported are Stable Diffusion 1\.x, 2\.x and XL"):
        load_prior(tmp_path)
    with pytest.raises(ModelError, match="takes no ControlNet; use a Stable Diffusion pipeline"):
        load_pipeline(folders["ddpm"], controlnet=folders["sd"])


def test_an_unreachable_hub_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"model 'nobody/no-such-model' is no folder here, not in the cache"):
        load_prior("nobody/no-such-model")


def test_a_truncated_download_gets_one_sentence(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    broken = shutil.copytree(folders["ddpm"], tmp_path / "broken")
    (weights,) = (broken / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded: ") as caught:
        load_pipeline(broken)
    assert "\n" not in str(caught.value)


def test_a_controlnet_of_another_network_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = tiny.save_controlnet(folders["sdxl"], tmp_path / "other")
    with pytest.raises(
        ModelError, match="belongs to another network: its cross_attention_dim is 32, the pipeline's is 16"
    ):
        load_pipeline(folders["sd"], controlnet=other)


def test_a_network_of_classes_takes_the_condition_label(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, block_out_channels=(8, 16), norm_num_groups=2, num_class_embeds=5,
        layers_per_block=1, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    ).eval()  # fmt: skip
    DDPMPipeline(unet=network, scheduler=DDPMScheduler()).save_pretrained(tmp_path)
    prior = load_prior(tmp_path, device="cpu")
    assert str(prior.info.conditions["label"]) == "a class from 0 to 4"
    z, s = torch.randn(2, 3, 16, 16), torch.tensor([0.5, 0.5])
    found = as_estimate(prior.given(z, label=torch.tensor([1, 4]))(z, s, z)).x0
    noise = network(z, prior.index(s), class_labels=torch.tensor([1, 4]), return_dict=False)[0]  # type: ignore[attr-defined]
    c = prior.process.coefficients(s.double()).like(z)
    torch.testing.assert_close(found, (z - c.gamma * noise) / c.alpha)
    image = torch.rand(1, 3, 16, 16)
    one, other = (Restorer.from_preset(prior)(image, steps=3, label=label) for label in (0, 3))
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(ModelError, match="needs the condition 'label', a class from 0 to 4"):
        Restorer.from_preset(prior)(image, steps=3)
