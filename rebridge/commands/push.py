"""Command `push`: a model folder onto the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rebridge.commands.options import PushOptions
from rebridge.models import find_model
from rebridge.models.places import push_model


@dataclass(frozen=True)
class Pushed:
    """A model on the Hub.

    Attributes:
        address: of its page.
        repository: "owner/name", by which it is loaded.
        revision: the branch, or None for the main one.
    """

    address: str
    repository: str
    revision: str | None

    @property
    def record(self) -> dict[str, Any]:
        """All of it in plain data."""
        return vars(self)

    @property
    def sentences(self) -> list[str]:
        """Say where it is and how it is used."""
        revision = "" if self.revision is None else f" with revision={self.revision!r}"
        return [f"pushed to {self.address}; load it as '{self.repository}'{revision}"]


def push(options: PushOptions) -> Pushed:
    """Upload a model with its card.

    Raises:
        ModelError: no such model, or a Hub that refuses or cannot be reached.
    """
    folder = find_model(options.model)
    address = push_model(
        folder, options.repository, options.private, message=options.message, revision=options.revision
    )
    return Pushed(address, options.repository, options.revision)
