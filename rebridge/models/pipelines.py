"""Load pipelines of diffusers and make ControlNets for them.

Needs the extra packages of `rebridge[priors]`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rebridge.catalogue import shortened
from rebridge.denoisers.precision import AUTO_DTYPE, dtype_of
from rebridge.images.atomic import reason
from rebridge.images.documents import read_json
from rebridge.images.regular import irregular
from rebridge.models.base import ModelError
from rebridge.models.diffusers import DiffusersModel
from rebridge.models.places import HUB_ID

LATENT_PIPELINES = (
    "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLControlNetPipeline",
)  # fmt: skip
PIXEL_PIPELINES = ("DDPMPipeline", "DDIMPipeline")
LIBRARIES = ("diffusers", "transformers")
"""Where the components of a pipeline may come from; others could be code that a folder brings along."""
OLDEST_DIFFUSERS = (0, 38)
"""Earlier releases run such code."""
FLOW_CONTROLS = {
    "StableDiffusion3": ("SD3ControlNetModel", "StableDiffusion3ControlNetPipeline"),
    "Flux": ("FluxControlNetModel", "FluxControlNetPipeline"),
}
"""ControlNets of flow-matching pipelines, and the pipelines that take them, by the beginning of a pipeline's name."""
GREATEST_SIZE = 10**7
"""Greatest number in the configuration of a component; a vocabulary has 50,000 words."""
OFFLOADS = ("model", "sequential")
CONDITION_WIDTHS = (16, 32, 96, 256)
"""Channels in which a new ControlNet sees the degraded image, at 1, 1/2, 1/4 and 1/8 of its size; those of the original."""


def load_pipeline(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    controlnet: str | Path | None = None,
    lora: str | Path | None = None,
    lora_scale: float = 1.0,
    attention_slicing: bool = False,
    cpu_offload: str | None = None,
    variant: str | None = None,
    revision: str | None = None,
    compile: bool = False,
    **settings: Any,
) -> Any:
    """Load a model from a diffusers pipeline, by folder or hub id.

    Args:
        name: of the pipeline.
        device: where it runs.
        dtype: float32, float16 or bfloat16, by default float32 on the CPU and float16 on a GPU.
        controlnet: folder or hub id of the ControlNet trained for the task.
        lora: folder, file or hub id of LoRA weights for the pipeline, as diffusers loads them.
        lora_scale: factor of what they add.
        attention_slicing: less memory, slower.
        cpu_offload: "model" or "sequential" keeps weights in the computer's memory until they are needed (GPU only).
        variant: of the weight files, as "fp16".
        revision: branch, tag or commit on the hub.
        compile: whether to run the network through torch.compile.
        settings: of `DiffusersModel` or `FlowMatchingModel`, such as prompt, guidance and tiling.

    Returns:
        A `DiffusersModel`, or a `FlowMatchingModel`.

    Raises:
        ModelError: one sentence that says what to do.
    """
    place = torch.device(device)
    precision = _dtype(dtype, place)
    _check_offload(cpu_offload, place)
    diffusers = _diffusers()
    kind = _pipeline_class(diffusers, name, revision)
    options: dict[str, Any] = {"torch_dtype": precision, "variant": variant, "revision": revision}
    if kind in LATENT_PIPELINES and "XL" not in kind:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if controlnet is not None and kind in PIXEL_PIPELINES:
        raise ModelError(f"'{name}' is a {kind}, which takes no ControlNet; use a Stable Diffusion pipeline")
    pipeline = _loaded(getattr(diffusers, kind).from_pretrained, name, **options)
    if lora is not None:
        _add_lora(pipeline, lora, lora_scale)
    if attention_slicing:
        pipeline.enable_attention_slicing()
    if hasattr(pipeline, "transformer"):
        if controlnet is not None:
            pipeline = _with_flow_control(diffusers, pipeline, controlnet, precision)
        return _flow_model(pipeline, place, cpu_offload, compile, name=str(name), **settings)
    control = _control(diffusers, pipeline, controlnet, precision)
    _place(pipeline, control, place, cpu_offload)
    return _diffusion_model(pipeline, control, compile, device=place, name=str(name), **settings)


