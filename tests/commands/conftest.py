"""Tiny untrained models in folders, and a folder of pictures."""

from tests.cli.conftest import model, photos
from tests.restoration.conftest import picture, pixel_folder

__all__ = ["model", "photos", "picture", "pixel_folder"]
