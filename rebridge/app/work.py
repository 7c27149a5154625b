"""The work of one job: read, restore, write the result and views of it."""

from __future__ import annotations

import io
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.nn.functional import interpolate

from rebridge.app.jobs import RefusedError, StoppedError, WebJob
from rebridge.app.limits import Limits
from rebridge.commands.fill import fill_marked, filler, filler_note
from rebridge.commands.findings import finding_records, found_words
from rebridge.commands.maps import change_map, value_map
from rebridge.commands.models import PackagedModel, described, list_models, model_summary
from rebridge.commands.opening import Opened, check_sampling, open_restorer
from rebridge.commands.options import DEFAULT_MODELS, ModelOptions, RestorationOptions
from rebridge.commands.restore import ImageResult, restore_image
from rebridge.denoisers.machine import take_over
from rebridge.images import (
    WRITABLE_SUFFIXES,
    Image,
    ImageError,
    encode_image,
    read_image,
    reason,
    to_samples,
    untouched_file,
)
from rebridge.restoration.filling import INPAINT, marked
from rebridge.restoration.looking import look

OPEN_MODELS = 3
"""Models that stay in memory."""
PREVIEW_SIDE = 320
VIEW_QUALITY = 92
LONGEST_UPLOAD_NAME = 120
RESTORING = 0.97
"""Share of the progress that restoring has; the rest is for writing."""
_PLACE = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[\\/][\w.~+@-]+){2,}[\\/]?")

_showing = threading.Lock()
logger = logging.getLogger(__name__)

Pictures = tuple[Image, Image | None]
"""A picture and its mask."""


@dataclass(frozen=True, kw_only=True)
class Wanted(RestorationOptions):
    """Options of one job, named as on the command line.

    Attributes:
        method: "bridge" or "irbridge"; by default the one that the model is for.
        model: one of those that the server offers.
        task: what to remove, as "rain" or "haze+noise"; of irbridge, the degradation whose settings are used.
        sampler: by default the model's.
        format: suffix of the result, by default that of the picture.
        quality: of JPEG, WebP, AVIF and JPEG XL, 1 to 100.
    """

    method: str | None = None
    model: str = DEFAULT_MODELS["bridge"]
    task: str | None = None
    sampler: str | None = None
    format: str | None = None
    quality: int | None = None


