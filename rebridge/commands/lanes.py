"""Lanes at the network: some pictures are read or written while others pass it.

A lane is a place at the network. Two more pictures than there are lanes are on their way, so that a lane that comes free is taken
by a picture that is read already, and results are written meanwhile. All of it is done by threads of this process: what reads,
computes and writes lets the other threads run. Where all cores of the processor share one picture, the next one waits: OpenMP's
threads sleep at every step where those of several callers are more than the cores, which costs more than reading and writing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from rebridge.commands.progress import Reporter
from rebridge.denoisers.machine import threads
from rebridge.images.clips import is_clip
from rebridge.models import Model, TrainedModel
from rebridge.models.crowding import chosen_lanes
from rebridge.networks import Network
from rebridge.restoration.files import FileResult, Job
from rebridge.restoration.notes import gathering_notes

FEWEST_FILES = 4
"""Below so many, pictures go one after the other unless the user says otherwise."""
BESIDE = 2
"""Pictures that are read or written while others take the lanes."""
MOST_PIXELS = 2**24
"""Of all pictures on their way; a larger one goes alone."""

Do = Callable[[Job, Reporter], FileResult]
"""Does all the work of one file."""


class HaltedError(BaseException):
    """Ends the work of a file where the whole batch has ended.

    Nothing takes it for a fault of the file.
    """


class _Own(threading.local):
    """What a thread knows of its own turns."""

    entered = 0.0
    waited = 0.0


class Lanes:
    """The places at the network, and how busy they are.

    As a context it is one place: whoever enters waits until one is free.

    Args:
        count: pictures that pass the network at once; at least 1.
        threads: of each; None for as many as there are.
        overlapping: whether more pictures than that are on their way.
        growth: pixels that a picture has on its way, for each that it came with.
    """

    def __init__(self, count: int = 1, threads: int | None = None, overlapping: bool = True, growth: int = 1) -> None:
        self.count, self.threads, self.overlapping, self.growth = count, threads, overlapping, growth
        self.halted = threading.Event()
        self.wall = 0.0
        self._places = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._busy = 0.0
        self._own = _Own()

    def __enter__(self) -> Lanes:
        began = time.perf_counter()
        self._places.acquire()
        self._own.entered = time.perf_counter()
        self._own.waited = self.waited + self._own.entered - began
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._busy += time.perf_counter() - self._own.entered
        self._places.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one picture after the other pass.

        How long that takes is noted where it was chosen.
        """
        began = time.perf_counter()
        yield
        self.wall = 0.0 if self.threads is None else time.perf_counter() - began

    @property
    def waited(self) -> float:
        """Seconds that this thread has waited for a place."""
        return self._own.waited

    @property
    def facts(self) -> dict[str, Any]:
        """Pictures at once, seconds of all, and the share of them that a lane was busy."""
        if not self.wall:
            return {}
        return {"jobs": self.count, "seconds": self.wall, "busy": min(self._busy / (self.count * self.wall), 1.0)}


