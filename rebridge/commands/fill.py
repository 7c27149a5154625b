"""Filling of marked places: `restore --mask`, and what is painted on the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rebridge.commands.conditions import check_conditions, conditions_of_file
from rebridge.commands.files import FilesResult, Finished, planned, process
from rebridge.commands.models import list_models
from rebridge.commands.opening import Opened, open_restorer
from rebridge.commands.options import RestoreOptions, SamplingOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.commands.viewing import Viewer, dry
from rebridge.images import READABLE_SUFFIXES, Image, read_image, write_image
from rebridge.restoration.files import Job, left_out
from rebridge.restoration.filling import INPAINT, fill_image, marked

SMOOTHLY = (
    "the marked places are filled smoothly from around them: {name} does not know what was there; "
    "`rebridge solve --operator known-mask` draws by a generative model"
)


def fill(
    options: RestoreOptions,
    progress: Reporter | None = None,
    opened: Opened | None = None,
    finished: Finished | None = None,
) -> FilesResult:
    """Fill the marked places of image files.

    Args:
        options: of `restore`, with a mask.
        progress: called with the files that are done; raise from it to cancel.
        opened: see `rebridge.commands.restore.restore`.
        finished: called with the result of each file.

    Raises:
        ValueError: before any work: options, inputs or an output that are impossible.
    """
    masks = options.mask
    assert masks is not None
    if not masks.exists():
        raise ValueError(f"--mask {masks}: no such file or folder")
    if options.strength != 1:
        raise ValueError("--strength does not go with --mask: what is missing cannot be blended with")
    viewer = Viewer(options, options)
    jobs = viewer.planned(planned(options))
    if options.model is None and options.method == "bridge":
        options = replace(options, model=filler())
    opened = opened or open_restorer(options, options.task)
    note = filler_note(opened)
    check_conditions(opened.restorer.model, options.conditions)
    done = {"model": opened.name, "mask": str(masks), "seed": options.noise_seed}
    left = left_out(options.inputs, recursive=options.recursive)
    if options.dry_run:
        return FilesResult(dry(jobs, options), done, note, left)

    def work(job: Job, report: Reporter) -> Mapping[str, Any]:
        image = read_image(job.path, options.pixel_limit, options.strict)
        mask = read_image(_mask_of(job.path, masks), options.pixel_limit)
        told = conditions_of_file(job.path, opened.restorer.model, options.conditions)
        filled, words = fill_marked(image, mask, opened, options, report, told)
        write_image(job.output, filled, options.overwrite, options.quality)
        return {"done_words": words, "views": viewer.add(job, image, filled)}

    with cancellable(progress) as report:
        results = process(jobs, work, options, report, finished)
    return FilesResult(results, done, note, left, viewer.finish())


def fill_marked(
    image: Image,
    mask: Image,
    opened: Opened,
    options: SamplingOptions,
    report: Reporter,
    told: Mapping[str, Any] | None = None,
) -> tuple[Image, str]:
    """Fill the marked places of a picture in memory.

    Args:
        image: the picture.
        mask: white where it is to be filled.
        opened: a model that draws what is missing where it knows the task.
        options: of the sampling.
        report: called with (done, total, note) in steps.
        told: extra conditions by name, as `Restorer` takes them.

    Returns:
        The picture, and what was done in words.

    Raises:
        ValueError: a mask that marks nothing, or of another size.
    """
    missing = marked(mask)
    restorer = opened.restorer

    def draw(holed: Image) -> Any:
        return restorer(
            holed,
            steps=options.steps,
            seed=options.noise_seed,
            tile=options.tile,
            overlap=options.overlap,
            samples=options.samples,
            progress=lambda step, steps: report(step, steps, ""),
            **(told or {}),
        )

    filled = fill_image(image, missing, draw if _draws(opened) else None)
    share = 100 * missing.float().mean().item()
    how = f"drawn by {opened.name}" if _draws(opened) else "smoothly"
    return filled, f"filled {share:.1f} % of the picture, {how}; the rest is as it was"


def filler() -> str | None:
    """Name the packaged model that draws what is missing; None where there is none."""
    return next((one.name for one in list_models() if INPAINT in one.tasks and one.method == "bridge"), None)


def filler_note(opened: Opened) -> str | None:
    """Say that a model does not know what is missing; None where it does."""
    return None if _draws(opened) else SMOOTHLY.format(name=opened.name)


def _draws(opened: Opened) -> bool:
    return INPAINT in opened.restorer.model.tasks


def _mask_of(path: Path, masks: Path) -> Path:
    """The mask of a picture: the file itself, or the one of that name in the folder."""
    if not masks.is_dir():
        return masks
    named = [masks / path.name, *(masks / f"{path.stem}{suffix}" for suffix in READABLE_SUFFIXES)]
    found = next((place for place in named if place.is_file()), None)
    if found is None:
        raise ValueError(f"{path}: there is no mask of that name in {masks}")
    return found
