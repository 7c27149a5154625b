"""The base of formats: recognise a folder or file, and load it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import torch

from rebridge.models.base import Model, ModelError


class Format:
    """A way in which models lie on disk.

    Subclasses define `detect` and `read`, and say which options they take.
    """

    options: ClassVar[tuple[str, ...]] = ()
    """Options of `read` besides the device."""
    what: ClassVar[str] = "a model"
    """How an error calls a model of this format."""

    def detect(self, path: Path) -> bool:
        """Return True for a folder or file of this format.

        Looks at names and headers only.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define detect")

    def read(self, path: Path, name: str, device: torch.device, **options: Any) -> Model:
        """Load the model; ModelError, one sentence, for a broken one."""
        raise NotImplementedError(f"{type(self).__name__} does not define read")

    def load(self, path: Path, name: str | None = None, device: str | torch.device = "cpu", **options: Any) -> Model:
        """Load the model with options that are checked first.

        An option that is None counts as not given.

        Raises:
            ModelError: an option that this format does not have, or a broken model.
        """
        given = {key: value for key, value in options.items() if value is not None}
        for key in given:
            if key not in self.options:
                raise ModelError(
                    f"'{name or path}' is {self.what} and has no option {key}; it takes {', '.join(self.options) or 'none'}"
                )
        return self.read(path, name or os.path.basename(os.path.realpath(path)), torch.device(device), **given)
