"""Command `inspect`: what ails pictures, with probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebridge.commands.files import check_there
from rebridge.commands.findings import finding_records, found_words, treated_words
from rebridge.commands.opening import open_restorer
from rebridge.commands.options import InspectOptions, ModelOptions
from rebridge.commands.progress import Reporter, cancellable
from rebridge.images import MAX_PIXELS, read_image, reason
from rebridge.models import Finding, ModelError
from rebridge.restoration.files import find_files


@dataclass(frozen=True)
class Inspection:
    """Findings in one picture.

    Attributes:
        path: its file.
        findings: the most probable kind first.
        error: a sentence, where the file cannot be read.
    """

    path: Path
    findings: list[Finding]
    error: str | None = None

    @property
    def sentence(self) -> str:
        """One line for people."""
        if self.error is not None:
            return self.error
        treated = treated_words(self.findings)
        done = f"`rebridge restore` would treat {treated}" if treated else "`rebridge restore` would leave it as it is"
        return f"{self.path}: found {found_words(self.findings)}; {done}"

    @property
    def record(self) -> dict[str, Any]:
        """The same in plain data."""
        return {"input": str(self.path), "error": self.error, "found": finding_records(self.findings)}


def inspect(
    options: InspectOptions,
    progress: Reporter | None = None,
    finished: Callable[[Inspection], object] | None = None,
) -> list[Inspection]:
    """Tell what ails pictures, kind by kind.

    Args:
        options: of this command.
        progress: called with the files that are done; raise from it to cancel.
        finished: called with each picture once it is examined.

    Raises:
        ModelError: the model does not tell what it finds.
        ValueError: no pictures.
    """
    check_there(options.inputs)
    files = list(find_files(options.inputs, recursive=options.recursive))
    given = ModelOptions(model=options.model, device=options.device, dtype=options.dtype, compile=options.compile)
    restorer = open_restorer(given).restorer
    if not restorer.model.examines:
        raise ModelError(f"{options.model} restores without telling what it finds; use --model rdbm-small")
    results: list[Inspection] = []
    with cancellable(progress) as report:
        for path in files:
            report(len(results), len(files), path.name)
            try:
                image = read_image(path, options.max_pixels or MAX_PIXELS, options.strict)
                found = Inspection(path, restorer.examine(image))
            except Exception as problem:  # one bad file must not end the others
                text = reason(problem)
                found = Inspection(path, [], text if str(path) in text else f"{path}: {text}")
            results.append(found)
            if finished is not None:
                finished(found)
        report(len(files), len(files), "")
    return results
