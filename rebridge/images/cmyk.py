"""CMYK of more than 8 bits to sRGB, with all its bits."""

import numpy as np

from rebridge.images import extra


def cmyk_to_srgb(samples: np.ndarray, icc: bytes | None) -> np.ndarray:
    """Convert CMYK samples of 8 or 16 bits to sRGB.

    Through a profile, or by the plain formula where there is none.

    Args:
        samples: cyan, magenta, yellow, black, and possibly alpha; full ink is the largest value.
        icc: CMYK profile of the picture, or None.

    Raises:
        ValueError: there is a profile and nothing that applies it to so many bits.
    """
    ink, alpha = samples[..., :4], samples[..., 4:]
    if icc is not None and icc[16:20] == b"CMYK":
        codec = extra.imagecodecs("CMYK of 16 bits with a colour profile")
        try:
            colour = codec.cms_transform(
                np.ascontiguousarray(ink), icc, codec.cms_profile("srgb"), colorspace="cmyk", outcolorspace="rgb"
            )
        except RuntimeError as error:
            raise ValueError(f"its colour profile cannot be applied ({error})") from error
        return np.concatenate([colour, alpha], axis=2) if alpha.shape[2] else np.asarray(colour)
    top = int(np.iinfo(samples.dtype).max)
    result = np.empty((*samples.shape[:2], 3 + alpha.shape[2]), samples.dtype)
    for first in range(0, len(samples), 256):
        rows = ink[first : first + 256].astype(np.int64)
        light = (top - rows[..., :3]) * (top - rows[..., 3:])
        result[first : first + 256, :, :3] = (light + top // 2) // top
    result[..., 3:] = alpha
    return result
