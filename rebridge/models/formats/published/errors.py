"""The one error of published files."""

from rebridge.models.base import ModelError


class FormatError(ModelError):
    """A published file that cannot be read or converted, said in one sentence."""
