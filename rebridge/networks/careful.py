"""A restorer that decides what ails a picture, and mends that alone.

It blends in what it expects to help.

    c      = examiner(y)                        kinds of degradation that are there, each in [0, 1]
    z      = tone(y, c)                         air taken out and exposure put right: a map of few parameters
    x_hat  = z + trunk(z, y, c)                 rain, snow, drops, noise, blur, JPEG
    x0_hat = z + trust (x_hat - z)              trust in [0, 1] at each place, learned as what would have been best

Noise is taken out first where there is haze too, and haze is looked for again without it. Noise that shows only when a dark
picture is bright is taken out with the dark. Where air or exposure are treated, slow changes are the tone's: of those of the
trunk, which has seen no haze but our own, a share is kept. Noise and blur lie on all of a picture: where nothing else is named,
trust is 1, and neither it nor c is computed.

Where no kind is found, the result is y itself, bit for bit, and nothing but the examiner is computed. The kinds may be given
by the caller instead. It is a regression: the state x_t and the time do not matter. Derived.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rebridge.networks.equaliser import STATISTICS_REACH, Equaliser
from rebridge.networks.exporting import exporting, valueless
from rebridge.networks.impressions import PLACE, SHARES, Impression, impression
from rebridge.networks.judging import BAND, REACH, Judging
from rebridge.networks.kinds import EVERYWHERE, FILTERED, HAZE, KINDS, LOWLIGHT, NOISE, RAIN, SNOW
from rebridge.networks.layers import check_inputs, check_levels, check_sizes, context_of, in_bands, pad_to_multiple
from rebridge.networks.lazy import LazyImages, mosaic
from rebridge.networks.statistics import NUMBERS
from rebridge.networks.toning import Examiner, Tone
from rebridge.networks.treating import Treating
from rebridge.networks.trial import TRIAL_PARTS, TRIAL_SIDE, DropTrial, HazeTrial, RainTrial
from rebridge.networks.trunk import Trunk
from rebridge.networks.trust import STEADY_IN_DARK, TrustMap, feature_blocks, held_back, steadiness
from rebridge.networks.verdict import Verdict

__all__ = ("KINDS", "Careful", "Parts", "Treating")

SURER_CONTEXT = 32
"""Pixels around a part beyond what its layers mostly depend on: without them streaks of rain differ by up to two levels."""
DEPTH_REACH = 160
"""More rows above and below that the depth of haze depends on."""


class Parts(NamedTuple):
    """The steps from y to the clean estimate, in the range [-1, 1]."""

    kinds: Tensor
    """(B, kinds) in [0, 1]: what was treated."""
    toned: Tensor
    """(B, 3, H, W): z."""
    whole: Tensor
    """(B, 3, H, W): x_hat, fully trusted."""
    trust: Tensor
    """(B, 1, H/16, W/16) in [0, 1]."""


class Careful(Judging):
    """Residual x0_hat - y (B, 3, H, W), 0 where nothing ails the picture.

    See the head of this module.

    channels: of an image; grey ones are treated as three equal colours. widths: of the trunk's levels, at 1/2, 1/4, ...
    of the size; blocks: before and again after the middle at each level but the last; middle: blocks there; features: of
    the examiner; equalise: filter pictures by an `Equaliser` before the trunk; verdict: a `Verdict` decides on the kinds, and
    what the examiner says of them is a part of what it hears; air_map: it tells haze by a map of the air; light_map: it tells
    darkness by that map too; trial: a `RainTrial` decides on rain; haze_trial: with that, a `HazeTrial` on haze;
    drop_trial: with that, a `DropTrial` on raindrops. The examiner, the air and the exposure see the whole picture that is
    handed over.
    """

    told = True
    examined = KINDS

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 48, 64, 80),
        blocks: Sequence[int] = (3, 5, 8),
        middle: int = 8,
        features: int = 96,
        equalise: bool = True,
        verdict: bool = False,
        air_map: bool = False,
        light_map: bool = False,
        trial: bool = False,
        haze_trial: bool = False,
        drop_trial: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, middle=middle, features=features)
        check_levels(widths=widths, blocks=blocks)
        if len(blocks) != len(widths) - 1:
            raise ValueError(f"blocks must have one entry less than widths, got {len(blocks)} and {len(widths)}")
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {channels}")
        self.channels = channels
        self.multiple = max(2 ** len(widths), PLACE)
        needed = max(context_of(blocks, middle), STATISTICS_REACH if equalise else 0) + SURER_CONTEXT
        self.context = max(needed, REACH)
        self.spare = self.context - needed
        self.examiner = Examiner(len(KINDS), features)
        self.tone = Tone(features)
        self.trunk = Trunk(len(KINDS), widths, blocks, middle)
        self.equaliser = Equaliser(ripples=True) if equalise else None
        self.trust = TrustMap(features, widths[-1], len(KINDS))
        known = 3 * features + 4 * len(SHARES) + len(KINDS) + NUMBERS
        dark = LOWLIGHT if light_map else None
        self.verdict = Verdict(known, len(KINDS), haze=HAZE, sees=air_map, dark=dark) if verdict else None
        self.trial = RainTrial(len(KINDS)) if trial else None
        self.haze_trial = HazeTrial() if haze_trial else None
        self.drop_trial = DropTrial(len(KINDS)) if drop_trial else None
        self.register_buffer("low", torch.full((len(KINDS),), 0.4))
        self.register_buffer("high", torch.full((len(KINDS),), 0.6))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        kinds: Tensor | None = None,
        strength: float | Tensor = 1.0,
        seen: Impression | None = None,
    ) -> Tensor:
        """Residual of the clean estimate, (B, 3, H, W).

        Args:
            x: state, (B, 3, H, W); checked, else unused.
            t: times, (B,); checked, else unused.
            y: degraded pictures, (B, 3, H, W) in [-1, 1].
            kinds: (B, kinds) in [0, 1], what to treat, in the order of `KINDS`; by default what the examiner finds.
            strength: share of the change that is made, a number or (B, 1, 1, 1), in [0, 1].
            seen: `look` at the whole pictures, where y are these or parts of them, so that all parts are judged alike.
        """
        check_inputs(x, t, y, self.channels)
        height, width = y.shape[-2:]
        padded = pad_to_multiple(y.expand(-1, 3, -1, -1), self.multiple)
        if kinds is not None and (rows := everywhere(kinds)).any():
            if not rows.all():
                return self._apart(rows, x, t, y, kinds, strength, seen)
            seen = Impression.blank(padded)._replace(spare=None if seen is None else seen.spare)
            features = padded.new_zeros(len(padded), 0, *(side // PLACE for side in padded.shape[-2:]))
        else:
            places = None if seen is None else seen.of_whole(padded)
            features = self.examiner(padded) if places is None else places
        if seen is None:
            seen = self._seen(padded, features, y.expand(-1, 3, -1, -1), kinds is None)
            seen = self._after_trial(padded, seen) if kinds is None else seen
        decided = self.decide(self.judge(seen)) if kinds is None else kinds.to(y)
        change = self.changed(padded, features, seen, decided)[..., :height, :width]
        return strength * (change if self.channels == 3 else change.mean(1, keepdim=True))

    def _apart(
        self,
        rows: Tensor,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        kinds: Tensor,
        strength: float | Tensor,
        seen: Impression | None,
    ) -> Tensor:
        """Compute `forward` for these pictures and for the others."""
        residual = torch.empty_like(y)
        for here in (rows, ~rows):
            share = strength[here] if isinstance(strength, Tensor) and strength.ndim else strength
            known = None if seen is None else seen.of(here)
            residual[here] = self(x[here], t[here], y[here], kinds[here], share, known)
        return residual

    def changed(self, padded: Tensor, features: Tensor, seen: Impression, decided: Tensor) -> Tensor:
        """See `Judging.changed`: 0 where nothing is decided."""
        if exporting() or valueless(decided):
            return self._change(padded, features, seen, decided)
        change = torch.zeros_like(padded)
        sick = decided.amax(1) > 0
        if sick.any():
            change[sick] = self._change_in_order(padded[sick], features[sick], seen.of(sick), decided[sick]).to(change)
        return change

    def _change(self, padded: Tensor, features: Tensor, seen: Impression, decided: Tensor) -> Tensor:
        """What becomes of pictures that are to be treated, 0 where nothing is decided."""
        found = self.mend(padded, features, seen, self._with_raised(padded, seen, decided))
        change = found.whole - found.toned
        if not seen.is_blank:
            change = F.interpolate(found.trust, scale_factor=float(PLACE), mode="bilinear") * change
        if found.toned is not padded:
            change = found.toned - seen.needed(padded) + change
        share = decided.amax(1)
        if exporting() or valueless(share) or (share < 1).any():
            change = share.view(-1, 1, 1, 1) * change
        return change if seen.spare is None else F.pad(change, seen.spare)

    def _with_raised(self, padded: Tensor, seen: Impression, decided: Tensor) -> Tensor:
        """Add noise to the kinds (B, kinds) where it shows when the picture is bright."""
        if self.trial is None or seen.is_blank or exporting() or valueless(decided):
            return decided
        raised = seen.raised
        if raised is None:
            raised = self.raised_noise(mosaic(padded, TRIAL_PARTS, TRIAL_SIDE), seen, decided)
        kinds = decided.clone()
        kinds[:, NOISE] = torch.maximum(decided[:, NOISE], raised * decided[:, LOWLIGHT])
        return kinds

    def _change_at_once(self, padded: Tensor, features: Tensor, seen: Impression, decided: Tensor) -> Tensor:
        """What becomes of pictures; those that a trial has treated for just that are not treated again."""
        known = seen.known(padded, decided)
        if known is None or seen.change is None:
            return self._change(padded, features, seen, decided)
        change, rest = seen.change.clone(), ~known
        if rest.any():
            change[rest] = self._change(padded[rest], features[rest], seen.of(rest), decided[rest]).to(change)
        return change

    def _change_in_order(self, padded: Tensor, features: Tensor, seen: Impression, decided: Tensor) -> Tensor:
        """What becomes of pictures, the noise first where there is haze too, which would raise it."""
        both = self._in_order(decided)
        if not both.any():
            return self._change_at_once(padded, features, seen, decided)
        first, then = decided.clone(), decided[both]
        first[both] = 0.0
        first[both, NOISE] = decided[both, NOISE]
        change = self._change_at_once(padded, features, seen._replace(spare=None), first)
        clear = (padded + change)[both].clamp(-1, 1)
        features = self._features(clear)
        if seen.clear is not None:
            after = seen.clear.of(both)
        else:  # by the parts that were tried, so that tiles of large pictures are toned like whole ones
            parts = mosaic(clear, TRIAL_PARTS, TRIAL_SIDE)
            after = impression(parts, features if parts.shape == clear.shape else self._features(parts))
            after = after._replace(raised=torch.zeros(len(clear), device=clear.device))
        change[both] = clear + self._change(clear, features, after, then) - padded[both]
        return change

    def _in_order(self, decided: Tensor) -> Tensor:
        """In which pictures noise goes before haze, (B,): where both are treated, by a network that makes trials."""
        return (decided[:, NOISE] > 0) & (decided[:, HAZE] > 0) & (self.trial is not None)

    def seeing(self, y: Tensor | LazyImages) -> "Treating":
        """Return the network for parts of whole pictures (B, 3, H, W).

        The kinds in them are decided once.
        """
        return Treating(self).seeing(y)

    def looking(self, y: Tensor | LazyImages, kinds: Tensor | None = None) -> Impression:
        """Sum up whole pictures of which parts are to be treated.

        Args:
            y: (B, 3, H, W) in [-1, 1].
            kinds: (B, kinds), what to treat; None for what is found.
        """
        if kinds is not None and everywhere(kinds).all():
            return Impression.blank(kinds)
        seen = self.look(y, kinds is None)
        if kinds is None:
            seen = seen._replace(judged=self.judge(seen))
        decided = self.decide(self.judge(seen)) if kinds is None else kinds
        if not (decided[:, [HAZE, LOWLIGHT]] > 0).any():
            return seen
        parts = pad_to_multiple(mosaic(y, TRIAL_PARTS, TRIAL_SIDE).expand(-1, 3, -1, -1), self.multiple)
        if self.trial is not None:
            seen = seen._replace(raised=self.raised_noise(parts, seen, decided))
        if not (decided[:, HAZE] > 0).any():
            return seen
        haze, dark = decided[:, HAZE], decided[:, LOWLIGHT]
        both = self._in_order(decided)
        depths = torch.zeros(len(both), 3, device=both.device) if both.all() else self._depths(y, seen, haze, dark)
        clear = Impression(seen.features.clone(), seen.levels.clone(), raised=torch.zeros_like(haze))
        for row in both.nonzero()[:, 0].tolist():
            here = slice(row, row + 1)
            known = None if seen.of_whole(parts) is None else seen.of(here)
            x = self.tried(parts[here], NOISE, known).x
            one = self._first_look(x)
            clear.features[here], clear.levels[here] = one.features, one.levels
            depths[here] = self._depths(x, one, haze[here], dark[here])
        return seen._replace(depths=depths, clear=clear._replace(depths=depths) if both.any() else None)

    def _depths(self, y: Tensor | LazyImages, seen: Impression, haze: Tensor, dark: Tensor) -> Tensor:
        """Least, greatest and mean optical depth of whole pictures, (B, 3)."""

        def depths(band: Tensor) -> Tensor:
            padded = pad_to_multiple(band.expand(-1, 3, -1, -1), self.multiple)
            features = seen.of_whole(padded)
            features = self.examiner(padded) if features is None else features
            return self.tone.depth_map(padded, features, seen, haze, dark)

        found = in_bands(depths, y, REACH + DEPTH_REACH, self.multiple, PLACE // 2, BAND).flatten(1)
        return torch.stack([*found.aminmax(dim=1), found.mean(1)], 1)

    def treating(self, kinds: Sequence[str], strength: float = 1.0) -> "Treating":
        """Make a network that treats these kinds, whatever is found.

        With a strength in [0, 1].

        Raises:
            ValueError: for a kind that is not one of `KINDS`, and for a strength outside [0, 1].
        """
        return Treating(self, kinds, strength)

    def mend(self, y: Tensor, features: Tensor, seen: Impression, kinds: Tensor) -> Parts:
        """Compute all parts for y (B, 3, H, W), whose sides are multiples of 16.

        From its features, what is seen of the whole, and the kinds to treat. Of a part of a picture, what is needed.
        """
        whole, depth = self.tone.undone(y, features, seen, kinds[:, HAZE], kinds[:, LOWLIGHT])
        toned = seen.needed(whole)
        y, features = seen.needed(y), seen.needed(features, PLACE)
        sharper = self.sharper(toned, kinds)
        residual, deep = self.trunk(toned, y, sharper, kinds)
        changed = residual + sharper
        if seen.is_blank:  # nothing but kinds that lie everywhere
            return Parts(kinds, toned, toned + changed, features.new_ones(len(features), 1, *features.shape[-2:]))
        trust = self.trust(features, deep, feature_blocks(toned + changed - y), kinds, self.examiner.logits(seen))
        held = self._held(kinds, depth)
        if exporting() or valueless(held) or held.any():
            changed = held_back(changed, held)
        return Parts(kinds, toned, toned + changed, trust)

    def _held(self, kinds: Tensor, depth: Tensor) -> Tensor:
        """Which share of slow changes is the tone's, (B,): those of rain and snow, which veil a picture, are the trunk's.

        What is left of noise after haze was taken out, which raises it, tells the trunk nothing slow.
        """
        steady = 1 - (1 - steadiness(depth)) * (1 - kinds[:, NOISE])
        held = torch.maximum(kinds[:, HAZE] * steady, STEADY_IN_DARK * kinds[:, LOWLIGHT])
        return held * (1 - kinds[:, [RAIN, SNOW]].amax(1))

    def sharper(self, toned: Tensor, kinds: Tensor) -> Tensor:
        """Compute what the equaliser adds to pictures (B, 3, H, W).

        Nothing where no kind is treated that it helps to remove. kinds: (B, kinds), what is treated.
        """
        if self.equaliser is None:
            return torch.zeros_like(toned)
        rows = (kinds[:, FILTERED] > 0).any(1)
        if exporting() or valueless(rows) or rows.all():
            image = toned.clamp(-1, 1).float()
            change = (self.equaliser(image) - image).to(toned)
            return torch.where(rows.view(-1, 1, 1, 1), change, torch.zeros_like(change)) if exporting() else change
        change = torch.zeros_like(toned)
        if rows.any():
            change[rows] = self.sharper(toned[rows], kinds[rows])
        return change


def everywhere(kinds: Tensor) -> Tensor:
    """Test for which pictures kinds are named that lie on all of them, and no others.

    Where these lie, and what else there is to see, does not matter then, and every change is trusted. A graph looks always.

    Args:
        kinds: (B, kinds) in [0, 1], what is treated.

    Returns:
        (B,), truth values.
    """
    if exporting() or valueless(kinds):
        return torch.zeros(len(kinds), dtype=torch.bool)
    rest = [kind for kind in range(kinds.shape[1]) if kind not in EVERYWHERE]
    return (kinds[:, EVERYWHERE] > 0).any(1) & ~(kinds[:, rest] > 0).any(1)
