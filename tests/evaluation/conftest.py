"""A tiny untrained pixel prior in a folder, and a photograph-like image."""

from tests.restoration.conftest import picture, pixel_folder

__all__ = ["picture", "pixel_folder"]
