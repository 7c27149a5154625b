"""Kinds of degradation that a `careful` network tells apart, and their places among its numbers."""

KINDS = ("rain", "haze", "snow", "raindrop", "lowlight", "noise", "blur", "jpeg")
RAIN, HAZE, SNOW, LOWLIGHT, NOISE, SOFT, CODED = (
    KINDS.index(kind) for kind in ("rain", "haze", "snow", "lowlight", "noise", "blur", "jpeg")
)