class Worker:
    """Restores pictures with models that stay open.

    Args:
        limits: of pixels, steps and samples.
        models: folders or ids to offer besides the packaged models.
        device: of the models.

    Raises:
        ModelError: a model that there is not.
    """

    def __init__(self, limits: Limits, models: tuple[str, ...] = (), device: str | None = None) -> None:
        self._limits = limits
        self._device = device
        self._opened: dict[tuple[str, str, str | None], Opened] = {}
        self.offered: dict[str, PackagedModel] = {model.name: model for model in list_models()}
        self._sources: dict[str, str] = {name: name for name in self.offered}
        for source in models:
            found = model_summary(source)
            self.offered[found.name] = found
            self._sources[found.name] = source

    def prepare(self) -> None:
        """Open the default model before the first picture comes.

        In the thread that is to compute, which takes over the cores.
        """
        take_over()
        self._open(Wanted())

    def check(self, path: Path, wanted: Wanted, mask: Path | None = None) -> tuple[Pictures, Any]:
        """Look at an uploaded picture, its mask and its options.

        Returns:
            The picture and its mask, and what it has in common with those that it may be restored with; None for nothing.

        Raises:
            RefusedError: a sentence that says what to change.
        """
        self._check_options(wanted)
        try:
            image = read_image(path, self._limits.pixels)
            if mask is None:
                return (image, None), None if image.alpha is not None else (wanted, image.size, image.mode)
            painted = read_image(mask, self._limits.pixels)
            marked(painted)
        except ImageError as error:
            raise RefusedError(400, public_sentence(error, path)) from None
        except ValueError as error:
            raise RefusedError(400, str(error)) from None
        if painted.size != image.size:
            raise RefusedError(
                400, f"the mask must have the size of the picture, {image.size[0]} x {image.size[1]} pixels"
            )
        return (image, painted), None

    def work(self, batch: list[WebJob], report: Callable[[float], None], show: Callable[[WebJob, bytes], None]) -> None:
        """Restore the pictures of jobs of one kind; see `rebridge.app.jobs.JobWork`.

        Raises:
            RefusedError: what went wrong, as a sentence.
            StoppedError: as `report` raises it.
        """
        try:
            self._restore(batch, report, show)
        except (StoppedError, RefusedError):
            raise
        except (ValueError, OSError) as error:
            raise RefusedError(400, public_sentence(error, batch[0].source)) from error
        except MemoryError:
            raise RefusedError(500, "the picture is too large for the memory of the server") from None
        except Exception as error:
            logger.exception("a picture could not be restored")
            raise RefusedError(500, "the picture could not be restored; the server has recorded why") from error

    def _restore(
        self, batch: list[WebJob], report: Callable[[float], None], show: Callable[[WebJob, bytes], None]
    ) -> None:
        wanted: Wanted = batch[0].options
        read = [job.read or self._read(job) for job in batch]
        pictures, painted = [image for image, _ in read], read[0][1]
        if painted is not None:
            wanted = self._filling(wanted)
        report(0.0)
        opened = self._open(wanted)
        began = time.perf_counter()
        if painted is None:
            opened = self._looked(opened, batch, pictures)
        began = _spent(batch, "look", began)
        chosen = check_sampling(opened.restorer, wanted, wanted.sampler)
        if chosen.steps > self._limits.steps:
            raise RefusedError(400, f"steps must be at most {self._limits.steps} here, got {chosen.steps}")
        report(0.0)

        def step(done: float, total: float, note: str = "") -> None:
            report(RESTORING * done / total)

        if painted is not None:
            filled, words = fill_marked(pictures[0], painted, opened, wanted, step)
            done = {"model": opened.name, "seed": wanted.noise_seed, "samples": wanted.samples, "steps": chosen.steps}
            done |= {"bridge": {"name": "none"}, "sampler": {"name": "none"}, "words": words}
            results = [ImageResult(filled, time.perf_counter() - began, done, filler_note(opened))]
        elif len(batch) == 1:
            job = batch[0]
            found = restore_image(
                pictures[0], opened, wanted, step, wanted.sampler, lambda estimate: show(job, preview_jpeg(estimate))
            )
            results = [found]
        else:
            found = restore_image(_stacked(pictures), opened, wanted, step, wanted.sampler)
            results = [
                replace(
                    found,
                    image=before.with_pixels(found.image[number]),
                    std=None if found.std is None else found.std[number : number + 1],
                )
                for number, before in enumerate(pictures)
            ]
        began = _spent(batch, "restore", began)
        for job, before, result in zip(batch, pictures, results, strict=True):
            if job.stop is None:
                _settle(job, before, result)
        _spent(batch, "write", began)
        report(1.0)

    def _read(self, job: WebJob) -> Pictures:
        """Read the picture of a job that waited while others were in memory."""
        began = time.perf_counter()
        mask = read_image(job.mask, self._limits.pixels) if job.mask.exists() else None
        found = read_image(job.source, self._limits.pixels), mask
        _spent([job], "read again", began)
        return found

    def _looked(self, opened: Opened, batch: list[WebJob], pictures: list[Image]) -> Opened:
        """Note what ails pictures; returns what restores them without another look."""
        restorer, findings = look(opened.restorer, pictures[0] if len(batch) == 1 else _stacked(pictures))
        for job, found in zip(batch, findings or (), strict=False):
            job.found, job.found_words = finding_records(found), found_words(found)
        return replace(opened, restorer=restorer)

    def _open(self, wanted: Wanted) -> Opened:
        method = wanted.method or self.offered[wanted.model].method
        key = (method, wanted.model, wanted.task)
        opened = self._opened.pop(key, None)
        if opened is None:
            source = self._sources[wanted.model]
            options = ModelOptions(method=method, model=source, device=self._device)  # type: ignore[arg-type]
            opened = replace(open_restorer(options, wanted.task), name=wanted.model)
        self._opened[key] = opened
        while len(self._opened) > OPEN_MODELS:
            del self._opened[next(iter(self._opened))]
        return opened

    def _filling(self, wanted: Wanted) -> Wanted:
        """The options with a model that draws what is missing, where there is one."""
        draws = INPAINT in self.offered[wanted.model].tasks and wanted.method != "irbridge"
        name = None if draws else filler()
        return wanted if name is None else replace(wanted, model=name, task=None)

    def _takes_task(self, wanted: Wanted) -> bool:
        model = self.offered[wanted.model]
        return model.told or (wanted.method or model.method) != "bridge"

    def _check_options(self, wanted: Wanted) -> None:
        limits = self._limits
        problem = None
        if wanted.model not in self.offered:
            problem = f"unknown model '{wanted.model}'; there are {', '.join(self.offered)}"
        elif wanted.method not in (None, "bridge", "irbridge"):
            problem = f"method must be bridge or irbridge, got '{wanted.method}'"
        elif wanted.task is not None and not self._takes_task(wanted):
            problem = "task goes with the method irbridge, or a model that can be told; this one finds out by itself"
        elif wanted.format is not None and f".{wanted.format}" not in WRITABLE_SUFFIXES:
            problem = f"unknown format '{wanted.format}'; use one of {', '.join(s[1:] for s in WRITABLE_SUFFIXES)}"
        elif wanted.quality is not None and not 1 <= wanted.quality <= 100:
            problem = f"quality must be between 1 and 100, got {wanted.quality}"
        if wanted.strength > limits.strength:
            problem = f"strength must be between 0 and {limits.strength:g} here, got {wanted.strength:g}"
        for name, value, most in (("steps", wanted.steps, limits.steps), ("samples", wanted.samples, limits.samples)):
            if value is not None and not 1 <= value <= most:
                problem = f"{name} must be between 1 and {most} here, got {value}"
        if problem is not None:
            raise RefusedError(400, problem)


