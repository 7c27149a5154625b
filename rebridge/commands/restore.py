"""Command `restore`: any model along any bridge, in memory or file by file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from rebridge.commands.addresses import at_addresses, has_addresses
from rebridge.commands.clips import moving_suffix, restore_clip
from rebridge.commands.conditions import check_conditions, conditions_of_file
from rebridge.commands.files import SAME_SAMPLES, FilesResult, Finished, planned, process
from rebridge.commands.findings import kind_words, told_words
from rebridge.commands.lanes import lanes_for
from rebridge.commands.maps import change_map
from rebridge.commands.opening import Opened, check_noise, check_sampling, open_restorer
from rebridge.commands.options import RestorationOptions, RestoreOptions, SamplingOptions
from rebridge.commands.parts import UNCHANGED_BELOW, restore_large
from rebridge.commands.progress import Reporter, cancellable
from rebridge.commands.repaying import compiled_where_repaid
from rebridge.commands.task_finding import TaskFinder
from rebridge.commands.viewing import Viewer, dry
from rebridge.denoisers import Denoiser
from rebridge.images import Image, read_image, to_batch, write_result
from rebridge.images.clips import FILM_SUFFIXES, WRITTEN_MOVING, is_clip
from rebridge.images.untouched import largest_change
from rebridge.models import Finding
from rebridge.restoration import Restorer
from rebridge.restoration.engine import AUTO_TILE_PIXELS
from rebridge.restoration.files import Job, left_out
from rebridge.restoration.looking import look

Preview = Callable[[Tensor], object]
"""Called with an estimate (C, H, W) in [0, 1] of the clean image."""
PREVIEW_SECONDS = 0.5
"""Between two estimates that are shown: those of a latent model must be decoded."""
LARGEST_PART = 0.95
"""Of a step that its tiles count for: they overlap, and a sampler may evaluate them twice."""


@dataclass(frozen=True)
class ImageResult:
    """One restored image.

    Attributes:
        image: of the type that was passed in.
        seconds: of work.
        done: what was done: model, bridge, sampler, steps, seed and the like.
        note: a sentence that the user should know, or None.
        std: of several samples, float32 (B, C, H, W) in units of [0, 1]; None for a single one.
    """

    image: Any
    seconds: float
    done: dict[str, Any]
    note: str | None = None
    std: Tensor | None = None


def restore_image(
    image: Any,
    opened: Opened,
    options: SamplingOptions,
    progress: Reporter | None = None,
    sampler: str | None = None,
    preview: Preview | None = None,
    told: Mapping[str, Any] | None = None,
) -> ImageResult:
    """Restore one image in memory.

    Args:
        image: a PIL image, array, tensor or `rebridge.images.Image`, as `Restorer` takes it.
        opened: from `open_restorer`; it can be kept for many images.
        options: steps, seed, tiles and samples.
        progress: called with (done, total, note) in steps, after each step and each tile; raise from it to cancel.
        sampler: by default the model's.
        preview: called with estimates of the clean image while the sampler runs.
        told: extra conditions by name, as `Restorer` takes them.

    Raises:
        ValueError: impossible options, or an image that the model cannot take.
    """
    done = _done(opened, options, sampler)
    began = time.perf_counter()
    with cancellable(progress) as report:
        watch = _Watch(opened.restorer, image, report, done["steps"] * options.samples, preview)
        watched: dict[str, Any] = {"callback": watch.step if preview else None, "progress": watch.progress}
        found = opened.restorer.wrapped(watch.tiles).sample(
            image, **_call(options), sampler=sampler, **watched, keep=False, **(told or {})
        )
    if options.samples == 1:
        return ImageResult(found.mean, time.perf_counter() - began, done, opened.note)
    note = opened.note if found.std.any() else SAME_SAMPLES
    return ImageResult(found.mean, time.perf_counter() - began, done, note, found.std)


def restore(
    options: RestoreOptions,
    progress: Reporter | None = None,
    opened: Opened | None = None,
    finished: Finished | None = None,
) -> FilesResult:
    """Restore image files.

    Args:
        options: of this command.
        progress: called with the files that are done, in fractions of a file; raise from it to cancel.
        opened: a restorer that is open already; by default the one that the options describe.
        finished: called with the result of each file.

    Raises:
        ValueError: before any work: options, inputs or an output that are impossible.
    """
    if options.engine == "ray":
        from rebridge.commands.cluster import restore_on_ray

        return restore_on_ray(options, progress, finished)
    if has_addresses(options):
        return at_addresses(options, lambda local, done: restore(local, progress, opened, done), finished)
    if options.mask is not None:
        from rebridge.commands.fill import fill

        return fill(options, progress, opened, finished)
    return _restore_here(options, progress, opened, finished)


def _restore_here(
    options: RestoreOptions, progress: Reporter | None, opened: Opened | None, finished: Finished | None
) -> FilesResult:
    """Restore the files of this machine."""
    viewer = Viewer(options, options, options.uncertainty)
    jobs = viewer.planned(planned(options, suffix_of=moving_suffix, more=(FILM_SUFFIXES, WRITTEN_MOVING)))
    opened = opened or open_restorer(options, options.task)
    restorer = opened.restorer
    check_conditions(restorer.model, options.conditions)
    done = _done(opened, options, options.sampler)
    notes = [opened.note] if opened.note else []
    try:
        check_noise(restorer, restorer.sampler(options.sampler, options.steps), options)
    except ValueError as error:  # the picture is the same, so that one sample does
        notes.append(str(error))
        options = replace(options, samples=1, uncertainty=False)
    left = left_out(options.inputs, recursive=options.recursive)
    if options.dry_run:
        return FilesResult(dry(jobs, options), done, opened.note, left)

    finder = TaskFinder(options, opened) if TaskFinder.needed(options, opened) else None
    needs_floats = finder is not None or options.before_after or options.contact_sheet is not None

    def work(job: Job, report: Reporter) -> Mapping[str, Any] | None:
        if is_clip(job.path):
            if finder is not None:
                raise ValueError(
                    f"{job.path}: the task is found in single pictures only; name that of a film by --task"
                )
            with lanes:
                return restore_clip(job, opened, options, report)
        if (streamed := restore_large(job, opened, options, report)) is not None:
            return streamed
        image = read_image(job.path, options.pixel_limit, options.strict, None if needs_floats else AUTO_TILE_PIXELS)
        told = conditions_of_file(job.path, restorer.model, options.conditions)
        with lanes:
            looked, found_kinds = look(restorer, image)
            findings = None if found_kinds is None else found_kinds[0]
            task, fitting = finder(image) if finder is not None else (None, replace(opened, restorer=looked))
            found = restore_image(image, fitting, options, report, options.sampler, told=told)
        restored: Image = found.image
        write_result(job.output, job.path, image, restored, options.overwrite, options.quality)
        unchanged = largest_change(image.pixels, restored.pixels) < UNCHANGED_BELOW
        return {
            "unchanged": unchanged,
            "unsure": unchanged and findings is not None and options.task is None and options.strength > 0,
            "identical": found.std is not None and not found.std.any().item(),
            **said(opened.name if task is None else f"{opened.name} for {kind_words(task)}", findings, image, restored),
            "views": viewer.add(job, image, restored, found.std),
        }

    lanes = lanes_for(restorer.model, len(jobs), 1 if finder is not None or options.compile else options.jobs)
    repaid = compiled_where_repaid(opened, options, jobs, lanes, options.sampler)
    with repaid, cancellable(progress) as report:
        results = process(jobs, work, options, report, finished, lanes)
    return FilesResult(results, done | lanes.facts, "; ".join(notes) or None, left, viewer.finish())


def said(model: str, findings: Sequence[Finding] | None, before: Image, after: Image) -> dict[str, Any]:
    """Say what was found in a picture, what was done, and how much changed.

    Args:
        model: its name.
        findings: None where the model does not tell what it finds.
        before: the picture.
        after: the result.
    """
    return told_words(model, findings, change_map(before, after).figures)


class _Watch:
    """Progress of one restoration, by steps and by the tiles within a step, and its estimates now and then."""

    def __init__(self, restorer: Restorer, image: Any, report: Reporter, total: int, preview: Preview | None) -> None:
        self._space = restorer.model.space
        self._size = image.size[::-1] if isinstance(image, Image) else tuple(to_batch(image).images.shape[-2:])
        self._report = report
        self._preview = preview
        self._shown = time.perf_counter()
        self._done, self._total, self._within = 0.0, float(total), 0.0

    def tiles(self, denoiser: Denoiser) -> Denoiser:
        """Report each evaluation of a denoiser as a part of the step."""
        whole = self._size[0] * self._size[1] / self._space.scale**2

        def call(x_t: Tensor, t: Tensor, y: Tensor) -> Any:
            estimate = denoiser(x_t, t, y)
            self._within = min(self._within + x_t.shape[-2] * x_t.shape[-1] / whole, LARGEST_PART)
            self._report(self._done + self._within, self._total, "")
            return estimate

        return call

    def progress(self, done: float, total: float) -> None:
        self._done, self._total, self._within = done, total, 0.0
        self._report(done, total, "")

    def step(self, step: int, t: float, x_t: Tensor, x0_hat: Tensor) -> None:
        if self._preview is not None and time.perf_counter() - self._shown >= PREVIEW_SECONDS:
            height, width = self._size
            self._preview(self._space.decode(x0_hat, (height, width))[0].float().clamp(0, 1))
            self._shown = time.perf_counter()


def _call(options: SamplingOptions) -> dict[str, Any]:
    strength = {"strength": options.strength} if isinstance(options, RestorationOptions) else {}
    return {
        **strength,
        "steps": options.steps,
        "seed": options.noise_seed,
        "tile": options.tile,
        "overlap": options.overlap,
        "samples": options.samples,
    }


def _done(opened: Opened, options: SamplingOptions, sampler: str | None) -> dict[str, Any]:
    chosen = check_sampling(opened.restorer, options, sampler)
    bridge = opened.restorer.bridge
    return {
        "model": opened.name,
        "bridge": {"name": bridge.name, **bridge.params},
        "sampler": {"name": chosen.name, **chosen.params},
        "steps": chosen.steps,
        "seed": options.noise_seed,
        "samples": options.samples,
    }
