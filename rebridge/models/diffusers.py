"""Models from diffusers: Stable Diffusion in latents, DDPM in pixels.

Only the network, autoencoder, text encoder and the scheduler's alphas of a pipeline are used. The network's index
j = 0 ... T-1 is the time s = (j + 1)/T here; times in between are valid. With D = output of the network at z = F x0 + S eps the
clean estimate is

    epsilon  (z - S D)/F        v_prediction  F z - S D        sample  D.

The degraded image reaches Stable Diffusion through a ControlNet, which is the one part to be trained
(`rebridge train` with `kind: controlnet`). Pipelines are loaded by `rebridge.models.pipelines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Coefficients
from rebridge.bridges.diffusion import VP
from rebridge.bridges.schedules import Clock
from rebridge.denoisers import ClassifierFree, Denoiser
from rebridge.models.base import Model, ModelError, ModelInfo
from rebridge.networks.conditions import Condition
from rebridge.networks.layers import pad_to_multiple

OUTPUTS = ("epsilon", "v_prediction", "sample")
"""What the networks of pipelines predict."""
NO_LATENTS = (
    "zero-shot solvers work on pixels, and this prior lives in the latents of an autoencoder: "
    "use a pixel prior, or `rebridge restore --method irbridge`"
)
CLASS_LABEL = "label"
"""Condition of networks of classes, counted from 0."""
TILED_FROM = 1024 * 1024
"""Images of more pixels than this pass the autoencoder in tiles."""


@dataclass(frozen=True, kw_only=True)
class TabulatedVP(VP):
    """Variance-preserving diffusion by a scheduler's own `alphas_cumprod`.

    t = (j + 1)/T holds index j.
    """

    name: ClassVar[str] = "vp-table"

    alphas_cumprod: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.alphas_cumprod:
            raise ValueError("alphas_cumprod must hold at least one number")
        object.__setattr__(self, "steps", len(self.alphas_cumprod))
        super().__post_init__()

    @cached_property
    def _decay(self) -> Clock:
        # a schedule rescaled to zero terminal SNR has alpha = 0 at its end, where nothing of the image is left to scale
        kept = torch.tensor(self.alphas_cumprod, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        return Clock(torch.cat([kept.new_zeros(1), -kept.log()]))


def clean_estimate(output: Tensor, z: Tensor, c: Coefficients, prediction: str) -> Tensor:
    """Compute x0_hat from a network's output at the state z (B, ...).

    c: as `Coefficients.like(z)` gives it.
    """
    if prediction == "epsilon":
        return (z - c.gamma * output) / c.alpha
    return c.alpha * z - c.gamma * output if prediction == "v_prediction" else output


def training_target(x0: Tensor, noise: Tensor, c: Coefficients, prediction: str) -> Tensor:
    """Compute the output that is right for z = F x0 + S noise."""
    if prediction == "epsilon":
        return noise
    return c.alpha * noise - c.gamma * x0 if prediction == "v_prediction" else x0


@dataclass(frozen=True)
class PixelPipelineSpace:
    """Pixels in [-1, 1], extended to a size that the network takes."""

    multiple: int
    device: torch.device
    scale: int = 1

    def encode(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) in [0, 1] to [-1, 1].

        Their sides are extended to multiples of `multiple`.
        """
        return 2 * pad_to_multiple(images, self.multiple).to(self.device) - 1

    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Map states back to images (B, C, *size)."""
        return (states.float() / 2 + 0.5)[..., : size[0], : size[1]]


@dataclass(frozen=True)
class LatentSpace:
    """The latents of an autoencoder at the scale of the network.

    Attributes:
        vae: AutoencoderKL of diffusers.
        multiple: sides of images are extended to multiples of this.
        scale: image pixels per latent along each side.
        device: where the autoencoder runs.
        controlnet_conditioning_scale: factor of what the ControlNet adds, as in diffusers.
        tiling: whether every image passes the autoencoder in tiles, instead of large ones only.
    """

    vae: Any
    multiple: int
    scale: int
    device: torch.device
    tiling: bool = False

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) in [0, 1] to latents (B, c, H'/scale, W'/scale)."""
        images = 2 * pad_to_multiple(images, self.multiple).to(self.device) - 1
        latents = self._tiled(images.shape).encode(images.to(self.vae.dtype)).latent_dist.mode()
        return (latents.float() - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """Map latents back to images (B, C, *size), about in [0, 1]."""
        height, width = (self.scale * side for side in states.shape[-2:])
        latents = states / self.vae.config.scaling_factor + self._shift
        images = self._tiled((1, 3, height, width)).decode(latents.to(self.vae.dtype)).sample
        return (images.float() / 2 + 0.5)[..., : size[0], : size[1]]

    @property
    def _shift(self) -> float:
        return float(self.vae.config.get("shift_factor") or 0.0)

    def _tiled(self, shape: Any) -> Any:
        """The autoencoder, with tiles switched on or off for images of that shape."""
        if self.tiling or shape[-1] * shape[-2] > TILED_FROM:
            self.vae.enable_tiling()
        else:
            self.vae.disable_tiling()
        return self.vae


class DiffusersModel(Model):
    """A pipeline of diffusers in hand as a model.

    Args:
        pipeline: loaded and on its device.
        controlnet: `ControlNetModel` that takes the degraded image, or None; by default the pipeline's own.
        prompt, negative_prompt: texts, empty by default.
        guidance: classifier-free, between the network with condition and prompt and the network without condition and with
            the negative prompt; 1 for none.
        controlnet_conditioning_scale: factor of what the ControlNet adds, as in diffusers.
        control_guidance_start, control_guidance_end: window of the ControlNet, in shares of the way from noise to image;
            outside of it the network runs without.
        tiling: whether every image passes the autoencoder in tiles, instead of large ones only.
        device: by default the pipeline's.
        name: for messages.
    """

    process: TabulatedVP

    def __init__(
        self,
        pipeline: Any,
        controlnet: Any = None,
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
        self.pipeline = pipeline
        self.unet = pipeline.unet
        self.network = pipeline.unet
        components = pipeline.components
        self.vae: Any = components.get("vae")
        self.controlnet = components.get("controlnet") if controlnet is None else controlnet
        self.guidance, self.conditioning_scale = guidance, controlnet_conditioning_scale
        self.window = check_window(control_guidance_start, control_guidance_end)
        self.prediction = prediction_of(pipeline.scheduler)
        self.process = process_of(pipeline.scheduler)
        self.device = device or pipeline.device
        self.dtype = self.unet.dtype
        levels = len(self.unet.config.block_out_channels)
        channels = 3
        if self.vae is None:
            channels = int(self.unet.config.in_channels)
            self.texts: dict[bool, dict[str, Any]] = {True: {}, False: {}}
            self.space = PixelPipelineSpace(2 ** (levels - 1), self.device)
            self.multiple = 2 ** (levels - 1)
        else:
            if self.vae.config.get("force_upcast") and self.dtype == torch.float16:
                self.vae.to(torch.float32)
            self.texts = {True: _text(pipeline, prompt, self.device)}
            same = prompt == negative_prompt or guidance == 1
            self.texts[False] = self.texts[True] if same else _text(pipeline, negative_prompt, self.device)
            scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
            self.multiple = scale * 2 ** (levels - 1)
            self.space = LatentSpace(self.vae, self.multiple, scale, self.device, tiling)
        self.info = ModelInfo(
            name=name,
            channels=channels,
            multiple=self.multiple,
            sampler={"name": "irbridge"},
            conditional=self.controlnet is not None,
            conditions=_labels(self.unet),
            earliest_time=self.process.earliest_time,
        )

    def given(self, condition: Tensor | None, **conditions: Tensor) -> Denoiser:
        """The denoiser for degraded images (B, C, H, W) in [0, 1].

        Without a ControlNet it does not see them. A network of classes takes the condition label.

        Without a condition it is p(x0) of a pipeline in pixels, takes any size and can be differentiated.
        """
        label = self.accepted(condition, conditions).get(CLASS_LABEL)
        if condition is None:
            if self.vae is not None:
                raise ModelError(NO_LATENTS)
            return partial(self._in_pixels, label=label) if label is not None else self._in_pixels
        control = None
        if self.controlnet is not None:
            control = pad_to_multiple(condition, self.multiple).to(self.device, self.dtype)
        known = self._denoiser(control, True, label)
        return known if self.guidance == 1 else ClassifierFree(known, self._denoiser(None, False, label), self.guidance)

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write the pipeline as diffusers does; options are diffusers' own.

        A ControlNet beside the pipeline goes into the folder controlnet.
        """
        self.pipeline.save_pretrained(folder, **options)
        if self.controlnet is not None and "controlnet" not in self.pipeline.components:
            self.controlnet.save_pretrained(Path(folder) / "controlnet")
        return Path(folder)

    def to(self, device: str | torch.device) -> DiffusersModel:
        """Move the pipeline to a device; returns the model itself."""
        self.pipeline.to(device)
        if self.controlnet is not None:
            self.controlnet.to(device)
        self.device = torch.device(device)
        return self

    def _denoiser(self, control: Tensor | None, positive: bool, label: Tensor | None) -> Denoiser:
        @torch.no_grad()
        def denoise(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return self.estimate(x_t, t, control, positive, label)

        return denoise

    def estimate(
        self,
        x_t: Tensor,
        t: Tensor,
        control: Tensor | None = None,
        positive: bool = True,
        label: Tensor | None = None,
    ) -> Tensor:
        """Compute x0_hat, differentiably, for states (B, ...) and times (B,).

        control, positive, label: as in `output`.
        """
        output = self.output(x_t, self.index(t), control, positive, label).to(x_t.dtype)
        output = output[:, : x_t.shape[1]]  # some networks predict the variance of their noise beside it
        return clean_estimate(output, x_t, self.process.coefficients(t.double()).like(x_t), self.prediction)

    def index(self, s: Tensor) -> Tensor:
        """The network's index of times s (B,), fractional between trained ones."""
        steps = self.process.steps
        return (s.double() * steps - 1).clamp(0, steps - 1).float()

    def output(
        self,
        z: Tensor,
        index: Tensor,
        control: Tensor | None,
        positive: bool = True,
        label: Tensor | None = None,
    ) -> Tensor:
        """Compute the raw output for states z (B, ...) at indices (B,).

        control: the degraded images, or None. label: classes of the images, for a network of classes.
        """
        inputs, index = z.to(self.dtype), index.to(self.device)
        named = {} if label is None else {"class_labels": label.repeat(len(z) // len(label))}
        if self.vae is None:
            return self.unet(inputs, index, return_dict=False, **named)[0]
        text = {key: _expanded(value, len(z)) for key, value in self.texts[positive].items()}
        extra: dict[str, Any] = {}
        if control is not None and self.controlnet is not None and self._in_window(index):
            text_and_scale = {**text, "conditioning_scale": self.conditioning_scale}
            down, middle = self.controlnet(inputs, index, controlnet_cond=control, return_dict=False, **text_and_scale)
            # a ControlNet in training holds single precision beside a network in half
            down, middle = [part.to(self.dtype) for part in down], middle.to(self.dtype)
            extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return self.unet(inputs, index, return_dict=False, **text, **extra, **named)[0]

    def _in_window(self, index: Tensor) -> bool:
        """Whether the ControlNet takes part at indices (B,), which are those of one step."""
        done = 1 - (float(index.flatten()[0]) + 1) / self.process.steps
        return self.window == (0.0, 1.0) or self.window[0] <= done <= self.window[1]

    def _in_pixels(self, x_t: Tensor, t: Tensor, y: Tensor, label: Tensor | None = None) -> Tensor:
        """x0_hat for states of any size, clamped to [-1, 1]; differentiable."""
        height, width = x_t.shape[-2:]
        estimate = self.estimate(pad_to_multiple(x_t, self.multiple), t, label=label)
        return estimate[..., :height, :width].clamp(-1.0, 1.0)


def _labels(unet: Any) -> dict[str, Condition]:
    """The condition of a network of classes."""
    classes = unet.config.get("num_class_embeds")
    return {CLASS_LABEL: Condition("class", int(classes))} if classes else {}


def check_window(start: float, end: float) -> tuple[float, float]:
    """Return the window of a ControlNet; ModelError unless 0 <= start <= end <= 1."""
    if not 0 <= start <= end <= 1:
        raise ModelError(f"the window of a ControlNet must lie in [0, 1], got {start:g} to {end:g}")
    return start, end


def is_pipeline(source: Any) -> bool:
    """Return True for a pipeline of diffusers.

    It has a scheduler, and a unet or a transformer.
    """
    return hasattr(source, "scheduler") and (hasattr(source, "unet") or hasattr(source, "transformer"))


def process_of(scheduler: Any) -> TabulatedVP:
    """The generative process of a scheduler, by its own alphas.

    Raises ModelError for a scheduler without alphas.
    """
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        raise ModelError(
            f"the pipeline's scheduler, {type(scheduler).__name__}, has no alphas_cumprod and is none of flow matching; "
            "use Stable Diffusion or FLUX, or a DDPM pipeline"
        )
    return TabulatedVP(alphas_cumprod=tuple(torch.as_tensor(table).double().tolist()))


def prediction_of(scheduler: Any) -> str:
    """The kind of output of a network, by its scheduler's config.

    Raises ModelError for something else than `OUTPUTS`.
    """
    prediction = str(scheduler.config.get("prediction_type", "epsilon"))
    if prediction not in OUTPUTS:
        raise ModelError(f"the pipeline predicts {prediction!r}; supported are {', '.join(OUTPUTS)}")
    return prediction


def _text(pipeline: Any, prompt: str, device: torch.device) -> dict[str, Any]:
    """Encode a prompt: keyword arguments of the UNet and the ControlNet."""
    with torch.no_grad():
        if pipeline.components.get("text_encoder_2") is None:
            embedding, _ = pipeline.encode_prompt(prompt, device, 1, False)
            return {"encoder_hidden_states": embedding}
        embedding, _, pooled, _ = pipeline.encode_prompt(
            prompt, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    side = float(pipeline.unet.config.sample_size * 2 ** (len(pipeline.vae.config.block_out_channels) - 1))
    sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=device, dtype=embedding.dtype)
    return {
        "encoder_hidden_states": embedding,
        "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes},
    }


def _expanded(value: Any, batch: int) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(part, batch) for key, part in value.items()}
    return value.expand(batch, *value.shape[1:])
