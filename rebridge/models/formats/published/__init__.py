"""Published checkpoints: the authors' files as models of the library.

model = convert("model-300.pt")        # DiffUIR, known by its weights
model.network, model.bridge, model.sampler
"""

from rebridge.models.autoencoders import Autoencoder, build_autoencoder
from rebridge.models.formats.published.base import PREFIX, Converted, Dialect, Family, fingerprint
from rebridge.models.formats.published.catalogue import FAMILIES, build, convert, names
from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.reading import Weights, read_weights

__all__ = [
    "FAMILIES",
    "PREFIX",
    "Autoencoder",
    "Converted",
    "Dialect",
    "Family",
    "FormatError",
    "Weights",
    "build",
    "build_autoencoder",
    "convert",
    "fingerprint",
    "names",
    "read_weights",
]
