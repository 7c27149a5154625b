"""Priors from diffusers: Stable Diffusion 1.x, 2.x and XL in latents, unconditional DDPM pipelines in pixels.

A pipeline is read from a folder or a hub id; only its network, autoencoder, text encoder and the scheduler's alphas are used.
The network's index j = 0 ... T-1 is the time s = (j + 1)/T here; it may be asked in between. With D = output of the network at
z = F x0 + S eps the clean estimate is

    epsilon  (z - S D)/F        v_prediction  F z - S D        sample  D.

The degraded image reaches Stable Diffusion through a ControlNet, which is the one part to be trained
(`rebridge train` with `kind: controlnet`).
Needs the extra packages of `rebridge[priors]`, imported when a pipeline is loaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from rebridge.bridges import Coefficients
from rebridge.bridges.diffusion import VP
from rebridge.bridges.schedules import Clock
from rebridge.denoisers import Denoiser
from rebridge.files import reason
from rebridge.hub.places import HUB_ID
from rebridge.inference.restorer import dtype_of
from rebridge.networks.layers import pad_to_multiple
from rebridge.priors.base import ClassifierFree, PriorError
from rebridge.priors.transition import lowest_time

LATENT_PIPELINES = (
    "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLControlNetPipeline",
)  # fmt: skip
PIXEL_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
OFFLOADS = ("model", "sequential")
CONDITION_WIDTHS = (16, 32, 96, 256)
"""Channels in which a new ControlNet sees the degraded image, at 1, 1/2, 1/4 and 1/8 of its size; those of the original."""
TILED_FROM = 1024 * 1024
"""Images of more pixels than this pass the autoencoder in tiles."""


@dataclass(frozen=True, kw_only=True)
class TabulatedVP(VP):
    """Variance-preserving diffusion by a scheduler's own `alphas_cumprod`; t = (j + 1)/T holds index j."""

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
    """x0_hat from a network's output at the state z (B, ...); c as `Coefficients.like(z)`."""
    if prediction == "epsilon":
        return (z - c.gamma * output) / c.alpha
    return c.alpha * z - c.gamma * output if prediction == "v_prediction" else output


def training_target(x0: Tensor, noise: Tensor, c: Coefficients, prediction: str) -> Tensor:
    """What the network's output should be for z = F x0 + S noise."""
    if prediction == "epsilon":
        return noise
    return c.alpha * noise - c.gamma * x0 if prediction == "v_prediction" else x0


