"""Export of models to ONNX, with a runner, or to `torch.export`.

    export_onnx(model, "exported")      # denoiser.onnx (x, t, y -> x0), sampling.json, run.py
    export_torch(model, "exported")     # denoiser.pt2, for torch.export.load

An export is tried before it is written: on pictures the runner must give what `Restorer` gives, to 1/255.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rebridge import samplers
from rebridge.bridges import Bridge
from rebridge.denoisers import NetworkDenoiser
from rebridge.images.atomic import write_atomic
from rebridge.integrations import onnx_runner
from rebridge.integrations.int8 import Quantised, quantise_export
from rebridge.integrations.onnx_runner import DENOISER_FILE, INT8_FILE, PREDICTOR_FILE, SAMPLING_FILE, OnnxRestorer
from rebridge.integrations.programs import Program, traced
from rebridge.integrations.tabulated import TabulatedDenoiser, with_named_inputs
from rebridge.models import Model, ModelError, TrainedModel
from rebridge.networks.conditions import Conditions, blank
from rebridge.restoration import Restorer
from rebridge.restoration.choices import SamplerChoice
from rebridge.samplers import Sampler

OFFERED_STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 50, 100)
"""Numbers of steps that a runner offers, beside the recommended one."""
OPSET = 20
RUNNER_FILE = "run.py"
TORCH_FILE = "denoiser.pt2"
TORCH_MULTIPLE = 32
"""Sides that a program of torch.export takes are multiples of this and of the network's own."""
MOST_APART = 1 / 255


@dataclass(frozen=True)
class Exported:
    """The files of an export.

    Attributes:
        folder: where it is.
        files: their names.
        steps: numbers of steps that the runner offers.
        difference: the largest difference between runner and `Restorer` on the pictures that were tried, in [0, 1].
        int8: what became of the quantised network.
    """

    folder: Path
    files: tuple[str, ...]
    steps: tuple[int, ...] = ()
    difference: float = 0.0
    int8: Quantised = field(default_factory=Quantised)


def export_onnx(
    model: Model, folder: str | Path, pictures: Sequence[tuple[Any, Any]] = (), *, sampler: SamplerChoice = None,
    steps: int | None = None, int8: bool = True,
) -> Exported:  # fmt: skip
    """Write a model as ONNX, with a runner.

    Args:
        model: a trained model whose states are pixels.
        folder: is made; files of an earlier export are replaced.
        pictures: (clean, degraded) arrays (H, W, C) of uint8 that the export is tried on.
        sampler: of the runner, by default the model's.
        steps: recommended number of steps, by default the sampler's.
        int8: also write a quantised network, where it costs less than 0.1 dB on the pictures.

    Raises:
        ModelError: a model or sampler that cannot be exported, or an export that gives other pixels.
    """
    trained = _exportable(model)
    restore = Restorer(trained, sampler=sampler)
    chosen = restore.sampler(steps=steps)
    programs = programs_of(chosen, trained.process)
    times = {step["t"] for program in programs.values() for step in program if step["op"] == "denoise"} | {1.0}
    with tempfile.TemporaryDirectory(prefix="rebridge-export-") as place:
        made = Path(place)
        conditions = trained.info.conditions
        module = TabulatedDenoiser(trained.denoiser, times, list(conditions)).eval()
        write_graph(module, made / DENOISER_FILE, trained.info.channels, conditions)
        predictor = trained.predictor_network
        if predictor is not None:
            first = NetworkDenoiser(predictor, trained.process, "residual").eval()
            write_graph(TabulatedDenoiser(first, times).eval(), made / PREDICTOR_FILE, trained.info.channels)
        info = _info(trained, chosen, programs, predictor is not None)
        _write_info(made, info)
        told = partial(made_up_conditions, conditions)
        difference = _tried(made, restore, chosen, [(degraded, told(degraded)) for _, degraded in pictures])
        quantised = quantise_export(made, pictures, told=told) if int8 else Quantised()
        info |= {"difference": difference, "int8": quantised.record}
        _write_info(made, info)
        shutil.copyfile(onnx_runner.__file__, made / RUNNER_FILE)
        files = _moved(made, Path(folder), (INT8_FILE,))
    return Exported(Path(folder), files, tuple(programs), difference, quantised)


def export_torch(model: Model, folder: str | Path) -> Exported:
    """Write a model's denoiser as a program of `torch.export`.

    It is called as denoiser(x, t, y) with sides that are multiples of 32 and of the network's own, and any number of images;
    extra conditions go by name, denoiser(x, t, y, depth=depth).

    Raises:
        ModelError: a model that cannot be exported.
    """
    trained = _exportable(model)
    module = with_named_inputs(TabulatedDenoiser(trained.denoiser, conditions=list(trained.info.conditions)))
    multiple = math.lcm(TORCH_MULTIPLE, trained.info.multiple)
    batch, rows, columns = (torch.export.Dim(name, min=1, max=most) for name, most in _DIMENSIONS)
    image = {0: batch, 2: multiple * rows, 3: multiple * columns}
    size = 3 * multiple, 4 * multiple
    x, t, y = _example(trained.info.channels, *size)
    told = blank(trained.info.conditions, len(x), size)
    shapes = {name: image if one.form == "map" else {0: batch} for name, one in trained.info.conditions.items()}
    dynamic = {"x": image, "t": {0: batch}, "y": image, **shapes}
    with tempfile.TemporaryDirectory(prefix="rebridge-export-") as place:
        try:
            program = torch.export.export(module, (x, t, y), told, dynamic_shapes=dynamic, strict=False)
        except Exception as error:  # torch.export has errors of many kinds
            raise ModelError(
                f"model '{trained.info.name}' cannot be exported by torch.export: {_short(error)}"
            ) from error
        with warnings.catch_warnings():  # weights that were read from one file share its memory, and are saved whole
            warnings.filterwarnings("ignore", message="No complete tensor found")
            torch.export.save(program, Path(place) / TORCH_FILE)
        files = _moved(Path(place), Path(folder), ())
    return Exported(Path(folder), files)


