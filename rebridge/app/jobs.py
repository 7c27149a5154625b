"""Jobs of visitors: a queue, one thread that works it off, and results."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rebridge.app.limits import Limits

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
UNFINISHED = ("waiting", "running")


class RefusedError(Exception):
    """A request that is not taken on.

    Args:
        status: of HTTP.
        sentence: for the visitor.
        retry: seconds after which the same request may be taken on.
    """

    def __init__(self, status: int, sentence: str, retry: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry = retry


class StoppedError(Exception):
    """Raised inside a job's work to end it; says why."""


@dataclass
class WebJob:
    """One picture to restore.

    Attributes:
        id: unguessable.
        visitor: whose it is.
        name: of the picture, as uploaded.
        folder: of its files.
        options: as sent.
        size: width and height.
        kind: what jobs have in common that may be restored together, or None for one that is restored alone.
        read: the pictures of its files, where they are kept from the time that they were checked.
        state: see `JobState`.
        progress: in [0, 1].
        preview: the latest estimate of the clean image, as a JPEG of few kilobytes.
        error: a sentence, where it failed or was cancelled.
        result: file of the restored picture.
        found: what ails the picture, kind by kind, once it was examined; None where the model does not tell.
        found_words: the same as a sentence.
        facts: what was done, and how much changed.
        spent: seconds by stage.
        views: names of pictures for the page.
        arrived: when it was put into the queue.
        seen: when somebody asked for it last.
        watchers: open connections that wait for it.
        finished: when it ended.
        version: counts changes.
        listeners: called after each change, by the thread that makes it.
        stop: why it shall end, or None.
    """

    id: str
    visitor: str
    name: str
    folder: Path
    options: Any
    size: tuple[int, int]
    kind: Any = None
    read: Any = None
    state: JobState = "waiting"
    progress: float = 0.0
    preview: bytes | None = None
    error: str | None = None
    result: Path | None = None
    found: list[dict[str, Any]] | None = None
    found_words: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    arrived: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)
    watchers: int = 0
    finished: float | None = None
    version: int = 0
    listeners: list[Callable[[], object]] = field(default_factory=list)
    stop: str | None = None

    @property
    def source(self) -> Path:
        """The uploaded file."""
        return self.folder / "source"

    @property
    def mask(self) -> Path:
        """The uploaded mask, where there is one."""
        return self.folder / "mask"

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())


JobWork = Callable[[list[WebJob], Callable[[float], None]], None]
"""Restores the pictures of jobs of one kind; reports the progress in [0, 1], which raises `StoppedError` when no one wants
them any more. A job that fails alone gets an `error`."""


