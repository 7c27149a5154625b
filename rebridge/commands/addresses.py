"""Inputs and outputs at addresses such as s3://bucket/photos.

Inputs are fetched before the work begins, and each result is put where it belongs as soon as it is done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rebridge.commands.files import FilesResult, Finished
from rebridge.commands.options import FileOptions
from rebridge.commands.stopping import Stopped
from rebridge.images import READABLE_SUFFIXES
from rebridge.images.addresses import address_of, existing, fetch, list_files, put
from rebridge.images.clips import FILM_SUFFIXES
from rebridge.restoration.files import FileResult

AnyFileOptions = TypeVar("AnyFileOptions", bound=FileOptions)


def has_addresses(options: FileOptions) -> bool:
    """Test if any input or the output is an address."""
    return any(address_of(entry) for entry in (*options.inputs, options.output))


def at_addresses(
    options: AnyFileOptions, run: Callable[..., FilesResult], finished: Finished | None = None
) -> FilesResult:
    """Run a command on files at addresses.

    Args:
        options: of the command.
        run: called as run(options, finished) with files of this machine in their place.
        finished: called with each file once its result is where it belongs.

    Raises:
        ValueError: an address that cannot be opened or listed, or names nothing.
        Stopped: as from `run`, with the files at their addresses.
    """
    with tempfile.TemporaryDirectory(prefix="rebridge-") as name:
        staging = _Staging(Path(name), options)

        def done(result: FileResult) -> None:
            named = staging.settle(result)
            if finished is not None:
                finished(named)

        try:
            found = run(staging.options, done)
        except Stopped as stop:
            stop.result = staging.named(stop.result)
            raise
        return staging.named(found)


class _Staging:
    """A folder of this machine in place of addresses.

    What is at the output's address already is there as an empty file, so that results are skipped or refused as on a disk.
    """

    def __init__(self, folder: Path, options: FileOptions) -> None:
        self.places: dict[Path, str] = {}
        self.settled: dict[Path, FileResult] = {}
        inputs: list[str | Path] = []
        for number, entry in enumerate(options.inputs):
            address = address_of(entry)
            inputs += [entry] if address is None else self._fetched(address, folder / str(number), options.recursive)
        self.target = address_of(options.output)
        output = options.output if self.target is None else self._output(folder, self.target, inputs)
        self.options: Any = replace(options, inputs=inputs, output=output)

    def settle(self, result: FileResult) -> FileResult:
        """Put a result where it belongs; its paths become addresses."""
        if result.output not in self.settled:
            self.settled[result.output] = self._settled(result)
        return self.settled[result.output]

    def named(self, found: FilesResult) -> FilesResult:
        """The results by their addresses."""
        return replace(found, results=[self.settle(result) for result in found.results])

    def _settled(self, result: FileResult) -> FileResult:
        error, output = result.error, result.output
        if self.target is not None:
            address = self._address(output)
            if error is None and not result.skipped and output.is_file():
                try:
                    put(output, address)
                    output.unlink()
                except (OSError, ValueError) as problem:
                    error = f"{address} cannot be written: {problem}"
            error = None if error is None else error.replace(str(output), address)
            output = Path(address)
        source = self.places.get(result.path)
        if source is not None and error is not None:
            error = error.replace(str(result.path), source)
        return replace(result, path=result.path if source is None else Path(source), output=output, error=error)

    def _address(self, output: Path) -> str:
        assert self.target is not None
        if output == self.options.output:
            return self.target
        return f"{self.target.rstrip('/')}/{output.relative_to(self.options.output).as_posix()}"

    def _fetched(self, address: str, folder: Path, recursive: bool) -> list[str | Path]:
        """Copy what an address names; a folder of copies, or the one file."""
        files = list_files(address, recursive)
        single = list(files) == [address] or len(files) == 1
        wanted = (*READABLE_SUFFIXES, *FILM_SUFFIXES)
        kept = {name: place for name, place in files.items() if single or place.suffix.lower() in wanted}
        for name, place in kept.items():
            self.places[folder / place] = name
            try:
                fetch(name, folder / place)
            except OSError as error:
                raise ValueError(f"{name} cannot be read: {error}") from None
        return [folder / place for place in kept.values()] if single else [folder]

    def _output(self, folder: Path, target: str, inputs: list[str | Path]) -> Path:
        """The output folder, or file, in place of an address."""
        last = target.rstrip("/").rpartition("/")[2]
        is_file = len(inputs) == 1 and Path(inputs[0]).is_file() and Path(last).suffix.lower() in READABLE_SUFFIXES
        output = folder / "results" / (last if is_file else "folder")
        if is_file:
            output.parent.mkdir()
            here = [output] if last in map(str, existing(target.rpartition("/")[0])) else []
        else:
            output.mkdir(parents=True)
            here = [output / place for place in existing(target)]
        for path in here:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return output
