"""Findings of a model in a picture, in words and in plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rebridge.models import Finding

NAMES = {
    "lowlight": "low light",
    "raindrop": "raindrops",
    "jpeg": "JPEG traces",
    "lowres": "the softness of enlarged pictures",
    "inpaint": "missing places",
}
"""Words for kinds whose names are none."""
CERTAINTIES = (
    (0.95, "almost certainly"),
    (0.8, "very likely"),
    (0.6, "probably"),
    (0.4, "perhaps"),
    (0.2, "hardly"),
    (0.0, "no"),
)
"""Words for probabilities of at least so much."""
MENTIONED = 0.4
"""Kinds of a smaller probability are not spoken of."""


def kind_words(kind: str) -> str:
    """Name a kind of degradation in words."""
    return NAMES.get(kind, kind)


def certainty(probability: float) -> str:
    """Put a probability into words."""
    return next(word for least, word in CERTAINTIES if probability >= least)


def percent(probability: float) -> str:
    """Write a probability in percent; never as certain as 0 or 100."""
    return f"{min(max(round(100 * probability), 1), 99)} %"


def found_words(findings: Sequence[Finding]) -> str:
    """Say what was found: "noise (very likely, 93 %), haze (perhaps, 44 %)".

    Args:
        findings: of one picture, the most probable first.
    """
    told = [one for one in findings if one.probability >= MENTIONED]
    if told:
        return ", ".join(
            f"{kind_words(one.kind)} ({certainty(one.probability)}, {percent(one.probability)})" for one in told
        )
    if not findings:
        return "nothing"
    first = findings[0]
    return f"nothing ({kind_words(first.kind)}: {certainty(first.probability)}, {percent(first.probability)})"


def treated_words(findings: Sequence[Finding]) -> str | None:
    """Name what is treated, as "noise and haze"; None for nothing."""
    names = [kind_words(one.kind) for one in findings if one.treated > 0]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or None


def finding_records(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Describe findings in plain data, as JSON takes it."""
    return [
        {
            "kind": one.kind,
            "name": kind_words(one.kind),
            "probability": round(one.probability, 4),
            "certainty": certainty(one.probability),
            "treated": round(one.treated, 4),
        }
        for one in findings
    ]


def changed_words(changed: Mapping[str, float]) -> str:
    """Say how much a picture changed.

    Args:
        changed: `share` of the pixels, and `mean` in 8-bit levels.
    """
    if changed["largest"] == 0:
        return "nothing changed"
    share = 100 * changed["share"]
    return f"{share:.0f} % of the pixels changed, by {changed['mean']:.1f} of 255 levels on average"


def told_words(model: str, findings: Sequence[Finding] | None, changed: Mapping[str, float]) -> dict[str, Any]:
    """Say what was found in a picture, what was done, and how much changed.

    Args:
        model: its name.
        findings: None where the model does not tell what it finds.
        changed: as in `changed_words`.
    """
    details: dict[str, Any] = {"changed": dict(changed), "changed_words": changed_words(changed)}
    if findings is None:
        return {"done_words": f"restored by {model}", **details}
    treated = treated_words(findings)
    details["done_words"] = f"restored: {treated}" if treated else "left as it is"
    return {"found": finding_records(findings), "found_words": f"found {found_words(findings)}", **details}
