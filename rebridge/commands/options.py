"""Options of all commands, as frozen dataclasses with their defaults.

This module imports nothing heavy. Parts such as bridges and samplers are texts in the form of the command line:
"goub:lam=0.2", "dbim:eta=1,order=2".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DEFAULT_MODELS = {"bridge": "rdbm-small", "irbridge": "pixel-prior-tiny"}
"""The packaged model of each method."""
SHORTEST_TOKEN = 16
"""Characters of a token that cannot be guessed."""


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """Files to read, and where results go.

    Attributes:
        inputs: image files, folders, or patterns such as "*.png".
        output: folder for the results; for a single file also a file name.
        overwrite: replace results that exist.
        skip_existing: leave out files whose result exists.
        recursive: search folders below folders and keep the tree.
        suffix: text behind the name of each result.
        format: suffix of the results, by default that of the input.
        quality: of JPEG, WebP, AVIF and JPEG XL, 1 to 100; by default 95, or that of the input where it was higher.
        max_pixels: larger images are refused, by default those of more than 2^26 pixels.
        strict: refuse damaged files, which else are restored as far as they can be read.
    """

    inputs: Sequence[str | Path]
    output: Path
    overwrite: bool = False
    skip_existing: bool = False
    recursive: bool = False
    suffix: str = ""
    format: str | None = None
    quality: int | None = None
    max_pixels: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be between 1 and 100, got {self.quality}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {self.max_pixels}")

    @property
    def pixel_limit(self) -> int:
        """The most pixels of an image that is read."""
        return 2**26 if self.max_pixels is None else self.max_pixels


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Device and precision of networks.

    Attributes:
        device: "cpu", "cuda", ...; by default a GPU where there is one.
        dtype: "float32", or "bfloat16" or "float16" for speed.
        compile: torch.compile the network.
    """

    device: str | None = None
    dtype: str | None = None
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class PriorOptions(DeviceOptions):
    """Options of a generative model.

    Attributes:
        controlnet: folder or id of the condition of a diffusers pipeline.
        prior_options: options of the model's format, such as {"guidance": 2}.
    """

    controlnet: str | None = None
    prior_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelOptions(PriorOptions):
    """Method, model and bridge of a restoration.

    Attributes:
        method: "bridge" for a model along its own or another bridge; "irbridge" for a generative model by a preset.
        model: name, folder or hub id; by default the packaged one of the method.
        preset: of irbridge: "paper", "sound", "tuned", or a file of `tune`.
        bridge: what is walked; by default the model's own process, or the preset's bridge.
        schedule: of irbridge: the times at which the generative model is evaluated.
        detail: of irbridge: 0 to 1, keep the input's details where nothing was restored.
        sampler: by default the model's.
    """

    method: Literal["bridge", "irbridge"] = "bridge"
    model: str | None = None
    preset: str | None = None
    bridge: str | None = None
    schedule: str | None = None
    detail: float = 0.0
    sampler: str | None = None


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Settings for the restoration of one image.

    Attributes:
        steps: of the sampler or solver, by default what is recommended.
        seed: the same seed gives the same result.
        tile: side of the tiles that the network sees in pixels, 0 for none; by default as memory needs.
        overlap: pixels that neighbouring tiles share.
        samples: restorations with different noise, of which the mean is the result.
    """

    steps: int | None = None
    seed: int = 0
    tile: int | None = None
    overlap: int | None = None
    samples: int = 1


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(SamplingOptions, ModelOptions, FileOptions):
    """Options of `restore`.

    Attributes:
        task: of irbridge, the degradation whose settings are used.
    """

    task: str | None = None


@dataclass(frozen=True, kw_only=True)
class SolveOptions(SamplingOptions, PriorOptions, FileOptions):
    """Options of `solve`.

    Attributes:
        inputs: measurements, as pictures or arrays; with simulate clean images.
        operator: what was measured, with the noise in 8-bit levels: "sr4", "blur:length=20", "noise@25".
        solver: a zero-shot method, "deqir:sweeps=10".
        prior: name, folder or hub id of a generative model in pixels.
        simulate: measure the inputs first, then solve.
        mask: for known-mask: a picture, white where a pixel is known.
        kernel: for blur: a picture of the kernel.
        size: (height, width) of the image, where the measurement does not tell.
    """

    output: Path = Path("solved")
    operator: str = "sr4"
    solver: str = "diffpir"
    prior: str = DEFAULT_MODELS["irbridge"]
    simulate: bool = False
    mask: Path | None = None
    kernel: Path | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class DegradeOptions(FileOptions):
    """Options of `degrade`.

    Attributes:
        task: a degradation.
        seed: of everything random in it.
        upsample: enlarge what sr2, sr4 and sr8 give back to size.
    """

    task: str
    seed: int = 0
    upsample: bool = False


@dataclass(frozen=True, kw_only=True)
class CaseOptions:
    """Images whose clean version is known.

    Attributes:
        clean: folder of clean images, degraded by each of `tasks`.
        tasks: degradations, or "clean" for none at all.
        pairs: folder with clean/ and degraded/, or such.
        layout: how a standard data set lies in `pairs`.
    """

    clean: Path | None = None
    tasks: Sequence[str] = ()
    pairs: Path | None = None
    layout: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SamplingOptions, ModelOptions, CaseOptions):
    """Options of `evaluate`; tasks are by default the model's.

    Attributes:
        limit: images per task.
        channel: colours, or luma only.
    """

    limit: int | None = None
    channel: Literal["rgb", "y"] = "rgb"


@dataclass(frozen=True, kw_only=True)
class TuneOptions(PriorOptions, CaseOptions):
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
class CompareOptions:
    """Options of `compare`, which takes one of three forms.

    Attributes:
        models, clean, tasks: models restore degraded images; with method "irbridge" generative models, by `presets`.
        analytic, bridges, draws: exact denoisers of a Gaussian problem along bridges, with so many draws per run.
        operators, solvers, prior, crop: zero-shot solvers restore measurements, beside IRBridge ("irbridge") and `models`.
        samplers: of the first two forms.
        steps: by default 1, 2, 5, 10; with method "irbridge" 25; with solvers one number, or their own.
        seeds: of the first two forms.
        limit: images per task.
        output: folder for compare.csv and compare.png.
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
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
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
class InfoOptions:
    """Options of `info`.

    Attributes:
        model: name, folder or hub id.
    """

    model: str


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of `convert`.

    Attributes:
        checkpoints: the authors' file, or all of them where a model has several.
        output: folder for the model; None to look only.
        family: whose it is, or "auto" to go by the weights.
        task: where the weights do not say it.
        dtype: of the weights in the folder: float32, or bfloat16 for half the size.
        overwrite: replace a model that is in the folder.
    """

    checkpoints: Sequence[Path]
    output: Path | None = None
    family: str = "auto"
    task: str | None = None
    dtype: str = "float32"
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class BridgeListOptions:
    """Options of the list of bridges.

    Attributes:
        names: only these.
        plot: a PNG for forward paths of one pixel.
    """

    names: Sequence[str] = ()
    plot: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
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
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, got {self.port}")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ValueError(f"a token needs at least {SHORTEST_TOKEN} characters, got {len(self.token)}")
