"""Kinds of degradation that a `careful` network knows, and their places."""

KINDS = ("rain", "haze", "snow", "raindrop", "lowlight", "noise", "blur", "jpeg")
RAIN, HAZE, SNOW, LOWLIGHT, NOISE, SOFT, CODED = (
    KINDS.index(kind) for kind in ("rain", "haze", "snow", "lowlight", "noise", "blur", "jpeg")
)
