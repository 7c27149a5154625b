"""The errors of published files."""

from rebridge.models.base import ModelError


class FormatError(ModelError):
    """A published file that cannot be read or converted, said in one sentence."""


class UnknownFamilyError(FormatError):
    """Weights of no family that is known here."""
