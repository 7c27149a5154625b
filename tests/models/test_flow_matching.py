"""Flow-matching pipelines of diffusers as priors, held to what diffusers itself makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers")

import diffusers

from rebridge import Restorer, samplers
from rebridge.bridges.transition import forward_transition
from rebridge.denoisers import as_estimate
from rebridge.models import Model, ModelError, as_model, load_model
from rebridge.models.flow_matching import FlowMatchingModel, NotingScheduler
from rebridge.models.pipelines import load_pipeline
from tests.models import tiny_pipelines as tiny

PIPELINES = {"sd3": tiny.stable_diffusion_3, "flux": tiny.flux, "aura": tiny.aura_flow}
TIMES = [1.0, 0.7, 0.2, 0.0]


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    made = {name: make() for name, make in PIPELINES.items()}
    for pipeline in made.values():
        pipeline.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def folders(pipelines: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("flow")
    for name in ("sd3", "flux"):
        pipelines[name].save_pretrained(root / name)
        tiny.flow_controlnet(name).save_pretrained(root / f"{name}-control")
    return {path.name: path for path in root.iterdir()}


def by_diffusers(pipeline: Any, z: Tensor, **options: Any) -> Tensor:
    """What the pipeline's own loop makes of latents at these times, with the scheduler that walks them as they are."""
    own = pipeline.components | {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler()}
    pipeline = type(pipeline)(**own)
    pipeline.set_progress_bar_config(disable=True)
    height, width = (2 * side for side in z.shape[-2:])
    packed = hasattr(pipeline, "_pack_latents")
    latents = pipeline._pack_latents(z, *z.shape) if packed else z
    found: Tensor = pipeline(
        latents=latents, sigmas=TIMES[:-1], num_inference_steps=3, height=height, width=width, output_type="latent", **options
    )[0]  # fmt: skip
    return pipeline._unpack_latents(found, height, width, 2) if packed else found


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("sd3", {}, {"guidance_scale": 1.0}),
        ("sd3", {"prompt": "a b", "negative_prompt": "c", "guidance": 3.0},
         {"prompt": "a b", "negative_prompt": "c", "guidance_scale": 3.0}),
        ("flux", {"prompt": "a", "guidance": 3.5}, {"prompt": "a", "guidance_scale": 3.5}),
        ("aura", {"prompt": "a b"}, {"prompt": "a b", "guidance_scale": 1.0}),
    ],
)  # fmt: skip
def test_an_euler_walk_along_rectified_flow_is_the_pipelines_own_loop(
    pipelines: dict[str, Any], name: str, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    model = as_model(pipelines[name], **ours)
    z = torch.randn(1, 4, 16, 12, generator=torch.Generator().manual_seed(0))
    walk = samplers.create("ode", method="euler")
    denoiser = model.given(torch.zeros(1, 3, 32, 24))
    found = walk(model.process, denoiser, z, x=z, times=torch.tensor(TIMES, dtype=torch.float64))
    torch.testing.assert_close(
        found, by_diffusers(pipelines[name], z, **({"prompt": ""} | theirs)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", PIPELINES)
def test_any_of_them_restores_inside_a_bridge(pipelines: dict[str, Any], name: str) -> None:
    restore = Restorer.from_preset(pipelines[name], task="rain")
    assert restore.model.process.name == "rectified-flow"
    image = torch.rand(2, 3, 21, 30, generator=torch.Generator().manual_seed(0))
    restored = restore(image, steps=3, seed=[1, 2])
    assert restored.shape == image.shape
    torch.testing.assert_close(restore(image[1:], steps=3, seed=2), restored[1:], rtol=0, atol=1e-4)
    again = Restorer(pipelines[name], "goub:lam=0.1", "dbim:steps=2")(image[:1])
    assert again.shape == image[:1].shape


def test_a_state_of_a_bridge_enters_at_equal_noise(pipelines: dict[str, Any]) -> None:
    """n = gamma / alpha = s / (1 - s): a bridge's state with noise n is the flow's at s = n / (1 + n), scaled by 1 - s."""
    bridge = Restorer.from_preset(pipelines["sd3"]).bridge
    flow = as_model(pipelines["sd3"]).process
    t = float(bridge.time_of_level(0.02))
    level = float(bridge.noise_level(t))
    s = float(flow.time_of_level(level))
    assert s == pytest.approx(level / (1 + level))
    x0, y, eps = torch.randn(3, 1, 4, 8, 8, dtype=torch.float64)
    c = bridge.coefficients(t)
    z = forward_transition(bridge, t, flow, s)(c.alpha * x0 + c.beta * y + c.gamma * eps, y)
    torch.testing.assert_close(z, (1 - s) * x0 + s * eps)


def test_a_folder_is_loaded_like_the_pipeline_in_hand(folders: dict[str, Path], pipelines: dict[str, Any]) -> None:
    image, z, s = torch.rand(2, 3, 32, 32), torch.randn(2, 4, 16, 16), torch.tensor([0.5, 0.5])
    loaded, mine = load_model(folders["sd3"], device="cpu"), as_model(pipelines["sd3"])
    assert isinstance(loaded, FlowMatchingModel)
    expected = as_estimate(mine.given(image)(z, s, z)).x0
    assert torch.equal(as_estimate(loaded.given(image)(z, s, z)).x0, expected)
    assert not loaded.info.conditional
    assert loaded.parameters == sum(weight.numel() for weight in pipelines["sd3"].transformer.parameters())
    again = loaded.save_pretrained(folders["sd3"].parent / "again")
    assert torch.equal(as_estimate(load_model(again, device="cpu").given(image)(z, s, z)).x0, expected)
    kept = diffusers.StableDiffusion3Pipeline.from_pretrained(again).scheduler.config
    assert kept["shift"] == 3.0  # the pipeline's own scheduler is written, not the one that notes velocities


def test_rows_at_different_times_are_taken_one_by_one(pipelines: dict[str, Any]) -> None:
    model, z = as_model(pipelines["sd3"]), torch.randn(2, 4, 16, 16)
    denoise = model.given(torch.zeros(2, 3, 32, 32))
    together = denoise(z, torch.tensor([0.3, 0.8]), z)
    for row, s in enumerate((0.3, 0.8)):
        torch.testing.assert_close(
            together[row : row + 1], denoise(z[row : row + 1], torch.tensor([s]), z), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_a_controlnet_sees_the_picture_by_its_scale_and_inside_its_window(folders: dict[str, Path], name: str) -> None:
    z, picture = torch.randn(1, 4, 16, 16), torch.rand(1, 3, 32, 32)
    early, late = torch.tensor([0.9]), torch.tensor([0.1])

    def estimate(s: Tensor, image: Tensor = picture, control: bool = True, **options: Any) -> Tensor:
        given: dict[str, Any] = {"controlnet": folders[f"{name}-control"]} if control else {}
        model: Model = load_pipeline(folders[name], **given, **options)
        assert model.info.conditional is control
        found = model.given(image)(z, s, z)
        assert isinstance(found, Tensor)
        return found

    whole, free = estimate(early), estimate(early, control=False)
    assert (whole - free).abs().max() > 1e-4
    assert (estimate(early, 1 - picture) - whole).abs().max() > 1e-5
    assert torch.equal(estimate(early), whole)
    torch.testing.assert_close(estimate(early, controlnet_conditioning_scale=0.0), free)
    assert torch.equal(estimate(early, control_guidance_end=0.5), whole)
    torch.testing.assert_close(estimate(late, control_guidance_end=0.5), estimate(late, control=False))
    assert (estimate(late) - estimate(late, control=False)).abs().max() > 1e-5


def test_lora_weights_change_the_prior_by_their_scale(folders: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(folders["sd3"])
    torch.manual_seed(0)
    pipeline.transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    diffusers.StableDiffusion3Pipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(pipeline.transformer))
    z, s = torch.randn(1, 4, 16, 16), torch.tensor([0.5])

    def estimate(**options: Any) -> Tensor:
        found: Tensor = load_pipeline(folders["sd3"], **options).given(torch.rand(1, 3, 32, 32))(z, s, z)
        return found

    plain, adapted = estimate(), estimate(lora=tmp_path)
    assert not torch.allclose(plain, adapted, atol=1e-4)
    assert torch.allclose(plain, estimate(lora=tmp_path, lora_scale=0.0), atol=1e-5)


def test_texts_are_encoded_once(pipelines: dict[str, Any]) -> None:
    model = as_model(pipelines["sd3"], prompt="a")
    calls = []
    hook = pipelines["sd3"].text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        z = torch.randn(1, 4, 16, 16)
        for s in (0.9, 0.5, 0.1):
            model.given(torch.zeros(1, 3, 32, 32))(z, torch.tensor([s]), z)
    finally:
        hook.remove()
    assert len(calls) == 1


def test_what_cannot_be_a_prior_gets_one_sentence(pipelines: dict[str, Any], folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="zero-shot solvers work on pixels"):
        as_model(pipelines["sd3"]).given(None)
    with pytest.raises(ModelError, match="the window of a ControlNet must lie in"):
        as_model(pipelines["sd3"], control_guidance_start=0.8, control_guidance_end=0.2)
    with pytest.raises(ModelError, match="a AuraFlowPipeline takes no ControlNet here"):
        as_model(pipelines["aura"], controlnet=tiny.flow_controlnet("sd3"))
    with pytest.raises(ModelError, match="the ControlNet belongs to another network: its in_channels is 16"):
        load_pipeline(folders["sd3"], controlnet=_renamed(folders["flux-control"]))


def _renamed(folder: Path) -> Path:
    """The ControlNet of FLUX under the class of Stable Diffusion 3's, with sizes of its own."""
    torch.manual_seed(0)
    other = diffusers.SD3ControlNetModel(
        **(tiny.SD3_SIZES | {"in_channels": 16}), num_layers=1, extra_conditioning_channels=0
    )
    other.save_pretrained(folder.parent / "other-control")
    return folder.parent / "other-control"


def test_the_noting_scheduler_takes_times_as_they_are() -> None:
    scheduler = NotingScheduler()
    scheduler.set_timesteps(sigmas=[0.3], device="cpu", mu=1.0)
    assert scheduler.timesteps.tolist() == pytest.approx([300.0])
    state, velocity = torch.zeros(1), torch.ones(1)
    assert scheduler.step(velocity, scheduler.timesteps[0], state)[0] is state
    assert scheduler.velocity is velocity
