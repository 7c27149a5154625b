"""A tiny untrained model in a folder."""

from tests.restoration.conftest import model_folder

__all__ = ["model_folder"]