def _stacked(pictures: list[Image]) -> Tensor:
    return torch.stack([picture.pixels for picture in pictures])


def _spent(batch: list[WebJob], stage: str, began: float) -> float:
    """Note the seconds of a stage; returns when the next one begins."""
    now = time.perf_counter()
    for job in batch:
        job.spent[stage] = now - began
    return now


def _settle(job: WebJob, before: Image, found: ImageResult) -> None:
    """Write the result of a job and the maps of it; what goes wrong is said in the job.

    What is shown of its files, before, after and what changed, is made when it is asked for: see `view_file`.
    """
    wanted: Wanted = job.options
    after: Image = found.image
    result = job.folder / ("result" + _suffix(job.name, wanted))
    try:
        kept = untouched_file(job.source, before, after, result.suffix, wanted.quality)
        result.write_bytes(kept or encode_image(after, result.suffix, wanted.quality))
    except ImageError as error:
        job.error = public_sentence(error, result)
        return
    changed = change_map(before, after)
    notes = [note for note in (found.note, *before.notes) if note]
    job.facts = facts(found.done, found.seconds, "; ".join(notes) or None) | {"changed": changed.figures}
    job.views = ("before", "after", "changed")
    if found.std is not None:
        unsure = value_map(found.std[0])
        job.facts["uncertainty"] = unsure.figures
        write_view(job.folder / "uncertainty", unsure.picture)
        job.views += ("uncertainty",)
    job.result = result


def view_file(job: WebJob, name: str) -> Path:
    """Find a picture for the page.

    Those that come from the files before and after are made when they are asked for.

    Raises:
        RefusedError: the job was removed meanwhile.
    """
    places = [job.folder / f"{name}{suffix}" for suffix in (".jpg", ".png")]
    with _showing:  # two visits at once would see half a file
        known = next((place for place in places if place.exists()), None)
        if known is not None:
            return known
        try:
            return write_view(job.folder / name, _shown(job, name))
        except (OSError, ImageError):
            raise RefusedError(404, "there is no such picture; results vanish after a while") from None


def _shown(job: WebJob, name: str) -> Image:
    """Make a picture of a job from its files: before, after, or what changed."""
    if name == "before" or job.result is None:
        return read_image(job.source)
    after = read_image(job.result)
    return after if name == "after" else change_map(read_image(job.source), after).picture


def facts(done: dict[str, Any], seconds: float, note: str | None) -> dict[str, Any]:
    """Say what was done in plain data."""
    parts = {key: described(done[key]) for key in ("bridge", "sampler")}
    return {**done, **parts, "seconds": round(seconds, 2), "note": note}


def safe_name(name: str | None) -> str:
    """Return the last part of a name, without what file names must not have."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    kept = "".join(letter for letter in last if letter.isprintable() and letter not in '<>:"|?*').strip(". ")
    stem, dot, ending = kept.rpartition(".")
    return (
        f"{stem[:LONGEST_UPLOAD_NAME]}{dot}{ending[:10]}" if dot and stem else kept[:LONGEST_UPLOAD_NAME] or "picture"
    )


def _suffix(name: str, wanted: Wanted) -> str:
    """Choose the suffix of a result: as wanted, else the picture's or PNG."""
    own = "." + name.rpartition(".")[2].lower()
    return f".{wanted.format}" if wanted.format else own if own in WRITABLE_SUFFIXES else ".png"


def result_name(job: WebJob) -> str:
    """Name a result as its picture is named."""
    assert job.result is not None
    stem, dot, _ = job.name.rpartition(".")
    own = job.name.rpartition(".")[2]
    kept = f".{own}" if f".{own.lower()}" == job.result.suffix else job.result.suffix
    return f"{stem if dot else job.name}{kept}"


def write_view(place: Path, image: Image) -> Path:
    """Write a picture as browsers show it: JPEG, or PNG where it has transparency."""
    path = place.with_suffix(".jpg" if image.alpha is None else ".png")
    shown = replace(image, bits=8, exif=None, xmp=None, dpi=None, chunks=())
    path.write_bytes(encode_image(shown, path.suffix, VIEW_QUALITY))
    return path


def preview_jpeg(estimate: Tensor) -> bytes:
    """Encode an estimate (C, H, W) in [0, 1] as a small JPEG."""
    height, width = estimate.shape[-2:]
    factor = min(1.0, PREVIEW_SIDE / max(height, width))
    size = (max(round(height * factor), 1), max(round(width * factor), 1))
    small = interpolate(estimate.detach()[None], size, mode="area")[0]
    samples = to_samples(small, 8)
    buffer = io.BytesIO()
    PILImage.fromarray(np.squeeze(samples, 2) if samples.shape[2] == 1 else samples).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def public_sentence(error: Exception, path: Path) -> str:
    """Write an error for visitors: one sentence, without places of the server."""
    text = reason(error).removeprefix(f"{path}: ").replace(str(path), "the picture")
    text = text.replace("--", "").replace(" (max_pixels)", "")
    text = _PLACE.sub("a file", " ".join(text.split()))
    return f"the picture {text}" if text.startswith("cannot be") else text