class DiffusersPrior:
    """A pipeline of diffusers as a prior; make one with `from_pretrained`.

    pipeline: loaded and on its device. controlnet: `ControlNetModel` that takes the degraded image, or None.
    prompt, negative_prompt: texts, empty by default. guidance: classifier-free, between the network with condition and
    prompt and the network without condition and with the negative prompt; 1 for none. tiling: whether every image passes
    the autoencoder in tiles, instead of large ones only.
    """

    channels = 3

    presets: Path | None = None

    def __init__(
        self,
        pipeline: Any,
        controlnet: Any = None,
        *,
        prompt: str = "",
        negative_prompt: str = "",
        guidance: float = 1.0,
        tiling: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.unet = pipeline.unet
        self.vae: Any = getattr(pipeline, "vae", None)
        self.controlnet = controlnet
        self.guidance = guidance
        self.tiling = tiling
        self.prediction = _prediction(pipeline.scheduler)
        self.process = process_of(pipeline.scheduler)
        self.lowest = lowest_time(self.process)
        self.device = device or pipeline.device
        self.dtype = self.unet.dtype
        if self.vae is None:
            self.scale = 1
            self.channels = int(self.unet.config.in_channels)
            self.texts: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        else:
            if getattr(self.vae.config, "force_upcast", False) and self.dtype == torch.float16:
                self.vae.to(torch.float32)
            self.scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
            self.texts = {True: _text(pipeline, prompt, self.device)}
            same = prompt == negative_prompt or guidance == 1
            self.texts[False] = self.texts[True] if same else _text(pipeline, negative_prompt, self.device)
        self.multiple = self.scale * 2 ** (len(self.unet.config.block_out_channels) - 1)

    # -- the space -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1], extended to a size the network takes, to latents at the scale of the network."""
        images = 2 * pad_to_multiple(images, self.multiple).to(self.device) - 1
        if self.vae is None:
            return images
        latents = self._tiled(images.shape).encode(images.to(self.vae.dtype)).latent_dist.mode()
        return (latents.float() - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, states: Tensor, size: tuple[int, int]) -> Tensor:
        """The images (B, C, *size) of states, about in [0, 1]."""
        images = states
        if self.vae is not None:
            height, width = (self.scale * side for side in states.shape[-2:])
            latents = states / self.vae.config.scaling_factor + self._shift
            images = self._tiled((1, 3, height, width)).decode(latents.to(self.vae.dtype)).sample
        return (images.float() / 2 + 0.5)[..., : size[0], : size[1]]

    @property
    def conditional(self) -> bool:
        """Whether the network sees the degraded image: it has a ControlNet."""
        return self.controlnet is not None

    @property
    def _shift(self) -> float:
        return float(getattr(self.vae.config, "shift_factor", None) or 0.0)

    def _tiled(self, shape: Any) -> Any:
        """The autoencoder, with tiles switched on or off for images of that shape."""
        if self.tiling or shape[-1] * shape[-2] > TILED_FROM:
            self.vae.enable_tiling()
        else:
            self.vae.disable_tiling()
        return self.vae

    # -- the denoiser --------------------------------------------------------------------------------------------------

    def given(self, images: Tensor) -> Denoiser:
        """The denoiser for degraded images (B, C, H, W) in [0, 1]; without a ControlNet it does not see them."""
        control = None
        if self.controlnet is not None:
            control = pad_to_multiple(images, self.multiple).to(self.device, self.dtype)
        known = self._denoiser(control, True)
        return known if self.guidance == 1 else ClassifierFree(known, self._denoiser(None, False), self.guidance)

    def _denoiser(self, control: Tensor | None, positive: bool) -> Denoiser:
        @torch.no_grad()
        def denoise(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return self.estimate(x_t, t, control, positive)

        return denoise

    def estimate(self, x_t: Tensor, t: Tensor, control: Tensor | None = None, positive: bool = True) -> Tensor:
        """x0_hat for states x_t (B, ...) and times t (B,); it can be differentiated. control, positive: as in `output`."""
        output = self.output(x_t, self.index(t), control, positive).to(x_t.dtype)
        output = output[:, : x_t.shape[1]]  # some networks predict the variance of their noise beside it
        return clean_estimate(output, x_t, self.process.coefficients(t.double()).like(x_t), self.prediction)

    def index(self, s: Tensor) -> Tensor:
        """The network's index of times s (B,), fractional between those it was trained at."""
        steps = self.process.steps
        return (s.double() * steps - 1).clamp(0, steps - 1).float()

    def output(self, z: Tensor, index: Tensor, control: Tensor | None, positive: bool = True) -> Tensor:
        """The network's raw output for states z (B, ...) at indices (B,), with the degraded images as `control` or None."""
        inputs, index = z.to(self.dtype), index.to(self.device)
        if self.vae is None:
            return self.unet(inputs, index, return_dict=False)[0]
        text = {key: _expanded(value, len(z)) for key, value in self.texts[positive].items()}
        extra: dict[str, Any] = {}
        if control is not None and self.controlnet is not None:
            down, middle = self.controlnet(inputs, index, controlnet_cond=control, return_dict=False, **text)
            # a ControlNet in training holds single precision beside a network in half
            down, middle = [part.to(self.dtype) for part in down], middle.to(self.dtype)
            extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return self.unet(inputs, index, return_dict=False, **text, **extra)[0]


def from_pretrained(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    controlnet: str | Path | None = None,
    prompt: str = "",
    negative_prompt: str = "",
    guidance: float = 1.0,
    tiling: bool = False,
    attention_slicing: bool = False,
    cpu_offload: str | None = None,
    variant: str | None = None,
    revision: str | None = None,
) -> DiffusersPrior:
    """A prior from a diffusers pipeline, by folder or hub id.

    dtype: float32, float16 or bfloat16, by default float32 on the CPU and float16 on a GPU. controlnet: folder or hub id
    of the ControlNet trained for the task. attention_slicing: less memory, slower. cpu_offload: "model" or "sequential",
    keeps weights in the computer's memory until they are needed (GPU only). variant: of the weight files, as "fp16".
    Raises PriorError, one sentence that says what to do.
    """
    place = torch.device(device)
    precision = _dtype(dtype, place)
    if cpu_offload is not None and (cpu_offload not in OFFLOADS or place.type == "cpu"):
        raise PriorError(f"cpu_offload must be {' or '.join(OFFLOADS)}, on a GPU; got {cpu_offload!r} on {place.type}")
    diffusers = _diffusers()
    kind = _pipeline_class(diffusers, name, revision)
    options: dict[str, Any] = {"torch_dtype": precision, "variant": variant, "revision": revision}
    if kind in LATENT_PIPELINES and "XL" not in kind:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    pipeline = _loaded(getattr(diffusers, kind).from_pretrained, name, **options)
    control = getattr(pipeline, "controlnet", None)
    if controlnet is not None:
        if kind in PIXEL_PIPELINES:
            raise PriorError(f"'{name}' is a {kind}, which takes no ControlNet; use a Stable Diffusion pipeline")
        control = _loaded(diffusers.ControlNetModel.from_pretrained, controlnet, torch_dtype=precision)
        _check_control(control, pipeline.unet, controlnet)
    if attention_slicing:
        pipeline.enable_attention_slicing()
    if cpu_offload is None:
        pipeline.to(place)
        if control is not None:
            control.to(place)
    elif cpu_offload == "model":
        pipeline.enable_model_cpu_offload(device=place)
    else:
        pipeline.enable_sequential_cpu_offload(device=place)
    if control is not None and cpu_offload is not None:
        control.to(place)
    pipeline.unet.requires_grad_(False).eval()
    return DiffusersPrior(
        pipeline,
        control,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance=guidance,
        tiling=tiling,
        device=place,
    )


def new_controlnet(prior: DiffusersPrior, start_from: str | Path | None = None) -> Any:
    """A ControlNet to train for a latent prior: that of a folder or hub id, or a copy of the UNet's encoder.

    A new one changes nothing, since what it adds begins at zero. Raises PriorError for one of another network.
    """
    diffusers = _diffusers()
    if start_from is not None:
        control = _loaded(diffusers.ControlNetModel.from_pretrained, start_from)
        _check_control(control, prior.unet, start_from)
        return control
    # one convolution of stride 2 between two widths: the degraded image shrinks to the size of the latents
    widths = CONDITION_WIDTHS[: prior.scale.bit_length()]
    return diffusers.ControlNetModel.from_unet(prior.unet, conditioning_embedding_out_channels=widths)


def process_of(scheduler: Any) -> TabulatedVP:
    """The generative process of a scheduler, by its own alphas. Raises PriorError for one that has none."""
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        raise PriorError(
            f"the pipeline's scheduler, {type(scheduler).__name__}, has no alphas_cumprod: flow-matching models are not "
            "supported; use Stable Diffusion 1.x, 2.x or XL, or a DDPM pipeline"
        )
    return TabulatedVP(alphas_cumprod=tuple(torch.as_tensor(table).double().tolist()))


def _prediction(scheduler: Any) -> str:
    prediction = str(getattr(scheduler.config, "prediction_type", "epsilon"))
    if prediction not in PREDICTIONS:
        raise PriorError(f"the pipeline predicts {prediction!r}; supported are {', '.join(PREDICTIONS)}")
    return prediction


def _diffusers() -> Any:
    try:
        import diffusers
        import transformers  # noqa: F401  (what the text encoders need)
    except ImportError as error:
        raise PriorError(
            f"pipelines of diffusers need extra packages ({error.name or error} is missing): pip install 'rebridge[priors]'"
        ) from None
    return diffusers


def _pipeline_class(diffusers: Any, name: str | Path, revision: str | None) -> str:
    """The pipeline's class, read before anything big is loaded."""
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise PriorError(
            f"{folder} is no prior: it has neither model_index.json (diffusers) nor config.json (rebridge)"
        )
    config = _loaded(diffusers.DiffusionPipeline.load_config, name, revision=revision)
    kind = str(config.get("_class_name"))
    if kind not in (*LATENT_PIPELINES, *PIXEL_PIPELINES):
        raise PriorError(
            f"'{name}' is a {kind}; supported are Stable Diffusion 1.x, 2.x and XL (text to image, or with ControlNet) and "
            "unconditional DDPM pipelines"
        )
    return kind


def _loaded(load: Callable[..., Any], name: str | Path, **options: Any) -> Any:
    """`load(name, **options)` with errors that say what to do."""
    folder = Path(name).expanduser()
    if not folder.is_dir() and not HUB_ID.fullmatch(str(name)):
        raise PriorError(
            f"there is no folder {folder}; give a folder with a diffusers model, or a hub id like owner/model"
        )
    try:
        with warnings.catch_warnings():
            # diffusers renames torch_dtype to dtype; releases that only know the old name are supported too
            warnings.simplefilter("ignore", FutureWarning)
            return load(str(folder) if folder.is_dir() else str(name), **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        if folder.is_dir():
            raise PriorError(f"{folder} cannot be loaded: {_first_sentence(error)}") from None
        raise PriorError(
            f"'{name}' is no folder here and cannot be fetched from the Hugging Face hub; check the name and the network, "
            f"or download it elsewhere with `hf download {name} --local-dir DIR` and give DIR"
        ) from None


def _check_control(control: Any, unet: Any, name: str | Path) -> None:
    for key in ("in_channels", "cross_attention_dim", "block_out_channels"):
        ours, theirs = getattr(unet.config, key, None), getattr(control.config, key, None)
        if ours is not None and ours != theirs:
            raise PriorError(
                f"the ControlNet {name} belongs to another network: its {key} is {theirs}, the pipeline's is {ours}"
            )


def _text(pipeline: Any, prompt: str, device: torch.device) -> dict[str, Any]:
    """What the network is told by a prompt: keyword arguments of the UNet and the ControlNet."""
    with torch.no_grad():
        if getattr(pipeline, "text_encoder_2", None) is None:
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


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    try:
        return dtype_of(dtype)
    except ValueError as error:
        raise PriorError(str(error)) from None


def _first_sentence(error: Exception) -> str:
    return " ".join(reason(error).split())[:300]
