"""Transparency: colours that nobody can see must not reach others."""

import cv2
import numpy as np
import torch
from torch import Tensor

_ROWS = 512
"""Rows that are filled at once, which bounds the memory for indices."""


def fill_hidden(pixels: Tensor, alpha: Tensor | None) -> Tensor:
    """Give each pixel of alpha 0 the colour of the nearest pixel that can be seen.

    Networks look at neighbourhoods, so that the colour under alpha 0, often black or white by accident, would change
    the visible edge. Pixels that can be seen keep their exact values.

    Args:
        pixels: (C, H, W) or (B, C, H, W), not multiplied by alpha.
        alpha: (1, H, W) or (B, 1, H, W), 0 where nothing can be seen, or None.

    Returns:
        `pixels` itself where nothing is hidden or nothing can be seen, else a tensor of the same shape.
    """
    if alpha is None:
        return pixels
    if pixels.ndim == 4:
        if bool((alpha != 0).all()):
            return pixels
        return torch.stack([fill_hidden(image, mask) for image, mask in zip(pixels, alpha, strict=True)])
    hidden = (alpha[0] == 0).detach().cpu().numpy()
    if not hidden.any() or hidden.all():
        return pixels
    mask = hidden.astype(np.uint8)
    labels = cv2.distanceTransformWithLabels(mask, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    # The nearest visible pixel always touches a hidden one.
    edge = np.flatnonzero(cv2.dilate(mask, np.ones((3, 3), np.uint8)) > mask)
    places = np.zeros(int(labels.max()) + 1, np.int32)
    places[labels.ravel()[edge]] = edge
    result = pixels.clone(memory_format=torch.contiguous_format)
    flat = result.view(result.shape[0], -1)
    width = hidden.shape[1]
    for first in range(0, len(hidden), _ROWS):
        rows = hidden[first : first + _ROWS]
        targets = torch.from_numpy(np.flatnonzero(rows) + first * width).to(pixels.device)
        sources = torch.from_numpy(places[labels[first : first + _ROWS][rows]].astype(np.int64)).to(pixels.device)
        flat[:, targets] = flat[:, sources]
    return result
