"""Compiled networks for a batch of files, where the batch repays it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from rebridge.commands.lanes import Lanes, pixels_of
from rebridge.commands.opening import Opened
from rebridge.commands.options import EnlargeOptions, RestoreOptions
from rebridge.models import TrainedModel
from rebridge.models.compiling import compile_if_repaid
from rebridge.restoration.files import Job

HEADS_READ = 64
"""Most files whose heads are read to estimate the pixels of a batch."""


@contextmanager
def compiled_where_repaid(
    opened: Opened | None,
    options: RestoreOptions | EnlargeOptions,
    jobs: Sequence[Job],
    lanes: Lanes,
    sampler: str | None = None,
) -> Iterator[None]:
    """Compile a network before the first picture, or not at all.

    While the batch runs nothing is compiled: what the code does not fit, as a picture one pixel high, is computed without it.

    Args:
        opened: what restores; None for none.
        options: with `compile` True the model is compiled already, and with False it never is.
        jobs: the files.
        lanes: of the batch; the network is compiled for their threads.
        sampler: by default the model's.
    """
    model = None if opened is None else opened.restorer.model
    if opened is None or not isinstance(model, TrainedModel) or options.compile is False or not jobs:
        yield
        return
    if options.compile is None:
        chosen = opened.restorer.sampler(sampler, options.steps)
        calls = chosen.steps * chosen.calls_per_step * options.samples
        before = torch.get_num_threads()
        torch.set_num_threads(lanes.threads or before)
        try:
            done = compile_if_repaid(model, calls * lanes.growth * pixels_of_all(jobs))
        finally:
            torch.set_num_threads(before)
        if not done:
            yield
            return
    with torch.compiler.set_stance("eager_on_recompile"):
        yield


def pixels_of_all(jobs: Sequence[Job]) -> float:
    """Estimate the pixels of a batch by the heads of some of its files.

    They are evenly spread.
    """
    some = jobs[:: -(-len(jobs) // HEADS_READ)]
    return sum(pixels_of(job.path) for job in some) * len(jobs) / len(some)
