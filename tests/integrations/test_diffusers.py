"""A script of a diffusers user, with these names alone, restores what `Restorer` restores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import rebridge
from rebridge import Restorer, bridges, networks, samplers
from rebridge.models import ModelError, TrainedModel, load_model
from rebridge.restoration import engine
from rebridge.samplers import ImageNoise

pytest.importorskip("diffusers")
from rebridge.integrations.diffusers import BridgeScheduler, RestorationPipeline

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 45, 3), dtype=np.uint8))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return RestorationPipeline.from_pretrained("rdbm-tiny", device="cpu")


def test_the_pipeline_gives_what_the_restorer_gives(pipe: Any) -> None:
    restore = rebridge.Restorer.from_pretrained("rdbm-tiny", device="cpu")
    found = pipe(PICTURE, num_inference_steps=3, generator=seeded(5)).images[0]
    assert np.array_equal(np.asarray(found), np.asarray(restore(PICTURE, steps=3, seed=5)))
    assert not np.array_equal(np.asarray(found), np.asarray(PICTURE))
    (tensor,) = pipe(PICTURE, output_type="pt", return_dict=False)
    array = pipe(PICTURE, output_type="np").images
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    with pytest.raises(ValueError, match="output_type must be one of pil, np, pt"):
        pipe(PICTURE, output_type="latent")


def test_the_callback_sees_every_step_and_can_stop(pipe: Any) -> None:
    seen: list[tuple[int, float, torch.Size]] = []
    pipe(
        PICTURE, num_inference_steps=3, callback_on_step_end=lambda p, i, t, k: seen.append((i, t, k["latents"].shape))
    )
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [t for _, t, _ in seen] == sorted((t for _, t, _ in seen), reverse=True)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(PICTURE, callback_on_step_end=stop)


def test_the_callback_gets_the_state_after_each_step_and_may_replace_it(pipe: Any) -> None:
    last: list[torch.Tensor] = []
    (plain,) = pipe(PICTURE, num_inference_steps=3, output_type="pt", return_dict=False)

    def look(pipeline: Any, step: int, t: float, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert list(tensors) == ["latents", "pred_original_sample"]
        last.append(tensors["latents"])
        return tensors

    names = ["latents", "pred_original_sample"]
    seen = pipe(
        PICTURE,
        num_inference_steps=3,
        output_type="pt",
        callback_on_step_end=look,
        callback_on_step_end_tensor_inputs=names,
    ).images
    assert torch.equal(seen, plain)
    assert torch.equal(((last[-1] + 1) / 2).clamp(0, 1), plain)

    def grey(pipeline: Any, step: int, t: float, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"latents": torch.zeros_like(tensors["latents"]) if step == 2 else tensors["latents"]}

    assert torch.all(pipe(PICTURE, num_inference_steps=3, output_type="pt", callback_on_step_end=grey).images == 0.5)
    with pytest.raises(ValueError, match="may be latents, pred_original_sample, got prompt_embeds"):
        pipe(PICTURE, callback_on_step_end=grey, callback_on_step_end_tensor_inputs=["prompt_embeds"])
    with pytest.raises(ValueError, match="latents must be of shape"):
        pipe(PICTURE, callback_on_step_end=lambda *_: {"latents": torch.zeros(1)})


def test_callback_objects_of_diffusers_name_their_tensors_themselves(pipe: Any) -> None:
    from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback

    class Steps(PipelineCallback):  # type: ignore[misc]
        tensor_inputs = ("latents",)
        count = 0

        def callback_fn(self, pipeline: Any, step: int, t: float, tensors: dict[str, Any]) -> dict[str, Any]:
            self.count += 1
            return tensors

    counter = Steps()
    pipe(PICTURE, num_inference_steps=2, callback_on_step_end=MultiPipelineCallbacks([counter, counter]))
    assert counter.count == 4


def test_a_folder_holds_model_and_scheduler(pipe: Any, tmp_path: Path) -> None:
    pipe.scheduler.set_timesteps(4)
    chosen = BridgeScheduler.of(pipe.scheduler.bridge, samplers.create("dbim", steps=4, eta=1.0))
    changed = RestorationPipeline(pipe.model, chosen)
    changed.save_pretrained(tmp_path / "model")
    again = RestorationPipeline.from_pretrained(tmp_path / "model", device="cpu")
    assert again.scheduler.sampler == chosen.sampler
    assert again.scheduler.bridge == chosen.bridge
    expected = np.asarray(changed(PICTURE, generator=seeded(3)).images[0])
    assert np.array_equal(np.asarray(again(PICTURE, generator=seeded(3)).images[0]), expected)
    assert rebridge.Restorer.from_pretrained(tmp_path / "model", device="cpu")(PICTURE).size == PICTURE.size


def test_a_loop_of_ones_own_equals_the_sampler(pipe: Any) -> None:
    scheduler = BridgeScheduler.of(pipe.model.process, samplers.create("dbim", steps=4, eta=1.0))
    scheduler.set_timesteps(3)
    y, denoiser = pipe.prepare(PICTURE)
    generator = seeded(7)
    x = scheduler.begin(y, generator=generator)
    for t in scheduler.timesteps:
        x0 = denoiser(scheduler.scale_model_input(x, t), t, y)
        x = scheduler.step(x0, t, x, y=y, generator=generator).prev_sample
    whole = samplers.create("dbim", steps=3, eta=1.0)
    assert torch.equal(x, whole(pipe.model.process, denoiser, y, generator=seeded(7)))


ONE = [
    ("goub", "dbim"), ("goub", "dbim:order=3"), ("goub", "sde"), ("ddbm-vp", "dbim:eta=1"), ("rddm", "increments"),
    ("resshift", "residual-posterior"), ("brownian", "ode"), ("ir-sde", "exponential"),
]  # fmt: skip
SEVERAL = [("goub", "odes3"), ("brownian", "ode:method=heun"), ("ddbm-vp", "heun-churn")]


def walked(scheduler: BridgeScheduler, y: torch.Tensor) -> torch.Tensor:
    """A loop over the steps with a denoiser that is a function."""
    generator = seeded(1)
    x = scheduler.begin(y, generator=generator)
    for t in scheduler.timesteps:
        x = scheduler.step(torch.tanh(x - y), t, x, y=y, generator=generator).prev_sample
    return x


@pytest.mark.parametrize(("bridge", "sampler"), ONE)
def test_every_sampler_of_one_evaluation_steps_alike(bridge: str, sampler: str) -> None:
    process, whole = bridges.create(bridge), samplers.parse(sampler, steps=5)
    y = torch.rand(2, 3, 8, 8, generator=seeded())
    expected = whole(process, lambda x, t, y: torch.tanh(x - y), y, generator=seeded(1))
    assert torch.equal(walked(BridgeScheduler.of(process, whole), y), expected)


@pytest.mark.parametrize(("bridge", "sampler"), SEVERAL)
def test_samplers_of_several_evaluations_are_refused_with_advice(bridge: str, sampler: str) -> None:
    scheduler = BridgeScheduler.of(bridges.create(bridge), samplers.parse(sampler, steps=5))
    with pytest.raises(ValueError, match="use RestorationPipeline"):
        walked(scheduler, torch.rand(2, 3, 8, 8))


def test_noise_is_added_as_the_bridge_says_and_configs_round_trip(tmp_path: Path) -> None:
    scheduler = BridgeScheduler({"name": "goub", "lam": 0.2}, {"name": "dbim", "steps": 7})
    x0, y, noise = (torch.rand(2, 3, 4, 4, generator=seeded(k)) for k in range(3))
    times = torch.tensor([0.3, 0.8])
    c = scheduler.bridge.coefficients(times.double()).like(x0)
    expected = c.alpha * x0 + c.beta * y + c.gamma * noise
    torch.testing.assert_close(scheduler.add_noise(x0, noise, times, y), expected)
    scheduler.save_pretrained(tmp_path)
    again = BridgeScheduler.from_pretrained(tmp_path)
    assert (again.bridge, again.sampler) == (scheduler.bridge, scheduler.sampler)
    assert len(again.timesteps) == 7
    with pytest.raises(ValueError, match="is none of this scheduler's"):
        again.step(x0, 0.123456, x0, y=y)


def test_a_model_in_hand_becomes_a_pipeline() -> None:
    found = RestorationPipeline(load_model("rdbm-tiny", device="cpu"))(PICTURE).images[0]
    assert found.size == PICTURE.size


def test_extra_conditions_reach_the_pipeline_and_a_loop_of_ones_own() -> None:
    torch.manual_seed(0)
    declared = {"depth": "map", "sigma": "number"}
    network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1, embedding=8, conditions=declared)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    model = TrainedModel.of(network, bridges.create("goub", lam=0.3), "residual", sampler={"name": "dbim", "steps": 3})
    pipe, image = RestorationPipeline(model), torch.rand(1, 3, 18, 22)
    told: dict[str, Any] = {"depth": torch.rand(1, 18, 22), "sigma": 0.2}
    expected = Restorer(model)(image, seed=4, **told)
    found = pipe(image, generator=torch.Generator().manual_seed(4), output_type="pt", **told).images
    assert torch.equal(found, expected)
    y, denoiser = pipe.prepare(image, **told)
    noise = ImageNoise([4])
    x = pipe.scheduler.begin(y, noise=noise)
    for t in pipe.scheduler.timesteps:
        x = pipe.scheduler.step(denoiser(x, t, y), t, x, y=y, noise=noise).prev_sample
    assert torch.equal(engine.leave(model, x, image), expected)
    with pytest.raises(ModelError, match="needs the condition 'sigma'"):
        pipe(image, depth=told["depth"])
