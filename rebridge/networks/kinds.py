"""Kinds of degradation that a `careful` network knows, and their places."""

KINDS = ("rain", "haze", "snow", "raindrop", "lowlight", "noise", "blur", "jpeg")
RAIN, HAZE, SNOW, RAINDROP, LOWLIGHT, NOISE, SOFT, CODED = range(len(KINDS))

FILTERED = (RAIN, LOWLIGHT, NOISE, SOFT)
"""Kinds that an equaliser helps to remove; without it the others are removed as well."""
EVERYWHERE = (NOISE, SOFT)
"""Kinds that lie on all of a picture: who names them wants them removed at every place."""