_DIMENSIONS = (("batch", 2**10), ("rows", 2**9), ("columns", 2**9))


def programs_of(sampler: Sampler, bridge: Bridge) -> dict[int, Program]:
    """Write a sampler's runs down, by number of steps.

    The recommended number, and those of `OFFERED_STEPS` that the sampler can take.

    Raises:
        ModelError: the recommended run cannot be written down.
    """
    if sampler.walks_prior or sampler.evaluates_prior:
        raise ModelError(
            f"sampler {sampler.name!r} evaluates a prior along another process and cannot be exported; use dbim"
        )
    found = {}
    for steps in sorted({*OFFERED_STEPS, sampler.steps}):
        try:
            found[steps] = traced(samplers.create(sampler.name, **{**sampler.params, "steps": steps}), bridge)
        except ValueError as error:
            if steps == sampler.steps:
                raise ModelError(str(error)) from None
    return found


def write_graph(module: nn.Module, path: Path, channels: int, conditions: Conditions | None = None) -> None:
    """Trace a denoiser into an ONNX file with inputs x, t and y, and the output x0.

    Batch, height and width may be any at run time.

    Args:
        module: the denoiser.
        path: of the file.
        channels: of the images.
        conditions: extra ones, which are further inputs by their names.

    Raises:
        ModelError: onnx is missing, or the network has operations that ONNX does not know.
    """
    images = {0: "batch", 2: "height", 3: "width"}
    declared = conditions or {}
    axes = {name: images if one.form == "map" else {0: "batch"} for name, one in declared.items()}
    size = 50, 70
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ModelError("export to ONNX needs the package onnx: pip install 'rebridge[export]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about branches on sides: `rebridge.networks.exporting`
            torch.onnx.export(
                module,
                (*_example(channels, *size), *blank(declared, 2, size).values()),
                str(path),
                input_names=["x", "t", "y", *declared],
                output_names=["x0"],
                dynamic_axes={"x": images, "t": {0: "batch"}, "y": images, "x0": images, **axes},
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"this network has operations that ONNX does not know: {_short(error)}") from error


def _exportable(model: Model) -> TrainedModel:
    if not isinstance(model, TrainedModel):
        raise ModelError(f"model '{model.info.name}' is no network on a bridge; only such models are exported")
    if model.autoencoder is not None:
        raise ModelError(
            f"model '{model.info.name}' restores in the latents of an autoencoder; only models in pixels are exported"
        )
    if model.device.type != "cpu":
        raise ModelError("load the model with device='cpu' to export it")
    return model


def _example(channels: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, channels, height, width, generator=generator) * 2 - 1 for _ in range(2))
    return x, torch.tensor([1.0, 0.5]), y


def _info(model: TrainedModel, sampler: Sampler, programs: dict[int, Program], predictor: bool) -> dict[str, Any]:
    return {
        "format": 1,
        "name": model.info.name,
        "bridge": {"name": model.process.name, **model.process.params},
        "sampler": {"name": sampler.name, **sampler.params},
        "value_range": list(model.process.value_range),
        "channels": model.info.channels,
        "conditions": {name: asdict(one) for name, one in model.info.conditions.items()},
        "window": model.info.window,
        "predictor": predictor,
        "tasks": list(model.tasks),
        "licence": model.info.licence,
        "steps": sampler.steps,
        "programs": {str(steps): program for steps, program in programs.items()},
    }


def _write_info(folder: Path, info: dict[str, Any]) -> None:
    (folder / SAMPLING_FILE).write_text(json.dumps(info, allow_nan=False), encoding="utf-8")


def made_up_conditions(declared: Conditions, picture: Any) -> dict[str, Any]:
    """Make up extra conditions for a picture (H, W, C) that an export is tried on."""
    draw = np.random.default_rng(picture.shape)
    found: dict[str, Any] = {}
    for name, one in declared.items():
        if one.form == "map":
            found[name] = draw.random((*picture.shape[:2], one.size), np.float32)
        elif one.form == "class":
            found[name] = int(draw.integers(one.size))
        else:
            found[name] = (one.scale * draw.random(one.shape())).astype(np.float32)
    return found


def _tried(folder: Path, restore: Restorer, sampler: Sampler, pictures: Sequence[tuple[Any, dict[str, Any]]]) -> float:
    """The largest difference between the runner and `Restorer` on pictures; ModelError where it shows."""
    runner = OnnxRestorer(folder)
    apart = 0.0
    for picture, told in pictures:
        image = np.asarray(picture, np.float32) / 255
        restored = restore(image, sampler=sampler, tile=0, **told)
        apart = max(apart, float(np.abs(runner(image, **told) - restored).max()))
    if apart > MOST_APART:
        raise ModelError(
            f"the exported network of '{restore.model.info.name}' gives other pixels, by up to {apart:.4f}; nothing is written"
        )
    return apart


def _moved(made: Path, folder: Path, optional: Sequence[str]) -> tuple[str, ...]:
    """Move files into a folder, one by one and each whole; remove optional ones of an earlier export."""
    names = tuple(sorted(path.name for path in made.iterdir()))
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_atomic(folder / name, (made / name).read_bytes(), overwrite=True)
    for name in set(optional) - set(names):
        (folder / name).unlink(missing_ok=True)
    return names


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
