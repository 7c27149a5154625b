"""Command `doctor`: what is installed and missing, and how fast it is."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch

from rebridge.commands.opening import open_restorer
from rebridge.commands.options import DoctorOptions, ModelOptions
from rebridge.denoisers.precision import device_of

REQUIRED = (
    "torch",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "tifffile",
    "safetensors",
    "pydantic",
)
EXTRAS: dict[str, dict[str, str]] = {
    "hub": {"huggingface_hub": "huggingface_hub"},
    "train": {"accelerate": "accelerate", "tensorboard": "tensorboard", "matplotlib": "matplotlib"},
    "app": {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"},
    "formats": {"pillow_heif": "pillow-heif", "imagecodecs": "imagecodecs", "rawpy": "rawpy"},
    "priors": {"diffusers": "diffusers", "transformers": "transformers", "peft": "peft", "accelerate": "accelerate"},
    "video": {"av": "av"},
    "export": {"onnx": "onnx", "onnxruntime": "onnxruntime"},
    "cluster": {"ray": "ray"},
    "metrics": {"pyiqa": "pyiqa"},
}
"""Modules of each extra, with the packages that bring them."""
PURPOSE = {
    "hub": "models by their id on the Hugging Face Hub, `rebridge push`",
    "train": "training and plots",
    "app": "web page and API (`rebridge serve`)",
    "formats": "HEIC, JPEG XL, camera raw",
    "priors": "Stable Diffusion and other pretrained models",
    "video": "films",
    "export": "ONNX (`rebridge export`)",
    "cluster": "many machines (`rebridge restore --engine ray`)",
    "metrics": "LPIPS, NIQE and other learned measures",
}
NO_MODEL = "none"
SIDE = 512
"""Of the picture whose restoration is timed."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        state: in words.
        is_fine: False where something is missing or broken.
        remedy: the command that mends it, or None.
    """

    name: str
    state: str
    is_fine: bool = True
    remedy: str | None = None

    @property
    def sentence(self) -> str:
        """The check in one line."""
        mend = f"; add it: {self.remedy}" if self.remedy else ""
        return f"{'ok' if self.is_fine else '--':4}{self.name}: {self.state}{mend}"


def doctor(options: DoctorOptions) -> list[Check]:
    """Look at versions, devices, extras and the speed of this machine.

    Raises:
        ValueError: a device that there is not.
    """
    checks = [Check("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")]
    checks.append(_package("rebridge"))
    checks += [_package(name) for name in REQUIRED]
    checks += _devices(options.device)
    checks += [_extra(name) for name in EXTRAS]
    if options.model != NO_MODEL:
        checks.append(_speed(options))
    return checks


@dataclass(frozen=True)
class Diagnosis:
    """All that was looked at, in order."""

    checks: list[Check]

    @classmethod
    def of(cls, options: DoctorOptions) -> Diagnosis:
        """Look at everything; see `doctor`."""
        return cls(doctor(options))

    @property
    def record(self) -> list[dict[str, Any]]:
        """Describe the checks in plain data, as JSON takes it."""
        return [
            {"name": one.name, "state": one.state, "fine": one.is_fine, "remedy": one.remedy} for one in self.checks
        ]

    @property
    def sentences(self) -> list[str]:
        """The checks, one in a line."""
        return [one.sentence for one in self.checks]


def _package(name: str) -> Check:
    try:
        return Check(name, version(name))
    except PackageNotFoundError:
        remedy = "pip install ." if name == "rebridge" else f"pip install {name}"
        return Check(name, "not installed as a package", name == "rebridge", None if name == "rebridge" else remedy)


def _devices(wanted: str | None) -> list[Check]:
    """The devices that there are, and the one that is used."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    cores = os.cpu_count() or 1
    text = f"{', '.join(found)}; {cores} cores, {torch.get_num_threads()} threads"
    return [Check("devices", text), Check("device in use", str(device_of(wanted)))]


def _extra(name: str) -> Check:
    """Whether the packages of an extra are there and can be imported."""
    missing = [package for module, package in EXTRAS[name].items() if find_spec(module) is None]
    remedy = f"pip install 'rebridge[{name}]'"
    if missing:
        return Check(f"extra {name}", f"missing {', '.join(missing)}: needed for {PURPOSE[name]}", False, remedy)
    broken = []
    for module, package in EXTRAS[name].items():
        try:
            import_module(module)
        except Exception as error:  # a package may fail in any way while it is imported
            broken.append(f"{package} ({type(error).__name__})")
    if broken:
        return Check(f"extra {name}", f"cannot be imported: {', '.join(broken)}", False, remedy)
    packages = [f"{package} {version(package)}" for package in EXTRAS[name].values()]
    return Check(f"extra {name}", ", ".join(packages))


def _speed(options: DoctorOptions) -> Check:
    """The time that a model needs for a noisy picture."""
    restorer = open_restorer(ModelOptions(model=options.model, device=options.device)).restorer
    draw = torch.Generator().manual_seed(0)
    picture = torch.rand(1, restorer.model.info.channels, SIDE, SIDE, generator=draw)
    restorer(picture[..., :64, :64])
    began = time.perf_counter()
    restorer(picture)
    seconds = time.perf_counter() - began
    pixels = SIDE * SIDE / seconds / 1e6
    return Check(f"speed of {options.model}", f"{seconds:.2f} s for {SIDE} x {SIDE} pixels, {pixels:.2f} megapixels/s")
