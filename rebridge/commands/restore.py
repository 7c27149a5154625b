"""Command `restore`: any model along any bridge, in memory or file by file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rebridge.commands.files import FilesResult, planned, process
from rebridge.commands.opening import Opened, check_sampling, open_restorer
from rebridge.commands.options import RestoreOptions, SamplingOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.images import read_image, write_image
from rebridge.restoration.files import Job


@dataclass(frozen=True)
class ImageResult:
    """One restored image.

    Attributes:
        image: of the type that was passed in.
        seconds: of work.
        done: what was done: model, bridge, sampler, steps, seed and the like.
        note: a sentence that the user should know, or None.
    """

    image: Any
    seconds: float
    done: dict[str, Any]
    note: str | None = None


def restore_image(
    image: Any,
    opened: Opened,
    options: SamplingOptions,
    progress: Reporter | None = None,
    sampler: str | None = None,
) -> ImageResult:
    """Restore one image in memory.

    Args:
        image: a PIL image, array, tensor or `rebridge.images.Image`, as `Restorer` takes it.
        opened: from `open_restorer`; it can be kept for many images.
        options: steps, seed, tiles and samples.
        progress: called with (done, total, note) after each step; raise from it to cancel.
        sampler: by default the model's.

    Raises:
        ValueError: impossible options, or an image that the model cannot take.
    """
    done = _done(opened, options, sampler)
    began = time.perf_counter()
    with cancellable(progress) as report:
        restored = opened.restorer(
            image, **_call(options), sampler=sampler, progress=lambda step, steps: report(step, steps, "")
        )
    return ImageResult(restored, time.perf_counter() - began, done, opened.note)


def restore(options: RestoreOptions, progress: Reporter | None = None, opened: Opened | None = None) -> FilesResult:
    """Restore image files.

    Args:
        options: of this command.
        progress: called with the files that are done, in fractions of a file; raise from it to cancel.
        opened: a restorer that is open already; by default the one that the options describe.

    Raises:
        ValueError: before any work: options, inputs or an output that are impossible.
    """
    jobs = planned(options)
    opened = opened or open_restorer(options, options.task)
    restorer = opened.restorer
    done = _done(opened, options, options.sampler)

    def work(job: Job, report: Reporter) -> Mapping[str, Any] | None:
        restored = restorer(
            read_image(job.path),
            **_call(options),
            sampler=options.sampler,
            progress=lambda step, steps: report(step, steps, ""),
        )
        write_image(job.output, restored, options.overwrite, options.quality)
        return None

    with cancellable(progress) as report:
        return FilesResult(process(jobs, work, options, report), done, opened.note)


def _call(options: SamplingOptions) -> dict[str, Any]:
    return {
        "steps": options.steps,
        "seed": options.seed,
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
        "seed": options.seed,
        "samples": options.samples,
    }
