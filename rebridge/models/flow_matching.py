"""Flow-matching pipelines of diffusers as priors.

Stable Diffusion 3, FLUX and others of their kind. Their states are z = (1 - s) x0 + s eps, the process `rectified-flow`, and
their networks give the velocity v = eps - x0, so that

    x0_hat = z - s v.

How a network is called differs from one pipeline to the next: texts, guidance, packed latents, what a ControlNet gets. So the
pipeline itself is run, for a single step, with a scheduler in it that notes the velocity and goes nowhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from rebridge import bridges
from rebridge.denoisers import Denoiser
from rebridge.models.base import Model, ModelError, ModelInfo
from rebridge.models.diffusers import NO_LATENTS, LatentSpace, check_window
from rebridge.networks.layers import pad_to_multiple

RUN_BY = ("prompt", "latents", "sigmas", "height", "width", "output_type")
"""What a pipeline must take to be run for one step."""
LATENT_PATCH = 2
"""Latents along each side that such networks take together."""


class NotingScheduler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """A scheduler that notes the velocity and leaves the state.

    It takes times as they are.
    """

    velocity: Tensor | None = None

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **options: Any) -> tuple[Tensor]:
        """Note the velocity (B, ...) and return the sample."""
        self.velocity = model_output
        return (sample,)


class FlowMatchingModel(Model):
    """A flow-matching pipeline of diffusers in hand as a model.

    Args:
        pipeline: loaded and on its device, with its ControlNet where it has one.
        prompt, negative_prompt: texts, empty by default.
        guidance: as the pipeline understands it, 1 for none: between prompt and negative prompt, or an input of the network.
        controlnet_conditioning_scale: factor of what the ControlNet adds, as in diffusers.
        control_guidance_start, control_guidance_end: window of the ControlNet, in shares of the way from noise to image.
        tiling: whether every image passes the autoencoder in tiles, instead of large ones only.
        device: by default the pipeline's.
        name: for messages.

    Raises:
        ModelError: a pipeline that cannot be run for one step, or whose autoencoder is none of `AutoencoderKL`'s kind.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        prompt: str = "",
        negative_prompt: str = "",
        guidance: float = 1.0,
        controlnet_conditioning_scale: float = 1.0,
        control_guidance_start: float = 0.0,
        control_guidance_end: float = 1.0,
        tiling: bool = False,
        device: torch.device | None = None,
        name: str = "pipeline",
    ) -> None:
        self._taken = _parameters(pipeline)
        self.source = pipeline
        trained = int(pipeline.scheduler.config.get("num_train_timesteps", 1000))
        parts = pipeline.components | {"scheduler": NotingScheduler(num_train_timesteps=trained)}
        self.pipeline = type(pipeline)(**parts)
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.encode_prompt = _remembered(self.pipeline.encode_prompt)
        self.network = pipeline.transformer
        self.prompt, self.negative_prompt, self.guidance = prompt, negative_prompt, guidance
        self.conditioning_scale = controlnet_conditioning_scale
        self.window = check_window(control_guidance_start, control_guidance_end)
        self.controlnet: Any = parts.get("controlnet")
        self.process = bridges.create("rectified-flow")
        self.device = device or pipeline.device
        self.dtype = pipeline.transformer.dtype
        scale = int(pipeline.vae_scale_factor)
        self.multiple = scale * LATENT_PATCH
        self.tiling = tiling
        self.space = LatentSpace(pipeline.vae, self.multiple, scale, self.device, tiling)
        self.info = ModelInfo(
            name=name,
            multiple=self.multiple,
            sampler={"name": "irbridge"},
            conditional=self.controlnet is not None,
            earliest_time=1 / trained,
        )

    def given(self, condition: Tensor | None, **conditions: Tensor) -> Denoiser:
        """The denoiser for degraded images (B, C, H, W) in [0, 1].

        A ControlNet sees them.
        """
        self.accepted(condition, conditions)
        if condition is None:
            raise ModelError(NO_LATENTS)
        control = None
        if self.controlnet is not None:
            control = pad_to_multiple(condition, self.multiple).to(self.device)

        @torch.no_grad()
        def denoise(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            times = t.flatten().tolist()
            if len(set(times)) == 1:
                return x_t - times[0] * self.velocity(x_t, times[0], control)
            rows = [slice(row, row + 1) for row in range(len(x_t))]
            own = [None if control is None else control[row] for row in rows]
            velocities = [self.velocity(x_t[row], s, c) for row, s, c in zip(rows, times, own, strict=True)]
            return x_t - t.to(x_t).view(-1, 1, 1, 1) * torch.cat(velocities)

        return denoise

    def velocity(self, z: Tensor, s: float, control: Tensor | None = None) -> Tensor:
        """Compute the network's velocity eps - x0.

        Args:
            z: states (B, c, h, w).
            s: their time in [0, 1].
            control: degraded images of a ControlNet, or None.
        """
        rows, channels, high, wide = z.shape
        height, width = high * self.space.scale, wide * self.space.scale
        packed = hasattr(self.pipeline, "_pack_latents")
        latents = z.to(self.device, self.dtype)
        if packed:
            latents = self.pipeline._pack_latents(latents, rows, channels, high, wide)
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(gpus):  # some pipelines draw the latents of a ControlNet's image
            torch.manual_seed(0)
            self.pipeline(
                **self._texts(rows),
                **self._control(control, s),
                latents=latents,
                sigmas=[s],
                height=height,
                width=width,
                num_inference_steps=1,
                output_type="latent",
            )
        velocity: Tensor = self.pipeline.scheduler.velocity
        if packed:
            velocity = self.pipeline._unpack_latents(velocity, height, width, self.space.scale)
        return velocity.to(z)

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write the pipeline as diffusers does; options are diffusers' own."""
        self.source.save_pretrained(folder, **options)
        return Path(folder)

    def to(self, device: str | torch.device) -> FlowMatchingModel:
        """Move the pipeline to a device; returns the model itself."""
        self.pipeline.to(device)
        self.device = torch.device(device)
        self.space = LatentSpace(self.pipeline.vae, self.multiple, self.space.scale, self.device, self.tiling)
        return self

    def _texts(self, rows: int) -> dict[str, Any]:
        """The prompts of a call, and its guidance."""
        found: dict[str, Any] = {"prompt": [self.prompt] * rows}
        if "guidance_scale" in self._taken:
            found["guidance_scale"] = self.guidance
        if self.guidance != 1 and self.negative_prompt and "negative_prompt" in self._taken:
            found["negative_prompt"] = [self.negative_prompt] * rows
            if "true_cfg_scale" in self._taken:
                found["true_cfg_scale"] = self.guidance
        return found

    def _control(self, control: Tensor | None, s: float) -> dict[str, Any]:
        """What the ControlNet of a call gets."""
        if control is None:
            return {}
        inside = self.window[0] <= 1 - s <= self.window[1]
        return {
            "control_image": control.to(self.dtype),
            "controlnet_conditioning_scale": self.conditioning_scale if inside else 0.0,
        }


def is_flow(scheduler: Any) -> bool:
    """Test if a scheduler of diffusers is one of flow matching."""
    config = scheduler.config
    flow = bool(config.get("use_flow_sigmas")) or config.get("prediction_type") == "flow_prediction"
    return flow or type(scheduler).__name__.startswith("FlowMatch")


def _parameters(pipeline: Any) -> set[str]:
    """The parameters of a pipeline's call; ModelError where it cannot be run for one step."""
    kind, taken = type(pipeline).__name__, set(inspect.signature(type(pipeline).__call__).parameters)
    missing = [name for name in RUN_BY if name not in taken]
    if missing or not hasattr(pipeline, "encode_prompt") or not hasattr(pipeline, "transformer"):
        raise ModelError(
            f"a {kind} cannot be a prior: it takes no {' or '.join(missing) or 'text'}; "
            "use a text-to-image pipeline such as Stable Diffusion 3 or FLUX"
        )
    if "scaling_factor" not in pipeline.vae.config or not hasattr(pipeline, "vae_scale_factor"):
        raise ModelError(
            f"a {kind} cannot be a prior: its autoencoder is a {type(pipeline.vae).__name__}, not an AutoencoderKL"
        )
    return taken


def _remembered(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Encode each text once."""
    known: dict[str, Any] = {}

    def call(*args: Any, **options: Any) -> Any:
        key = repr((args, sorted(options.items())))
        if key not in known:
            known[key] = encode(*args, **options)
        return known[key]

    return call
