"""Command `degrade`: clean images degraded reproducibly, as `evaluate` does."""

from __future__ import annotations

from rebridge import degradations
from rebridge.commands.files import FilesResult, planned, process
from rebridge.commands.options import DegradeOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.evaluation.cases import degrade_case
from rebridge.images import Image, read_image, write_image
from rebridge.restoration.files import Job, left_out


def degrade_image(image: Image, task: str, seed: int = 0, name: str = "image", upsample: bool = False) -> Image:
    """Degrade one image in memory.

    Args:
        image: clean.
        task: a degradation.
        seed: of everything random in it.
        name: of the image; images of different names are degraded differently.
        upsample: enlarge what sr2, sr4 and sr8 give back to size.

    Raises:
        ValueError: an unknown task, or an image with transparency that would change its size.
    """
    pixels = degrade_case(image.visible_pixels, task, seed, name, upsample)
    if pixels.shape != image.pixels.shape and image.alpha is not None:
        raise ValueError(f"an image with transparency keeps its size: {task} needs --upsample")
    return image.with_pixels(pixels)


def degrade(options: DegradeOptions, progress: Reporter | None = None) -> FilesResult:
    """Degrade image files; each is seeded by its place below its input.

    Args:
        options: of this command.
        progress: called with the files that are done, out of all; raise from it to cancel.

    Raises:
        ValueError: before any work: an unknown task, or impossible inputs or output.
    """
    degradations.create(options.task)
    jobs = planned(options)

    def work(job: Job, report: Reporter) -> None:
        spoilt = degrade_image(
            read_image(job.path, options.pixel_limit, options.strict),
            options.task,
            options.seed,
            job.name,
            options.upsample,
        )
        write_image(job.output, spoilt, options.overwrite, options.quality)

    done = {"task": options.task, "seed": options.seed}
    with cancellable(progress) as report:
        results = process(jobs, work, options, report)
    return FilesResult(results, done, left_out=left_out(options.inputs, recursive=options.recursive))