def _diffusion_model(pipeline: Any, control: Any, compile: bool, **settings: Any) -> DiffusersModel:
    """The model of a diffusion pipeline that is on its device, with a frozen network."""
    pipeline.unet.requires_grad_(False).eval()
    model = DiffusersModel(pipeline, control, **settings)
    if compile:
        model.unet = torch.compile(pipeline.unet)
    return model


def _check_offload(cpu_offload: str | None, place: torch.device) -> None:
    if cpu_offload is not None and (cpu_offload not in OFFLOADS or place.type == "cpu"):
        raise ModelError(f"cpu_offload must be {' or '.join(OFFLOADS)}, on a GPU; got {cpu_offload!r} on {place.type}")


def _flow_model(pipeline: Any, place: torch.device, cpu_offload: str | None, compile: bool, **settings: Any) -> Any:
    """The model of a flow-matching pipeline, on its device."""
    model = of_pipeline(pipeline, device=place, **settings)
    _place(model.pipeline, None, place, cpu_offload)
    model.network.requires_grad_(False).eval()
    if compile:
        model.pipeline.transformer = torch.compile(pipeline.transformer)
    return model


def of_pipeline(pipeline: Any, **settings: Any) -> Any:
    """Make the model of a pipeline in hand.

    Its scheduler decides: a diffusion, or flow matching.

    Args:
        pipeline: of diffusers.
        settings: of `DiffusersModel` or `FlowMatchingModel`.

    Raises:
        ModelError: a pipeline that cannot be a prior.
    """
    if hasattr(pipeline, "unet"):
        return DiffusersModel(pipeline, **settings)
    from rebridge.models.flow_matching import FlowMatchingModel, is_flow

    if not is_flow(pipeline.scheduler):
        raise ModelError(
            f"a {type(pipeline).__name__} with the scheduler {type(pipeline.scheduler).__name__} cannot be a prior: "
            "it is none of flow matching"
        )
    control = settings.pop("controlnet", None)
    if control is not None:
        import diffusers

        pipeline = _flow_control_pipeline(diffusers, pipeline, control)
    return FlowMatchingModel(pipeline, **settings)


def _with_flow_control(diffusers: Any, pipeline: Any, name: str | Path, dtype: torch.dtype) -> Any:
    """A flow-matching pipeline with a ControlNet, loaded by folder or hub id."""
    kind = _flow_control_classes(pipeline)[0]
    control = _loaded(getattr(diffusers, kind).from_pretrained, name, torch_dtype=dtype)
    return _flow_control_pipeline(diffusers, pipeline, control)


def _flow_control_pipeline(diffusers: Any, pipeline: Any, control: Any) -> Any:
    """The pipeline that takes a ControlNet beside the parts of another one."""
    kind = getattr(diffusers, _flow_control_classes(pipeline)[1])
    ours, theirs = pipeline.transformer.config, control.config
    for key in ("in_channels", "joint_attention_dim", "num_attention_heads", "attention_head_dim"):
        if ours.get(key) != theirs.get(key):
            raise ModelError(
                f"the ControlNet belongs to another network: its {key} is {theirs.get(key)}, the pipeline's is {ours.get(key)}"
            )
    return kind(**pipeline.components, controlnet=control)


def _flow_control_classes(pipeline: Any) -> tuple[str, str]:
    kind = type(pipeline).__name__
    for beginning, classes in FLOW_CONTROLS.items():
        if kind.startswith(beginning):
            return classes
    raise ModelError(f"a {kind} takes no ControlNet here; those of Stable Diffusion 3 and FLUX do")


def _add_lora(pipeline: Any, source: str | Path, scale: float) -> None:
    """Add LoRA weights to the network and the text encoders of a pipeline, for good."""
    if not hasattr(pipeline, "load_lora_weights"):
        raise ModelError(f"a {type(pipeline).__name__} takes no LoRA; use a Stable Diffusion pipeline")
    try:
        pipeline.load_lora_weights(str(source))
        pipeline.fuse_lora(lora_scale=scale)
        pipeline.unload_lora_weights()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"'{source}' holds no LoRA weights of this pipeline: {_first_sentence(error)}") from error


