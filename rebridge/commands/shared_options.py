"""Groups of options that several commands share, as frozen dataclasses.

This module imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rebridge.commands.limits import Limited


@dataclass(frozen=True, kw_only=True)
class FileOptions(Limited):
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
        super().__post_init__()
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be between 1 and 100, got {self.quality}")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {self.max_pixels}")

    @property
    def pixel_limit(self) -> int:
        """The most pixels of an image that is read."""
        return 2**26 if self.max_pixels is None else self.max_pixels


@dataclass(frozen=True, kw_only=True)
class JobOptions(Limited):
    """Pictures of a batch that go at once.

    Attributes:
        jobs: pictures that pass the network at once; None for what is found best on this machine.
    """

    jobs: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jobs is not None and not 1 <= self.jobs <= 256:
            raise ValueError(f"jobs must be between 1 and 256, got {self.jobs}")


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(Limited):
    """Device and precision of networks.

    Attributes:
        device: "cpu", "cuda", ...; by default a GPU where there is one.
        dtype: "float32", or "bfloat16" or "float16" for speed; "auto" for what is found best on this machine.
        compile: torch.compile the network, or never; None for where a batch of `restore` or `enlarge` repays it.
    """

    device: str | None = None
    dtype: str | None = None
    compile: bool | None = None


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
        colour: of irbridge: take the input's colours, "adain" or "wavelet".
        resize: of irbridge: the length that the shorter side of an image has for the model.
        sampler: by default the model's.
    """

    method: Literal["bridge", "irbridge"] = "bridge"
    model: str | None = None
    preset: str | None = None
    bridge: str | None = None
    schedule: str | None = None
    detail: float = 0.0
    colour: Literal["adain", "wavelet"] | None = None
    resize: int | None = None
    sampler: str | None = None


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(Limited):
    """Settings for the restoration of one image.

    Attributes:
        steps: of the sampler or solver, by default what is recommended.
        seed: the same seed gives the same result; None for 0, also where no noise is drawn.
        tile: side of the tiles that the network sees in pixels, 0 for none; by default as memory needs.
        overlap: pixels that neighbouring tiles share.
        samples: restorations with different noise, of which the mean is the result.
    """

    steps: int | None = None
    seed: int | None = None
    tile: int | None = None
    overlap: int | None = None
    samples: int = 1

    @property
    def noise_seed(self) -> int:
        """The seed that is used."""
        return 0 if self.seed is None else self.seed


@dataclass(frozen=True, kw_only=True)
class RestorationOptions(SamplingOptions):
    """Settings for the restoration of one degraded image.

    Attributes:
        strength: share of the change that is made: 0 leaves the image, 1 is what the model makes, more exaggerates it.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength < float("inf"):
            raise ValueError(
                f"strength must be at least 0, got {self.strength:g}: 0 changes nothing, 1 is what the model makes"
            )


@dataclass(frozen=True, kw_only=True)
class ConditionOptions(Limited):
    """Extra conditions, which a model needs beside the picture.

    Attributes:
        conditions: by name: a number, a file, or a folder with a file for each input.
    """

    conditions: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ShowOptions(Limited):
    """Ways to look at what a command makes.

    Attributes:
        before_after: beside each result also write a page with a slider, and a picture of both halves.
        contact_sheet: a picture to write with all pictures before and after.
        dry_run: say what would be done, and write nothing.
        open: show the results when all is done.
    """

    before_after: bool = False
    contact_sheet: Path | None = None
    dry_run: bool = False
    open: bool = False


@dataclass(frozen=True, kw_only=True)
class CaseOptions(Limited):
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