class Jobs:
    """All jobs of a server, and the thread that works them off, a batch at a time.

    Args:
        work: of jobs of one kind.
        folder: for the files of jobs.
        limits: what is taken on.
        prepare: called by the thread before the first job, for instance to load a model.
    """

    def __init__(self, work: JobWork, folder: Path, limits: Limits, prepare: Callable[[], None] | None = None) -> None:
        self._work = work
        self._folder = folder
        self._limits = limits
        self._prepare = prepare
        self._jobs: dict[str, WebJob] = {}
        self._served: dict[str, float] = {}
        self._changed = threading.Condition(threading.RLock())
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="rebridge-worker", daemon=True)
        self._keeper = threading.Thread(target=self._tidy, name="rebridge-keeper", daemon=True)

    def start(self) -> None:
        """Start to work."""
        self._thread.start()
        self._keeper.start()

    def close(self) -> None:
        """Stop the work and remove all files."""
        with self._changed:
            self._closing = True
            for job in self._jobs.values():
                job.stop = job.stop or "the server was stopped"
            self._changed.notify_all()
        self._thread.join(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def check_room(self, visitor: str) -> None:
        """Refuse where the queue is full, of the visitor or of all.

        Raises:
            RefusedError: with the seconds to wait.
        """
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.state in UNFINISHED]
            own = sum(job.visitor == visitor for job in waiting)
        if own >= self._limits.visitor_waiting:
            raise RefusedError(429, f"you have {own} pictures in the queue, which is the most; wait for one to end", 10)
        if len(waiting) >= self._limits.waiting:
            raise RefusedError(503, "the queue is full; try again in a minute", 60)

    def add(
        self,
        visitor: str,
        name: str,
        source: Path,
        options: Any,
        size: tuple[int, int],
        kind: Any = None,
        mask: Path | None = None,
        read: Any = None,
        spent: dict[str, float] | None = None,
    ) -> WebJob:
        """Put a picture into the queue; its files are moved into the job's folder.

        Args:
            visitor, name, options, size, kind: see `WebJob`.
            source: file of the picture.
            mask: file of the mask, or None.
            read: see `WebJob`; it is kept where the pictures that are kept are small together.
            spent: seconds by stage until now.

        Raises:
            RefusedError: the queue is full.
        """
        self.check_room(visitor)
        number = secrets.token_urlsafe(16)
        folder = self._folder / number
        folder.mkdir(mode=0o700)
        job = WebJob(number, visitor, name, folder, options, size, kind, spent=dict(spent or {}))
        source.rename(job.source)
        if mask is not None:
            mask.rename(job.mask)
        with self._changed:
            kept = [job.size, *(other.size for other in self._jobs.values() if other.read is not None)]
            if sum(width * height for width, height in kept) <= self._limits.read_pixels:
                job.read = read
            self._jobs[number] = job
            self._changed.notify_all()
        return job

    def get(self, visitor: str, number: str) -> WebJob:
        """Find a visitor's job.

        Raises:
            RefusedError: there is none, or it is another visitor's, which is not told apart.
        """
        with self._changed:
            job = self._jobs.get(number)
            if job is None or job.visitor != visitor:
                raise RefusedError(404, "there is no such picture; results vanish after a while")
            job.seen = time.monotonic()
            return job

    def of(self, visitor: str) -> list[WebJob]:
        """List the jobs of a visitor, the oldest first."""
        with self._changed:
            found = [job for job in self._jobs.values() if job.visitor == visitor]
            for job in found:
                job.seen = time.monotonic()
        return found

    def cancel(self, job: WebJob, why: str = "cancelled") -> None:
        """End an unfinished job; a finished one is removed."""
        with self._changed:
            if job.state == "waiting":
                self._end(job, "cancelled", why)
            elif job.state == "running":
                job.stop = job.stop or why
            else:
                self._remove(job)

    def place(self, job: WebJob) -> int:
        """Count the waiting jobs, of all visitors, that came before this one."""
        with self._changed:
            earlier = [other for other in self._jobs.values() if other.state == "waiting"]
        return earlier.index(job) if job in earlier else 0

    def show(self, job: WebJob, preview: bytes) -> None:
        """Set the estimate that visitors see while the job runs."""
        with self._changed:
            job.preview = preview
            self._tell(job)

    def _run(self) -> None:
        if self._prepare is not None:
            self._prepare()
        while batch := self._next():
            problem: RefusedError | None = None
            try:
                self._work(batch, self._reporter(batch, time.monotonic()))
            except StoppedError:
                pass
            except RefusedError as refused:
                problem = refused
            for job in batch:
                if job.stop is not None:
                    self._finish(job, "cancelled", job.stop)
                elif problem is not None or job.error is not None:
                    self._finish(job, "failed", job.error or str(problem))
                else:
                    self._finish(job, "done", None)

    def _reporter(self, batch: list[WebJob], began: float) -> Callable[[float], None]:
        most = self._limits.job_seconds

        def report(progress: float) -> None:
            if all(job.stop is not None for job in batch):
                raise StoppedError(batch[0].stop)
            if time.monotonic() - began > most * len(batch):
                raise RefusedError(408, f"it took longer than {most:g} s, the limit for one picture")
            with self._changed:
                for job in batch:
                    job.progress = min(max(progress, job.progress), 1.0)
                    self._tell(job)

        return report

    def _next(self) -> list[WebJob]:
        """Wait for the next jobs; none when the server ends.

        The first is of the visitor who was served least recently, so that nobody waits for a long list; those of its kind
        that wait too are restored with it.
        """
        with self._changed:
            while not self._closing:
                waiting = [job for job in self._jobs.values() if job.state == "waiting"]
                if waiting:
                    waiting.sort(key=lambda job: self._served.get(job.visitor, 0.0))
                    first = waiting[0]
                    batch = self._batch(first, waiting)
                    for job in batch:
                        self._served[job.visitor] = time.monotonic()
                        job.spent["queue"] = self._served[job.visitor] - job.arrived
                        job.state = "running"
                        self._tell(job)
                    return batch
                self._changed.wait()
        return []

    def _batch(self, first: WebJob, waiting: list[WebJob]) -> list[WebJob]:
        """Choose the jobs that are restored together with the first; of each visitor at most half of them."""
        limits = self._limits
        count = max(min(limits.batch, limits.batch_pixels // (first.size[0] * first.size[1])), 1)
        batch: list[WebJob] = [first]
        for job in waiting:
            own = sum(other.visitor == job.visitor for other in batch)
            if len(batch) < count and first.kind is not None and job.kind == first.kind and job is not first:
                batch += [job] if own < max(count // 2, 1) else []
        return batch

    def _finish(self, job: WebJob, state: JobState, error: str | None) -> None:
        with self._changed:
            self._end(job, state, error)

    def _end(self, job: WebJob, state: JobState, error: str | None) -> None:
        job.state, job.error, job.finished, job.preview = state, error, time.monotonic(), None
        job.progress, job.read = 1.0 if state == "done" else job.progress, None
        if state != "done":
            job.result, job.views = None, ()
            shutil.rmtree(job.folder, ignore_errors=True)
        self._tell(job)

    def _tell(self, job: WebJob) -> None:
        job.version += 1
        self._changed.notify_all()
        for listener in tuple(job.listeners):
            listener()

    def _remove(self, job: WebJob) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _tidy(self) -> None:
        while not self._closing:
            self.tidy()
            time.sleep(1)

    def tidy(self) -> None:
        """Cancel what nobody waits for any more, and remove what is old or too much."""
        now, limits = time.monotonic(), self._limits
        with self._changed:
            for job in list(self._jobs.values()):
                if job.state in UNFINISHED:
                    if not job.watchers and now - job.seen > limits.absent_seconds:
                        self.cancel(job, "cancelled, as nobody waited for it")
                elif job.finished is not None and now - job.finished > limits.kept_seconds:
                    self._remove(job)
            done = sorted(
                (job for job in self._jobs.values() if job.state == "done"), key=lambda job: job.finished or 0
            )
            sizes = [job.bytes for job in done]
            for job, size in zip(done, list(sizes), strict=True):
                if sum(sizes) <= limits.kept_bytes:
                    break
                self._remove(job)
                sizes.remove(size)
            kept = {job.visitor for job in self._jobs.values()}
            self._served = {visitor: when for visitor, when in self._served.items() if visitor in kept}