def lanes_for(model: Model | None, files: int, jobs: int | None = None, growth: int = 1) -> Lanes:
    """Choose the lanes for a batch of files.

    Args:
        model: what restores; None for none.
        files: of the batch.
        jobs: as the user says; None for what is found best for the model on this machine.
        growth: of `Lanes`.
    """
    cores = threads() if model is None or model.device.type == "cpu" else None
    if jobs is None and (files < FEWEST_FILES or cores == 1):
        return Lanes(overlapping=False)
    if jobs is not None:
        count = min(jobs, max(files, 1))
    elif isinstance(model, TrainedModel) and isinstance(model.denoiser.network, Network):
        count = chosen_lanes(model.denoiser, model.info.channels)
    else:
        count = 1
    is_shared = model is not None and cores is not None and cores > count == 1
    return Lanes(count, None if cores is None else max(cores // count, 1), files > 1 and not is_shared, growth)


def run_overlapped(
    jobs: list[Job],
    do: Do,
    lanes: Lanes,
    report: Reporter,
    finished: Callable[[FileResult], object] | None,
    results: list[FileResult],
) -> None:
    """Do the work of every file, several at once.

    Args:
        jobs: the files.
        do: all the work of one; it enters `lanes` where it needs the network.
        lanes: the places at the network.
        report: called from this thread, with the files that are done, in fractions of a file.
        finished: called from this thread with each result, in the order of the files.
        results: gets one for each file, in their order; where the batch is interrupted, those that were done.
    """
    news: SimpleQueue[tuple[int, float | None, str]] = SimpleQueue()
    began, before = time.perf_counter(), torch.get_num_threads()
    pixels = _Pixels(MOST_PIXELS)

    def settle() -> None:
        if lanes.threads is not None:
            torch.set_num_threads(lanes.threads)  # of this thread alone, and of threads to come

    def work(index: int) -> FileResult:
        def within(done: float, total: float, note: str = "") -> None:
            _obey(lanes)
            news.put((index, min(done / total, 1.0), note or jobs[index].path.name))

        try:
            with pixels.taken(lanes.growth * pixels_of(jobs[index].path)):
                _obey(lanes)
                waited = lanes.waited
                result = do(jobs[index], within)
                return replace(result, seconds=max(result.seconds - (lanes.waited - waited), 0.0))
        finally:
            news.put((index, None, ""))

    with gathering_notes(), ThreadPoolExecutor(lanes.count + BESIDE, "picture", settle) as pool:
        futures = [pool.submit(work, index) for index in range(len(jobs))]
        try:
            _follow(futures, news, jobs, report, finished, results)
        except BaseException:
            lanes.halted.set()
            pool.shutdown(wait=True, cancel_futures=True)
            told = set(map(id, results))
            results[:] = [one.result() for one in futures if not one.cancelled() and one.exception() is None]
            for result in results:
                if finished is not None and id(result) not in told:
                    finished(result)
            raise
        finally:
            lanes.wall = time.perf_counter() - began
            torch.set_num_threads(before)


def _follow(
    futures: list[Future[FileResult]],
    news: SimpleQueue[tuple[int, float | None, str]],
    jobs: list[Job],
    report: Reporter,
    finished: Callable[[FileResult], object] | None,
    results: list[FileResult],
) -> None:
    """Tell of what the threads have done, until all is done."""
    shares = [0.0] * len(jobs)
    report(0, len(jobs), jobs[0].path.name)
    ended = 0
    while ended < len(jobs):
        index, share, note = news.get()
        if share is None:
            futures[index].exception()  # waits for the last breath of the thread
            ended, shares[index] = ended + 1, 1.0
        else:
            shares[index] = max(shares[index], share)
        while len(results) < len(jobs) and futures[len(results)].done():
            results.append(futures[len(results)].result())
            if finished is not None:
                finished(results[-1])
        report(sum(shares), len(jobs), note)


class _Pixels:
    """What all pictures on their way may hold together.

    Args:
        most: pixels; a larger picture goes alone.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for a picture, and keep it for its time."""
        wanted = min(pixels, self._most)
        with self._freed:
            self._freed.wait_for(lambda: self._taken + wanted <= self._most)
            self._taken += wanted
        try:
            yield
        finally:
            with self._freed:
                self._taken -= wanted
                self._freed.notify_all()


def pixels_of(path: Path) -> int:
    """Count the pixels of a picture by the head of its file.

    Returns:
        `MOST_PIXELS` where the head does not tell, and for films.
    """
    from PIL import Image

    # whatever is wrong with it is said when it is read
    with contextlib.suppress(Exception), Image.open(path) as picture:
        return MOST_PIXELS if is_clip(path) else picture.size[0] * picture.size[1]
    return MOST_PIXELS


def _obey(lanes: Lanes) -> None:
    if lanes.halted.is_set():
        raise HaltedError