def load_unet(
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    prediction: str | None = None,
    compile: bool = False,
    name: str = "unet",
) -> DiffusersModel:
    """Load a `UNet2DModel` alone as a prior in pixels.

    Args:
        folder: of the network; scheduler_config.json beside it is heeded.
        device: where it runs.
        dtype: float32, float16 or bfloat16, by default float32 on the CPU and float16 on a GPU.
        prediction: what it predicts, epsilon, v_prediction or sample; by default what the scheduler says, or else epsilon.
        compile: whether to run the network through torch.compile.
        name: for messages.

    Raises:
        ModelError: one sentence that says what to do.
    """
    place = torch.device(device)
    diffusers = _diffusers()
    unet = _loaded(diffusers.UNet2DModel.from_pretrained, folder, torch_dtype=_dtype(dtype, place))
    if (folder / "scheduler_config.json").is_file():
        scheduler = _loaded(diffusers.DDPMScheduler.from_pretrained, folder)
    else:
        scheduler = diffusers.DDPMScheduler()
    if prediction is not None:
        scheduler.register_to_config(prediction_type=prediction)
    pipeline = diffusers.DDPMPipeline(unet, scheduler).to(place)
    return _diffusion_model(pipeline, None, compile, device=place, name=name)


def _control(diffusers: Any, pipeline: Any, name: str | Path | None, dtype: torch.dtype) -> Any:
    """The ControlNet of that name, by default the pipeline's own, or None."""
    if name is None:
        return pipeline.components.get("controlnet")
    control = _loaded(diffusers.ControlNetModel.from_pretrained, name, torch_dtype=dtype)
    _check_control(control, pipeline.unet, name)
    return control


def _place(pipeline: Any, control: Any, place: torch.device, cpu_offload: str | None) -> None:
    """Move a pipeline and its ControlNet to their device, or leave weights in the computer's memory until needed."""
    if cpu_offload is None:
        pipeline.to(place)
    elif cpu_offload == "model":
        pipeline.enable_model_cpu_offload(device=place)
    else:
        pipeline.enable_sequential_cpu_offload(device=place)
    if control is not None:
        control.to(place)


def new_controlnet(model: DiffusersModel, start_from: str | Path | None = None) -> Any:
    """Make a ControlNet to train for a latent prior.

    It is that of a folder or hub id, or a copy of the UNet's encoder.

    A new one changes nothing, since what it adds begins at zero. Raises ModelError for one of another network.
    """
    diffusers = _diffusers()
    if start_from is not None:
        control = _loaded(diffusers.ControlNetModel.from_pretrained, start_from)
        _check_control(control, model.unet, start_from)
        return control
    # one convolution of stride 2 between two widths: the degraded image shrinks to the size of the latents
    widths = CONDITION_WIDTHS[: model.space.scale.bit_length()]
    return diffusers.ControlNetModel.from_unet(model.unet, conditioning_embedding_out_channels=widths)


def _diffusers() -> Any:
    try:
        import diffusers
        import transformers  # noqa: F401  (what the text encoders need)
    except ImportError as error:
        raise ModelError(
            f"pipelines of diffusers need extra packages ({error.name or error} is missing): pip install 'rebridge[priors]'"
        ) from None
    version = tuple(int(part) for part in diffusers.__version__.split(".")[:2])
    if version < OLDEST_DIFFUSERS:
        wanted = ".".join(map(str, OLDEST_DIFFUSERS))
        raise ModelError(
            f"diffusers {diffusers.__version__} is too old to load pipelines safely: pip install 'diffusers>={wanted}'"
        )
    return diffusers


def _pipeline_class(diffusers: Any, name: str | Path, revision: str | None) -> str:
    """The pipeline's class, read before anything big is loaded."""
    folder = Path(os.path.expanduser(name))
    if folder.is_dir() and not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} is no prior: it has neither model_index.json (diffusers) nor config.json (rebridge)"
        )
    config = _loaded(diffusers.DiffusionPipeline.load_config, name, revision=revision)
    _check_components(config, name)
    kind = str(config.get("_class_name"))
    scheduler = config.get("scheduler") or (None, None)
    flow = str(scheduler[-1]).startswith("FlowMatch") and hasattr(diffusers, kind)
    if kind not in (*LATENT_PIPELINES, *PIXEL_PIPELINES) and not flow:
        raise ModelError(
            f"'{name}' is a {kind}; supported are Stable Diffusion 1.x, 2.x and XL (text to image, or with ControlNet), "
            "flow-matching pipelines such as Stable Diffusion 3 and FLUX, and unconditional DDPM pipelines"
        )
    return kind


