"""Command `solve`: zero-shot restoration of measurements by known operators."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rebridge import inverse
from rebridge.catalogue import Spec
from rebridge.commands.conditions import check_conditions, conditions_of_file
from rebridge.commands.files import FilesResult, planned, process
from rebridge.commands.opening import check_images, open_prior
from rebridge.commands.options import SolveOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.evaluation.baselines import BASELINES
from rebridge.evaluation.metrics import psnr
from rebridge.images import READABLE_SUFFIXES, ImageWarning
from rebridge.images.npy import ARRAY_SUFFIXES
from rebridge.inverse import Measurement, Method, OperatorSpec
from rebridge.restoration import Restorer
from rebridge.restoration.files import Job, left_out
from rebridge.restoration.measurements import Measured, read_measured, solution_files, write_solution

DEFAULT_FORMAT = "png"


def solve(options: SolveOptions, progress: Reporter | None = None) -> FilesResult:
    """Solve y = A x + noise for every input, by a zero-shot method.

    Args:
        options: of this command.
        progress: called with the files that are done, in fractions of a file; raise from it to cancel.

    Returns:
        One result per file; its details hold the `files` that were written, the `calls` of the network, `largest_std` over the
        samples, and where the measurement was simulated `psnr`, and `without`, the PSNR of what needs no model, by name.

    Raises:
        ValueError: before any work: impossible options, inputs or output; and where the only file fails.
    """
    check_images(options)
    spec, method = OperatorSpec.parse(options.operator), _chosen(options)
    jobs = planned(options, DEFAULT_FORMAT, (*READABLE_SUFFIXES, *ARRAY_SUFFIXES))
    jobs = [_with_free_files(job, options) for job in jobs]
    _check_only(jobs, options)
    model = open_prior(options.prior, options)
    restorer = Restorer(model)
    check_conditions(model, options.conditions)
    reading: dict[str, Any] = {"simulate": options.simulate, "seed": options.noise_seed, "size": options.size}
    reading |= {"mask": options.mask, "kernel": options.kernel, "max_pixels": options.pixel_limit}
    reading["strict"] = options.strict
    sampling: dict[str, Any] = {"samples": options.samples, "seed": options.noise_seed}
    sampling |= {"tile": options.tile, "overlap": options.overlap}

    def work(job: Job, report: Reporter) -> Mapping[str, Any]:
        measured = _read(job.path, spec, model.info.channels, reading)
        began = time.perf_counter()
        posed = Measurement(measured.y, measured.operator, spec.sigma_y)
        solver = method or restorer.method(None, options.steps, posed, options.samples)
        told = conditions_of_file(job.path, model, options.conditions)
        found = restorer.sample(
            posed, method=solver, progress=lambda call, calls: report(call, calls, solver.name), **sampling, **told
        )
        seconds = time.perf_counter() - began
        files = write_solution(measured, found, job.output, options.overwrite, options.quality)
        quality = None if measured.clean is None else float(psnr(found.mean.to(measured.clean), measured.clean))
        largest = found.std[0].mean(0).max().item()
        details = {"files": files, "calls": found.calls, "seconds": seconds, "psnr": quality, "largest_std": largest}
        return details | (
            {} if measured.clean is None else {"without": _without_model(measured, measured.clean, spec.sigma_y)}
        )

    done = {"prior": options.prior, "operator": options.operator, "solver": options.solver, "seed": options.noise_seed}
    with cancellable(progress) as report:
        results = process(jobs, work, options, report)
    if _is_one(options) and results[0].error is not None:
        raise ValueError(results[0].error)
    return FilesResult(results, done, left_out=left_out(options.inputs, recursive=options.recursive))


def solved(row: Mapping[str, Any]) -> str:
    """Say what was written for a measurement, from its details."""
    text = f"wrote {', '.join(map(str, row['files']))}: {row['calls']} network calls, {row['seconds']:.1f} s"
    if row["psnr"] is not None:
        text += f", PSNR {row['psnr']:.2f} dB{_compared(row['psnr'], row['without'])}"
    spread = f"; white in the map is a standard deviation of {row['largest_std']:.4f}"
    return text + (spread if row["largest_std"] > 0 else "")


def _without_model(measured: Measured, clean: Tensor, sigma_y: float) -> dict[str, float]:
    """PSNR in dB of the measurement shown as a picture, and of every baseline that takes the operator."""
    operator, y = measured.operator, measured.y
    shown = operator.to_picture(y)
    found = {"measured": shown} if shown is not None and shown.shape == clean.shape else {}
    for name, way in BASELINES.items():
        restored = way(operator, y, sigma_y)
        if restored is not None:
            found[name] = restored
    return {name: float(psnr(image.clamp(0, 1).to(clean), clean)) for name, image in found.items()}


def _compared(quality: float, without: Mapping[str, float]) -> str:
    """Say what needs no model beside a result, and whether the prior helped."""
    if not without:
        return ""
    name = max(without, key=lambda key: without[key])
    text = f" (measured: {without['measured']:.2f}; " if "measured" in without and name != "measured" else " ("
    text += (
        f"best without a model: {without[name]:.2f} by {name})"
        if name != "measured"
        else f"measured: {without[name]:.2f})"
    )
    return text if quality > without[name] else f"{text}; the prior does not help here"


def _read(path: Path, spec: OperatorSpec, channels: int, reading: dict[str, Any]) -> Measured:
    """Read a measurement; a size that fits only as HEIGHTxWIDTH, the order of before, is taken so with a warning."""
    size: tuple[int, int] | None = reading["size"]
    try:
        return read_measured(path, spec, channels, **reading)
    except ValueError:
        if size is None or size[0] == size[1]:
            raise
        try:
            found = read_measured(path, spec, channels, **(reading | {"size": size[::-1]}))
        except ValueError:
            found = None
        if found is None:
            raise
    height, width = size
    warnings.warn(
        f"--size {width}x{height} is taken as HEIGHTxWIDTH, which it was before and will not be again; "
        f"write WIDTHxHEIGHT: {height}x{width}",
        ImageWarning,
        stacklevel=2,
    )
    return found


def _chosen(options: SolveOptions) -> Method | None:
    """The method that was asked for; None for the one that suits the operator."""
    if options.solver is None:
        return None
    chosen = Spec.parse(options.solver)
    params = {"steps": options.steps} if options.steps is not None else {}
    return inverse.create(chosen.name, **{**params, **chosen.params})


def _with_free_files(job: Job, options: SolveOptions) -> Job:
    """The job, with the problem that a file beside its result exists already."""
    if job.problem is None and not (options.overwrite or (options.skip_existing and job.output.exists())):
        for file in solution_files(job.output, options.samples, options.simulate):
            if file.exists():
                return replace(job, problem=f"{file}: exists already and is not overwritten without --overwrite")
    return job


def _is_one(options: SolveOptions) -> bool:
    """True for a single file, whose failure is bad input and not one of several."""
    return len(options.inputs) == 1 and Path(options.inputs[0]).is_file()


def _check_only(jobs: list[Job], options: SolveOptions) -> None:
    """Raise ValueError where the only result exists already: better told before the work than after."""
    if _is_one(options) and jobs[0].output.exists() and not (options.overwrite or options.skip_existing):
        raise ValueError(f"{jobs[0].output}: exists already and is not overwritten without --overwrite")
