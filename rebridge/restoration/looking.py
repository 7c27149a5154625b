"""Looking at images once, to tell what ails them and to restore them.

restore, findings = look(restorer, image)
image = restore(image)
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rebridge.images import to_batch
from rebridge.models import Finding, Model
from rebridge.restoration.borders import Inside, inside, sets_aside

if TYPE_CHECKING:
    from rebridge.restoration.restorer import Restorer


def examine(model: Model, image: Any) -> list[Finding]:
    """Tell what ails one image; see `Restorer.examine`."""
    images = to_batch(image, model.info.channels).images
    if len(images) > 1:
        raise ValueError(f"one image is examined at a time, got {len(images)}")
    return _sorted(model, _within(images, inside(images[0]) if sets_aside(model) else None))[0]


def look(restorer: Restorer, image: Any) -> tuple[Restorer, list[list[Finding]] | None]:
    """Look at images once, to tell what ails them and to restore them.

    Args:
        restorer: with any model.
        image: one image or a batch, as `Restorer` takes them.

    Returns:
        A restorer for these images alone, which does not look again unless they have different borders, and for each image
        what `Restorer.examine` says of it; None where the model does not tell what it finds.
    """
    if not restorer.model.examines:
        return restorer, None
    images = to_batch(image, restorer.model.info.channels).images
    places = [inside(one) if sets_aside(restorer.model) else None for one in images]
    if any(place != places[0] for place in places):
        parts = (_within(images[row : row + 1], place) for row, place in enumerate(places))
        return restorer, [_sorted(restorer.model, part)[0] for part in parts]
    images = _within(images, places[0])
    other = copy.copy(restorer)
    other.model = restorer.model.seeing(images)
    return other, _sorted(other.model, images)


def _within(images: Tensor, place: Inside | None) -> Tensor:
    return images if place is None else images[:, :, *place]


def _sorted(model: Model, images: Tensor) -> list[list[Finding]]:
    """What ails each image, the most probable kind first."""
    return [sorted(found, key=lambda one: -one.probability) for found in model.examine(images)]