def _loaded(load: Callable[..., Any], name: str | Path, **options: Any) -> Any:
    """`load(name, **options)` with errors that say what to do."""
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        _check_files(folder)
    if not folder.is_dir() and not HUB_ID.fullmatch(str(name)):
        raise ModelError(
            f"there is no folder {folder}; give a folder with a diffusers model, or a hub id like owner/model"
        )
    try:
        with warnings.catch_warnings():
            # diffusers renames torch_dtype to dtype; releases that only know the old name are supported too
            warnings.simplefilter("ignore", FutureWarning)
            return load(str(folder) if folder.is_dir() else str(name), **options)
    except Exception as error:  # damaged files have the errors of many libraries: safetensors, pickle, json, their own
        if folder.is_dir():
            raise ModelError(f"{folder} cannot be loaded: {_first_sentence(error)}") from None
        raise ModelError(
            f"'{name}' is no folder here and cannot be fetched from the Hugging Face hub; check the name and the network, "
            f"or download it elsewhere with `hf download {name} --local-dir DIR` and give DIR"
        ) from None


def _check_components(config: Any, name: str | Path) -> None:
    """Raise ModelError for a component that is of neither diffusers nor transformers."""
    if not isinstance(config, dict):
        raise ModelError(f"'{name}' is no pipeline: its model_index.json holds no JSON object")
    for part, value in config.items():
        if part.startswith("_") or not isinstance(value, list | tuple):
            continue
        library = value[0] if len(value) == 2 else value
        if library is not None and library not in LIBRARIES:
            raise ModelError(
                f"'{name}': the component {part} is of {shortened(library)}; only those of {' and '.join(LIBRARIES)} are loaded"
            )


def _check_files(folder: Path) -> None:
    """Raise ModelError for files of a pipeline's folder that nobody should open."""
    for path in sorted(folder.rglob("*")):
        problem = None if path.is_dir() else irregular(path, "a file of a model")
        if problem is not None:
            raise ModelError(f"{path} {problem}")
        if path.name in ("config.json", "model_index.json", "scheduler_config.json"):
            try:
                _check_sizes(read_json(path), path)
            except OSError as error:
                raise ModelError(f"{path} cannot be read: {reason(error)}") from None
            except ValueError as error:
                raise error if isinstance(error, ModelError) else ModelError(f"{path} {error}") from None


def _check_sizes(value: Any, path: Path, key: str = "it") -> None:
    """Raise ModelError for a number that no model can have."""
    if isinstance(value, dict):
        for name, part in value.items():
            _check_sizes(part, path, name)
    elif isinstance(value, list):
        for part in value:
            _check_sizes(part, path, key)
    elif isinstance(value, int | float) and not abs(value) <= GREATEST_SIZE:
        raise ModelError(f"{path}: {shortened(key)} is {shortened(value)}, more than any model has")


def _check_control(control: Any, unet: Any, name: str | Path) -> None:
    for key in ("in_channels", "cross_attention_dim", "block_out_channels"):
        ours, theirs = unet.config.get(key), control.config.get(key)
        if ours is not None and ours != theirs:
            raise ModelError(
                f"the ControlNet {name} belongs to another network: its {key} is {theirs}, the pipeline's is {ours}"
            )


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None or dtype == AUTO_DTYPE:
        return torch.float32 if device.type == "cpu" else torch.float16
    try:
        return dtype_of(dtype)
    except ValueError as error:
        raise ModelError(str(error)) from None


def _first_sentence(error: Exception) -> str:
    """What a library says of a folder, unless it speaks of its own insides."""
    text = " ".join(reason(error).split())[:300]
    insides = r"(Type|Attribute|Key|Index|Division|Assertion|Implemented)Error|<class '|AddedToken|object is|argument"
    odd = "a value in its configs is missing, or not of the kind that diffusers or transformers expects there"
    return odd if re.search(insides, f"{type(error).__name__}: {text}") else text
