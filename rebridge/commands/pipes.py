"""Pictures through pipes: `-` as an input is stdin, `-` as the output is stdout."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from rebridge.commands.files import FilesResult
from rebridge.commands.shared_options import FileOptions
from rebridge.images import result_suffix
from rebridge.images.sniff import suffix_of

PIPE = "-"
AnyOptions = TypeVar("AnyOptions", bound=FileOptions)


class Piped(NamedTuple, Generic[AnyOptions]):
    """A command's options with files in the place of pipes."""

    options: AnyOptions
    is_stdout: bool
    """Whether the result goes to stdout, where nothing else may be printed then."""
    folder: Path | None = None
    """Where the files lie."""

    def named(self, sentence: str) -> str:
        """Write a sentence about the files as one about the pipes."""
        if self.folder is None:
            return sentence
        return re.sub(rf"{re.escape(str(self.folder))}[/\\\\](stdin|stdout)\.\w+", r"\1", sentence)

    def records(self, result: FilesResult) -> list[dict[str, Any]]:
        """Describe each file in plain data that name the pipes."""
        rows = result.records()
        return [
            {key: self.named(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
        ]


@contextmanager
def piped(options: AnyOptions) -> Iterator[Piped[AnyOptions]]:
    """Put files in the place of stdin and stdout while a command runs.

    Raises:
        ValueError: stdout for several pictures, or an empty stdin.
    """
    is_in = any(str(entry) == PIPE for entry in options.inputs)
    is_out = str(options.output) == PIPE
    if not is_in and not is_out:
        yield Piped(options, False)
        return
    if is_out and (len(options.inputs) != 1 or (not is_in and not Path(options.inputs[0]).is_file())):
        raise ValueError("-o - writes one picture to stdout; give one file")
    with tempfile.TemporaryDirectory(prefix="rebridge-") as name:
        folder = Path(name)
        inputs = list(options.inputs)
        if is_in:
            source = _from_stdin(folder)
            inputs = [source if str(entry) == PIPE else entry for entry in inputs]
        output = options.output
        if is_out:
            suffix = f".{options.format.lower().removeprefix('.')}" if options.format else None
            output = folder / f"stdout{suffix or result_suffix(Path(inputs[0]).suffix)}"
        yield Piped(replace(options, inputs=inputs, output=output), is_out, folder)
        if is_out and output.is_file():
            sys.stdout.buffer.write(output.read_bytes())
            sys.stdout.buffer.flush()


def _from_stdin(folder: Path) -> Path:
    """Write what stdin brings to a file, named as its content says."""
    data = sys.stdin.buffer.read()
    if not data:
        raise ValueError("-: stdin is empty; a picture was expected there")
    path = folder / f"stdin{suffix_of(data)}"
    path.write_bytes(data)
    return path
