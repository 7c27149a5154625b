"""Restoration of many pictures on many machines, by Ray Data.

The pictures are divided into small parts. Whichever worker is free takes the next one, with a model that it loads once. A worker
that dies is replaced and its part is done again; results appear whole or not at all, so those that it had finished stay. What is
there before a run is skipped with --skip-existing, so a run that was stopped goes on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from rebridge.commands.addresses import has_addresses
from rebridge.commands.files import FilesResult, Finished, planned
from rebridge.commands.options import RestoreOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.images.addresses import address_of, existing, list_files
from rebridge.images.clips import FILM_SUFFIXES, WRITTEN_MOVING
from rebridge.restoration.files import FileResult, Job, blocked

PART = 4
"""Most pictures of a part: what is done again where a worker dies."""


def restore_on_ray(
    options: RestoreOptions, progress: Reporter | None = None, finished: Finished | None = None
) -> FilesResult:
    """Restore pictures by the workers of a Ray cluster.

    It is that of RAY_ADDRESS, or one on this machine.

    Args:
        options: of `restore`; paths must be the same on all machines, or addresses.
        progress: called with the pictures that are done.
        finished: called with the result of each.

    Raises:
        ValueError: Ray is missing, an option that this engine does not have, or impossible inputs and outputs.
    """
    _check(options)
    pairs = _pairs(options)
    with _connected(options) as ray:
        return _run(ray, pairs, options, progress, finished)


def _run(
    ray: Any,
    pairs: list[tuple[str, str]],
    options: RestoreOptions,
    progress: Reporter | None,
    finished: Finished | None,
) -> FilesResult:
    """Restore pairs of input and output that are not there."""
    before = {output: problem for _, output in pairs if (problem := _there(output, options)) is not None}
    items = [{"input": source, "output": output} for source, output in pairs if output not in before]
    done: dict[str, FileResult] = {}
    for source, output in pairs:
        if output in before:
            error = None if options.skip_existing and not options.overwrite else f"{output}: {before[output]}"
            done[output] = FileResult(Path(source), Path(output), error=error, skipped=error is None)
    with cancellable(progress) as report:
        report(len(done), len(pairs), "")
        for row in _restored(ray, items, options):
            result = FileResult(
                Path(row["input"]), Path(row["output"]), row["seconds"], row["error"] or None, details=_words(row)
            )
            done[row["output"]] = result
            report(len(done), len(pairs), result.path.name)
            if finished is not None:
                finished(result)
    return FilesResult([done[output] for _, output in pairs], {"engine": "ray", "workers": _workers(options)})


def _restored(ray: Any, items: list[dict[str, str]], options: RestoreOptions) -> Any:
    """The rows of `_Part`, as they come in."""
    if not items:
        return
    size = max(1, min(PART, len(items) // (2 * _workers(options))))
    ray.data.DataContext.get_current().enable_progress_bars = False
    data = ray.data.from_items(items, override_num_blocks=-(-len(items) // size))
    pool = ray.data.ActorPoolStrategy(size=_workers(options))
    rows = iter(
        data.map_batches(
            _Part, fn_constructor_kwargs={"options": options}, batch_size=size, compute=pool, num_cpus=1
        ).iter_rows()
    )
    while True:
        with redirect_stdout(sys.stderr):
            row = next(rows, None)
        if row is None:
            return
        yield row


class _Part:
    """A worker: it loads the model once and restores parts.

    Args:
        options: of `restore`.
    """

    def __init__(self, options: RestoreOptions) -> None:
        from rebridge.commands.opening import open_restorer

        self.options = replace(options, engine="local", workers=None)
        self.opened = open_restorer(options, options.task)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Restore the pictures of a part."""
        rows = [self._row(str(source), str(output)) for source, output in zip(*batch.values(), strict=True)]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def _row(self, source: str, output: str) -> dict[str, Any]:
        from rebridge.commands.restore import restore

        # A result that is there now was finished by a worker that died before it could say so.
        options = replace(self.options, inputs=[source], output=Path(output), skip_existing=not self.options.overwrite)
        row = {"input": source, "output": output, "seconds": 0.0, "error": "", "found": "", "done": "", "changed": ""}
        try:
            (result,) = restore(options, None, self.opened).results
        except (ValueError, OSError) as error:
            return row | {"error": str(error)}
        words = {key: str(result.details.get(f"{key}_words", "")) for key in ("found", "done", "changed")}
        return row | words | {"seconds": result.seconds, "error": result.error or ""}


def _words(row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{key}_words": row[key] for key in ("found", "done", "changed") if row[key]}


def _pairs(options: RestoreOptions) -> list[tuple[str, str]]:
    """Each input with its output, as text."""
    if not has_addresses(options):
        moving = (FILM_SUFFIXES, WRITTEN_MOVING)
        jobs: list[Job] = planned(replace(options, output=options.output.resolve()), more=moving)
        problem = next((job.problem for job in jobs if job.problem), None)
        if problem is not None:
            raise ValueError(problem)
        return [(str(job.path.resolve()), str(job.output)) for job in jobs]
    target = address_of(options.output) or str(options.output.resolve())
    found: dict[str, str] = {}
    for entry in options.inputs:
        address = address_of(entry) or f"file://{Path(entry).resolve()}"
        for name, place in list_files(address, options.recursive).items():
            suffix = f".{options.format.removeprefix('.')}" if options.format else place.suffix
            result = place.with_name(f"{place.stem}{options.suffix}{suffix}").as_posix()
            found[name] = f"{target.rstrip('/')}/{result}"
    if len(set(found.values())) < len(found):
        raise ValueError("two inputs would have one result; give them one by one, or --recursive for one folder")
    return list(found.items())


def _there(output: str, options: RestoreOptions) -> str | None:
    """Why a result cannot be written, or None."""
    address = address_of(output)
    if options.overwrite:
        return None
    if address is None:
        return blocked(Job(Path(output), Path(output)))
    folder, _, name = address.rpartition("/")
    here = name in map(str, existing(folder))
    return "exists already and is not overwritten without --overwrite" if here else None


def _workers(options: RestoreOptions) -> int:
    return options.workers or os.cpu_count() or 1


def _check(options: RestoreOptions) -> None:
    for name in ("mask", "contact_sheet", "before_after", "dry_run", "open"):
        if getattr(options, name):
            raise ValueError(f"--engine ray cannot be combined with --{name.replace('_', '-')}")


@contextmanager
def _connected(options: RestoreOptions) -> Iterator[Any]:
    """Ray, connected to a cluster: that of RAY_ADDRESS, or one of this machine, which ends with the run.

    What Ray prints, such as that a worker died, goes to stderr: stdout is for results.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise ValueError("--engine ray needs the package ray: pip install 'rebridge[cluster]'") from None
    if ray.is_initialized():
        yield ray
        return
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if "RAY_ADDRESS" not in os.environ:
        settings |= {"num_cpus": _workers(options) + 1, "include_dashboard": False}
    with redirect_stdout(sys.stderr):
        ray.init(**settings)
    try:
        yield ray
    finally:
        with redirect_stdout(sys.stderr):
            ray.shutdown()
