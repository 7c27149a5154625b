"""Command `enlarge`: pictures two to four times as large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rebridge.commands.files import FilesResult, Finished, planned, process
from rebridge.commands.lanes import lanes_for
from rebridge.commands.opening import open_restorer
from rebridge.commands.options import EnlargeOptions, ModelOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.commands.repaying import compiled_where_repaid
from rebridge.commands.restore import restore_image
from rebridge.commands.viewing import Viewer, dry
from rebridge.images import Image, ImageError, read_image, unwritable, write_image
from rebridge.restoration.enlarging import enlarge_image
from rebridge.restoration.files import Job, left_out


def enlarge(options: EnlargeOptions, progress: Reporter | None = None, finished: Finished | None = None) -> FilesResult:
    """Enlarge image files.

    Args:
        options: of this command.
        progress: called with the files that are done, in fractions of a file; raise from it to cancel.
        finished: called with the result of each file.

    Raises:
        ValueError: before any work: options, inputs or an output that are impossible.
    """
    viewer = Viewer(options, options)
    jobs = viewer.planned(planned(options))
    given = ModelOptions(model=options.model, device=options.device, dtype=options.dtype, compile=options.compile)
    opened = None if options.model == "none" else open_restorer(given)
    done = {"by": options.by, "model": "bicubic, made consistent" if opened is None else options.model}
    left = left_out(options.inputs, recursive=options.recursive)
    if options.dry_run:
        return FilesResult(dry(jobs, options), done, None, left)

    def work(job: Job, report: Reporter) -> Mapping[str, Any]:
        image = read_image(job.path, options.pixel_limit, options.strict)
        width, height = (options.by * side for side in image.size)
        if width * height > options.pixel_limit:
            raise ImageError(
                f"{job.path}: the result would have {width} x {height} pixels, more than the limit of "
                f"{options.pixel_limit:,} (--max-pixels)"
            )
        empty = Image(image.pixels[:, :1, :1].expand(-1, height, width), alpha=image.alpha)
        if (problem := unwritable(job.output, empty, overwrite=True)) is not None:
            raise ImageError(f"{job.output}: {problem}")

        def improve(guess: Image) -> Any:
            assert opened is not None
            with lanes:
                return restore_image(guess, opened, options, report).image

        large = enlarge_image(image, options.by, None if opened is None else improve)
        write_image(job.output, large, options.overwrite, options.quality)
        words = f"enlarged from {image.size[0]} x {image.size[1]} to {width} x {height} pixels"
        return {"done_words": words, "size": [width, height], "views": viewer.add(job, image, large)}

    model = None if opened is None else opened.restorer.model
    lanes = lanes_for(model, len(jobs), 1 if options.compile else options.jobs, options.by**2)
    with compiled_where_repaid(opened, options, jobs, lanes), cancellable(progress) as report:
        results = process(jobs, work, options, report, finished, lanes)
    return FilesResult(results, done | lanes.facts, None, left, viewer.finish())
