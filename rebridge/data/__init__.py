"""Images to train and evaluate on: folders, pairs, standard and synthetic data."""

from rebridge.data.folders import IMAGE_SUFFIXES, ImageFolder, PairedFolder
from rebridge.data.layouts import IMAGE_LAYOUTS, LAYOUTS, open_images, open_layout
from rebridge.data.pairs import MixedPairs, Pair, PairedSource, PairSource
from rebridge.data.synthetic import CLEAN, SyntheticPairs, SyntheticSource

__all__ = [
    "CLEAN",
    "IMAGE_LAYOUTS",
    "IMAGE_SUFFIXES",
    "LAYOUTS",
    "ImageFolder",
    "MixedPairs",
    "Pair",
    "PairSource",
    "PairedFolder",
    "PairedSource",
    "SyntheticPairs",
    "SyntheticSource",
    "open_images",
    "open_layout",
]
