"""The log of a run.

A JSON line per report, trackers (TensorBoard, wandb), and a progress bar with rate and remaining time.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from rebridge.images.atomic import write_atomic
from rebridge.training.config import FitConfig
from rebridge.training.data import Awaited
from rebridge.training.trackers import TRACKERS


class RunLog:
    """The reports of one run.

    On processes other than the first (`active` false) nothing is printed or written.

    `log.jsonl` holds one line per report with its iteration. When a run resumes at `start`, lines after that iteration
    are cut off, so that the file reads as if the run had never stopped; where the validation of `start` is still to be done
    (`unvalidated`), its line goes too. A terminal that is gone stops nothing. `trackers` are names of `TRACKERS`.
    """

    def __init__(
        self,
        output: Path,
        start: int,
        iterations: int,
        active: bool = True,
        unvalidated: bool = False,
        trackers: Sequence[str] = ("tensorboard",),
    ) -> None:
        self.output, self.start, self.iterations, self.active = output, start, iterations, active
        self.console = Console(stderr=True, quiet=not active)
        self.began = time.monotonic()
        self.awaited: Awaited | None = None
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (active and self.console.is_terminal),
        )
        self.task: TaskID = self.bar.add_task("train", total=iterations, completed=start, note="")
        if active:
            self._cut(unvalidated)
        # Trackers take seconds to import: only the process that writes pays.
        self.trackers = [TRACKERS[name](output, start) for name in trackers] if active else []

    def __enter__(self) -> "RunLog":
        with _shown():
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        with _shown():
            self.bar.stop()
        _let_go()
        for tracker in self.trackers:
            tracker.finish()

    def say(self, sentence: str) -> None:
        """Print a sentence above the progress bar."""
        with _shown():
            self.console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def advance(self, iteration: int) -> None:
        """Move the progress bar: so many iterations are done."""
        with _shown():
            self.bar.update(self.task, completed=iteration)

    def report(self, iteration: int, metrics: dict[str, float], text: str | None = None) -> None:
        """Record metrics by name after so many iterations.

        Shown is `text`, or else the metrics beside the bar.
        """
        if not self.active:
            return
        with open(self.output / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": iteration, **metrics}) + "\n")
        for tracker in self.trackers:
            tracker.scalars(iteration, metrics)
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = (iteration - self.start) / seconds
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self.awaited is not None and text is None:
            shown += f"  waiting for data {self.awaited.seconds / seconds:.0%}"
        if text is not None:
            self.say(f"{iteration}/{self.iterations}  {text}")
        elif self.console.is_terminal:
            with _shown():
                self.bar.update(self.task, completed=iteration, note=f"{shown}  {rate:.2f} it/s")
        else:
            rest = _duration((self.iterations - iteration) / max(rate, 1e-9))
            self.say(f"{iteration}/{self.iterations}  {shown}  {rate:.2f} it/s, {rest} left")

    def pictures(self, iteration: int, pictures: dict[str, Tensor]) -> None:
        """Show pictures (C, H, W) in [0, 1] in the trackers.

        Of other channels than 1 or 3 their mean is shown.
        """
        for name, picture in pictures.items() if self.trackers else ():
            shown = picture if len(picture) in (1, 3) else picture.mean(0, keepdim=True)
            for tracker in self.trackers:
                tracker.picture(iteration, f"samples/{name}", shown)

    def _cut(self, unvalidated: bool) -> None:
        path = self.output / "log.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _belongs(line, self.start, unvalidated)]
            write_atomic(path, "".join(f"{line}\n" for line in kept).encode(), overwrite=True)


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    """Show something; a terminal that is gone stops nothing."""
    try:
        yield
    except OSError:
        _let_go()


def _let_go() -> None:
    """Send what the standard streams hold nowhere if what they led to is gone: else the program's end would fail on it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def begin_line(config: FitConfig, start: int, what: str, processes: int, device: str) -> str:
    """Say what begins, for the first line of a log.

    Args:
        config: of the run.
        start: iterations that were done before.
        what: is trained.
        processes: that train together.
        device: type of their devices.
    """
    samples = config.batch(start) * config.optimisation.accumulate * processes
    begin = f"resuming after iteration {start}" if start else "starting"
    return (
        f"{begin}: {what}, {samples} samples per iteration, {config.optimisation.iterations} iterations, "
        f"{processes} x {device}, {config.precision}; output in {config.output}"
    )


def _belongs(line: str, start: int, unvalidated: bool) -> bool:
    """Tell whether a line of the log is of a run up to iteration `start`.

    A line that a kill has cut short is none.
    """
    try:
        entry: Any = json.loads(line)
        iteration = float(entry["iteration"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return iteration < start or (iteration == start and ("loss" in entry or not unvalidated))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
