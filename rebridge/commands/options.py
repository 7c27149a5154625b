"""Options of all commands, as frozen dataclasses with their defaults.

It imports nothing heavy. Parts, as bridges and samplers, are texts of the command line: "goub:lam=0.2", "dbim:eta=1,order=2".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rebridge.commands.limits import Limited
from rebridge.commands.shared_options import (
    CaseOptions,
    ConditionOptions,
    DeviceOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    PriorOptions,
    RestorationOptions,
    SamplingOptions,
    ShowOptions,
)

__all__ = [
    "DEFAULT_MODELS",
    "SHORTEST_TOKEN",
    "BridgeListOptions",
    "CaseOptions",
    "CompareOptions",
    "ConvertOptions",
    "DegradeOptions",
    "DeviceOptions",
    "DoctorOptions",
    "EnlargeOptions",
    "EvaluateOptions",
    "ExportOptions",
    "FileOptions",
    "InfoOptions",
    "InspectOptions",
    "ModelOptions",
    "PriorOptions",
    "PushOptions",
    "RestorationOptions",
    "RestoreOptions",
    "SamplingOptions",
    "ServeOptions",
    "ShowOptions",
    "SolveOptions",
    "TrainOptions",
    "TuneOptions",
]

DEFAULT_MODELS = {"bridge": "rdbm-small", "irbridge": "pixel-prior-small"}
"""The packaged model of each method; that of irbridge is the prior of the zero-shot solvers too."""
SHORTEST_TOKEN = 16  # characters of a token that cannot be guessed


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(RestorationOptions, ModelOptions, ConditionOptions, ShowOptions, JobOptions, FileOptions):
    """Options of `restore`.

    Attributes:
        task: what to remove, as "rain" or "haze+noise"; of irbridge, the degradation whose settings are used.
        uncertainty: beside each result also write how far its samples differ.
        mask: a picture, white where alone the input is changed and filled, or a folder of such with the inputs' names.
        steady: of animations and video: 0 to 1, how much still places are averaged over time.
        engine: "local" restores on this machine; "ray" spreads pictures over `workers` of a Ray cluster, by default one a core.
    """

    engine: Literal["local", "ray"] = "local"
    workers: int | None = None
    task: str | None = None
    uncertainty: bool = False
    mask: Path | None = None
    steady: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.steady <= 1:
            raise ValueError(f"steady must lie in [0, 1], got {self.steady:g}")
        if (self.workers if self.engine == "local" else self.jobs) is not None:
            raise ValueError("workers go with --engine ray, jobs with --engine local")
        if self.uncertainty and (self.samples < 2 or self.mask is not None or self.engine == "ray"):
            raise ValueError("--uncertainty needs --samples 2 or more, and goes with neither --mask nor --engine ray")


@dataclass(frozen=True, kw_only=True)
class InspectOptions(DeviceOptions):
    """Options of `inspect`.

    Attributes:
        inputs: image files, folders, or patterns such as "*.png".
        model: one that tells what it finds.
        recursive: search folders below folders.
        max_pixels: larger images are refused, by default those of more than 2^26 pixels.
        strict: refuse damaged files.
    """

    inputs: Sequence[str | Path]
    model: str = DEFAULT_MODELS["bridge"]
    recursive: bool = False
    max_pixels: int | None = None
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class EnlargeOptions(RestorationOptions, DeviceOptions, ShowOptions, JobOptions, FileOptions):
    """Options of `enlarge`.

    Attributes:
        by: how many times as wide and as high the results are.
        model: a model that restores pictures which were enlarged, or "none" for bicubic enlarging alone.
    """

    by: int = 2
    model: str = "enlarge-small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in (2, 3, 4):
            raise ValueError(f"by must be 2, 3 or 4, got {self.by}")


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(Limited):
    """Options of `doctor`.

    Attributes:
        model: whose speed is measured, or "none" to measure nothing.
        device: "cpu", "cuda", ...; by default a GPU where there is one.
    """

    model: str = DEFAULT_MODELS["bridge"]
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class SolveOptions(SamplingOptions, PriorOptions, ConditionOptions, FileOptions):
    """Options of `solve`.

    Attributes:
        inputs: measurements, as pictures or arrays; with simulate clean images.
        operator: what was measured, with the noise in 8-bit levels: "sr4", "blur:length=20", "noise@25".
        solver: a zero-shot method, "deqir:sweeps=10"; by default what is recommended for the operator.
        prior: name, folder or hub id of a generative model in pixels.
        simulate: measure the inputs first, then solve.
        mask: for known-mask: a picture, white where a pixel is known.
        kernel: for blur: a picture of the kernel.
        size: (height, width) of the image, where the measurement does not tell.
    """

    output: Path = Path("solved")
    operator: str = "sr4"
    solver: str | None = None
    prior: str = DEFAULT_MODELS["irbridge"]
    simulate: bool = False
    mask: Path | None = None
    kernel: Path | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DegradeOptions(FileOptions):
    """Options of `degrade`.

    Attributes:
        task, seed: a degradation, and the seed of everything random in it.
        upsample: enlarge what sr2, sr4 and sr8 give back to size.
    """

    task: str
    seed: int = 0
    upsample: bool = False


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SamplingOptions, ModelOptions, ConditionOptions, CaseOptions):
    """Options of `evaluate`; tasks are by default the model's.

    Attributes:
        limit: images per task.
        channel: colours, luma only, or luma in whole levels as MATLAB has it.
        border: pixels cut off at each side.
        window: of SSIM, "gaussian", or "uniform" as scikit-image's.
        truncate: cut levels down instead of rounding them.
        metrics: further ones of pyiqa, such as "lpips" and "niqe".
        results: folder of results made elsewhere, instead of a model.
        truth: folder of their true images; with `pairs` in its place the gain is known too.
        suffix: text behind the names of the results.
        harm: restore the clean images too, and say what is left of them.
        baselines: measure filters without a model beside it.
    """

    limit: int | None = None
    channel: Literal["rgb", "y", "y-matlab"] = "rgb"
    border: int = 0
    window: Literal["gaussian", "uniform"] = "gaussian"
    truncate: bool = False
    metrics: Sequence[str] = ()
    results: Path | None = None
    truth: Path | None = None
    suffix: str = ""
    harm: bool = True
    baselines: bool = False


@dataclass(frozen=True, kw_only=True)
class TuneOptions(PriorOptions, ConditionOptions, CaseOptions):
    """Options of `tune`.

    Attributes:
        output: file for the settings, .json; tasks that it has already stay.
        model: the generative model.
        limit: images per task.
        base: preset to begin from.
        steps: calls of the network per image.
        search: choices by setting; None for all that are known. A setting without choices takes its known ones.
        rounds: passes through all settings.
    """

    output: Path
    model: str = DEFAULT_MODELS["irbridge"]
    limit: int = 4
    base: str = "sound"
    steps: int = 25
    search: Mapping[str, Sequence[Any]] | None = None
    rounds: int = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ConditionOptions):
    """Options of `compare`, which takes one of three forms.

    Attributes:
        models, clean, tasks, conditions: models restore degraded images; with method "irbridge" generative ones, by `presets`.
        analytic, bridges, draws: exact denoisers of a Gaussian problem along bridges, with so many draws per run.
        operators, solvers, prior, crop: zero-shot solvers restore measurements, beside IRBridge ("irbridge"), `models`, what
            needs no model ("baselines"), and the solver that is the default of each operator ("default").
        samplers: of the first two forms.
        steps: by default 1, 2, 5, 10; with method "irbridge" 25; with solvers one number, or their own.
        seeds: of the first two forms.
        limit: images per task.
        output: folder for compare.csv and compare.png.
        overwrite: replace those that exist.
        device: as in `DeviceOptions`.
    """

    models: Sequence[str] = ()
    clean: Path | None = None
    tasks: Sequence[str] = ()
    analytic: bool = False
    bridges: Sequence[str] = ()
    samplers: Sequence[str] = ()
    method: Literal["bridge", "irbridge"] = "bridge"
    presets: Sequence[str] = ()
    operators: Sequence[str] = ()
    solvers: Sequence[str] = ()
    prior: str = DEFAULT_MODELS["irbridge"]
    crop: int | None = None
    steps: Sequence[int] | None = None
    seeds: Sequence[int] = (0, 1, 2)
    limit: int | None = None
    draws: int = 4000
    output: Path | None = None
    overwrite: bool = False
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Limited):
    """Options of `train`.

    Attributes:
        config: a YAML file.
        overrides: settings to change, "optimisation.lr=1e-3".
        resume: continue from the newest checkpoint.
        stage: of a file with stages, only this one, by name or by number from 1.
    """

    config: Path
    overrides: Sequence[str] = ()
    resume: bool = False
    stage: str | None = None


@dataclass(frozen=True, kw_only=True)
class InfoOptions(Limited):
    """Options of `info`: name, folder or hub id of a model."""

    model: str


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(Limited):
    """Options of `convert`.

    Attributes:
        checkpoints: the authors' file, or all of them where a model has several.
        output: folder for the model; None to look only.
        family: whose it is, or "auto" to go by the weights; with options of the family, as i2sb:beta_max=1.
        task: where the weights do not say it.
        dtype: of the weights in the folder: float32, or bfloat16 for half the size.
        check: read the folder again and compare; without a folder, only say what the file is.
        overwrite: replace a model that is in the folder.
    """

    checkpoints: Sequence[Path]
    output: Path | None = None
    family: str = "auto"
    task: str | None = None
    dtype: str = "float32"
    check: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Limited):
    """Options of `export`.

    Attributes:
        model, output: name, folder or hub id of a model in pixels, and the folder for the files.
        format: "onnx", with a runner of numpy and onnxruntime, or "torch" for `torch.export.load`.
        sampler: of the runner, by default the model's.
        steps: recommended number of steps, by default the sampler's.
        int8: also write a quantised network, where it costs less than 0.1 dB.
        clean: folder of clean pictures that the export is tried on, by default small ones that come along.
        overwrite: replace an export that is in the folder.
    """

    model: str
    output: Path
    format: Literal["onnx", "torch"] = "onnx"
    sampler: str | None = None
    steps: int | None = None
    int8: bool = True
    clean: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PushOptions(Limited):
    """Options of `push`.

    Attributes:
        model, repository: name or folder of a model, and "owner/name" on the Hub, which is made where it is missing.
        private: make it a private one.
        revision: branch that is written to, made where it is missing; by default the main one.
        message: of the commit.
    """

    model: str
    repository: str
    private: bool = False
    revision: str | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class BridgeListOptions(Limited):
    """Options of the list of bridges.

    Attributes:
        names: only these.
        plot: a PNG for forward paths of one pixel.
        overwrite: replace it if it exists.
    """

    names: Sequence[str] = ()
    plot: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Limited):
    """Options of `serve`.

    Attributes:
        host: address to listen at; other machines reach any but the loopback ones.
        port: 0 for any that is free.
        token: what visitors must know; by default nothing on loopback, and a random one elsewhere.
        models: to offer besides the packaged ones, by folder or hub id.
        device: "cpu", "cuda", ...; by default a GPU where there is one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    models: Sequence[str] = ()
    device: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, got {self.port}")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ValueError(f"a token needs at least {SHORTEST_TOKEN} characters, got {len(self.token)}")
