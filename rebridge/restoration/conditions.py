"""Extra conditions as users pass them: pictures, arrays and numbers by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from rebridge.images import to_batch
from rebridge.models import Model, ModelError
from rebridge.networks.conditions import Condition, check_names, checked


def conditions_for(
    model: Model,
    given: Mapping[str, Any],
    images: Tensor,
    scaled: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Turn the conditions of a call into tensors, one row for each image.

    Args:
        model: what declares them.
        given: by name.
        images: (B, C, H, W), whose number and size the conditions have.
        scaled: what becomes of images before the model sees them, and of maps with them.

    Raises:
        ModelError: a condition that is missing, unknown, of another type or shape, or out of range.
    """
    declared, who = model.info.conditions, f"model '{model.info.name}'"
    try:
        check_names(declared, given, who)
        values = {name: as_tensor(name, given[name], one) for name, one in declared.items()}
        found = checked(declared, values, len(images), (images.shape[-2], images.shape[-1]), who)
    except ValueError as error:
        raise error if isinstance(error, ModelError) else ModelError(str(error)) from None
    if scaled is None:
        return found
    return {name: scaled(value) if declared[name].form == "map" else value for name, value in found.items()}


def as_tensor(name: str, value: Any, condition: Condition) -> Tensor:
    """Turn one condition into a tensor; its shape is still to be checked.

    Raises:
        ValueError: a value that is no picture, or no numbers.
    """
    try:
        if condition.form == "map":
            return to_batch(value, condition.size).images
        return torch.as_tensor(value, dtype=torch.float32 if condition.form != "class" else torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"the condition {name!r} is {condition}: {text}") from None
