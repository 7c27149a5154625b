"""Transparency.

Hidden colours reach nothing that can be seen, and alpha comes back as it was.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from rebridge.images import fill_hidden, to_batch
from tests.images.making import as_image, picture


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.sampled_from([1, 3]),
    share=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_a_hidden_pixel_gets_the_colour_of_a_nearest_visible_one(
    height: int, width: int, channels: int, share: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(channels, height, width, generator=generator)
    alpha = (torch.rand(1, height, width, generator=generator) > share).float() * 0.5
    filled = fill_hidden(pixels, alpha)
    seen = alpha[0] > 0
    if not seen.any():
        assert filled is pixels
        return
    assert torch.equal(filled[:, seen], pixels[:, seen])
    places = seen.nonzero().float()
    for y, x in (~seen).nonzero().tolist():
        distances = (places - torch.tensor([y, x])).norm(dim=1)
        # OpenCV measures with an error of a few percent.
        near = places[distances <= 1.1 * distances.min() + 0.3].long()
        assert any(torch.equal(filled[:, y, x], pixels[:, a, b]) for a, b in near.tolist())


def inputs(colours: np.ndarray, alpha: np.ndarray) -> list[Any]:
    """The same picture in every kind that users pass."""
    both = np.dstack([colours, alpha])
    tensor = torch.from_numpy(both).permute(2, 0, 1)
    return [
        PILImage.fromarray(both),
        both,
        both.astype(np.uint16) * 257,
        both / 255,
        np.stack([both, both]),
        tensor,
        tensor.float() / 255,
        torch.stack([tensor, tensor]),
        as_image(both),
    ]


@pytest.mark.parametrize("kind", range(9))
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_restored_does_not_depend_on_hidden_colours(kind: int, channels: int) -> None:
    colours = picture()[..., :channels]
    alpha = np.zeros(colours.shape[:2], np.uint8)
    alpha[5:20, 8:24] = 255
    alpha[5:20, 8] = 1
    black, white = colours.copy(), colours.copy()
    black[alpha == 0], white[alpha == 0] = 0, 255
    first, second = (to_batch(inputs(c, alpha)[kind]) for c in (black, white))
    assert torch.equal(first.images, second.images)
    back = first.back(first.images)
    kept = back.alpha if kind == 8 else np.asarray(back)[..., -1] if kind < 5 else back[..., -1, :, :]
    given_alpha = torch.as_tensor(np.asarray(kept, dtype=np.float64))
    scale = {2: 65535, 3: 1, 6: 1, 8: 1}.get(kind, 255)
    assert np.allclose(np.asarray(given_alpha).squeeze() / scale, alpha / 255)


def test_pictures_without_hidden_pixels_are_not_copied() -> None:
    image = as_image(picture(channels=4))
    assert image.visible_pixels is image.pixels
    assert to_batch(image).images.data_ptr() == image.pixels.data_ptr()
    assert fill_hidden(image.pixels, None) is image.pixels
