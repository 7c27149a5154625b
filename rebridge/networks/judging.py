"""Judging whole pictures: what a careful network sees in them and finds.

A first look gathers features and numbers, a verdict decides by them; where that leaves rain, haze or raindrops open, a trial
takes them out, and where noise may hide haze, or hides in the dark, a look without it, or in the light, decides. Derived.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rebridge.networks.exporting import exporting, valueless
from rebridge.networks.impressions import PLACE, SHARES, Impression, impression
from rebridge.networks.kinds import CODED, HAZE, KINDS, LOWLIGHT, NOISE, RAIN, RAINDROP, SNOW, SOFT
from rebridge.networks.layers import Network, in_bands, pad_to_multiple
from rebridge.networks.lazy import LazyImages, mosaic
from rebridge.networks.statistics import air_map, even_share, picture_statistics, smooth_share
from rebridge.networks.toning import PLACE_REACH, Examiner, Tone
from rebridge.networks.trial import (
    TRIAL_PARTS,
    TRIAL_SIDE,
    DropTrial,
    HazeTrial,
    RainTrial,
    Unveiled,
    Wiped,
    change_maps,
    changed_share,
    coarseness,
    doubt_of_rain,
    numbers_of_trial,
    unveiled,
)
from rebridge.networks.verdict import Verdict, gathered

LEAST_AIR = 0.45
"""Brightness, in [0, 1], that a hundredth of a hazy picture exceeds."""
TRIED = -3.5
"""Logit of rain at a first look above which a trial decides."""
GRAINY, VEILED = 3.0, -3.0
"""Logits of noise and of haze above which haze is looked for again without the noise: sound grain is not as noisy."""
SURER = 0.9
"""How much surer of haze that look is, in logits: without noise fewer sound pictures are taken for hazy ones."""
HAZY = -2.0
"""Logit of haze above which it is taken out for a trial, which decides."""
DROPPED = -2.5
"""Logit of raindrops above which they are taken out for a trial, which decides, where nothing else but JPEG is treated."""
DROPS_SIDE = 160
"""Shorter side in pixels of pictures below which what is out of focus may as well be drops."""
DROPS_SPREAD = 1 / 8
"""Share of the places of a picture that must change where drops are taken out of it: fewer may as well be faces, or eyes."""
UNTRIED = 0.8
"""How much surer of haze a first look must be, in logits, where no trial follows it."""
RAISED = (2.0, 6.0)
"""Logits of noise in a brightened picture between which it goes from untreated to treated as noisy."""
COARSE = 1.5
"""How much surer of haze a verdict must be, in logits, in a compressed picture."""
BLOWN = 0.998
"""Brightness, in [0, 1], above which a place shows nothing: where a twentieth of a picture does, no rain is seen before it."""
STARRY = 0.2
"""Median of the brightness, in [0, 1], below which bright dots may as well be stars as snow."""
EVEN, GRAINLESS = 0.2, 0.5
"""Shares of even and of smooth cells above which a picture was drawn, as what a camera took has grain."""
BLACK, GRAINLESS_BLACK = 0.15, 0.15
"""Brightness that a hundredth of a picture exceeds, and share of smooth cells, by which drawings are told that are black."""
BAND = 2**20
"""Most pixels that are seen at once of a whole picture."""
REACH = 160
"""Rows above and below that a feature depends on."""


class Tried(NamedTuple):
    """Parts of a picture, or all of it, that were treated for one kind."""

    y: Tensor
    """(1, 3, H, W): the parts."""
    change: Tensor
    """(1, 3, H, W): what becomes of them."""
    before: Impression
    """What is seen of them."""

    @property
    def x(self) -> Tensor:
        """The parts as treated, (1, 3, H, W) in [-1, 1]."""
        return (self.y + self.change).clamp(-1, 1)


class Judging(Network):
    """A network that judges whole pictures before it treats them.

    See the head of this module.
    """

    multiple: int
    examiner: Examiner
    tone: Tone
    verdict: Verdict | None
    trial: RainTrial | None
    haze_trial: HazeTrial | None
    drop_trial: DropTrial | None
    low: Tensor
    high: Tensor

    def look(self, y: Tensor | LazyImages, trial: bool = True) -> Impression:
        """Sum up whole pictures (B, 3, H, W) in [-1, 1].

        Lazy ones by windows from all over them. trial: try to take rain out where it is open.
        """
        whole = mosaic(y) if isinstance(y, LazyImages) else y
        whole = whole.expand(-1, 3, -1, -1)
        padded = pad_to_multiple(whole, self.multiple)
        seen = self._first_look(padded, whole)
        seen = self._after_trial(padded, seen) if trial else seen
        return seen._replace(places=None) if isinstance(y, LazyImages) else seen

    def _first_look(self, padded: Tensor, picture: Tensor | None = None) -> Impression:
        return self._seen(padded, self._features(padded), picture)

    def _seen(self, padded: Tensor, features: Tensor, picture: Tensor | None, judged: bool = True) -> Impression:
        """What is seen of padded pictures; a map has no use for what was put beside them, which would shift its cells."""
        seen = impression(padded, features)._replace(places=features)
        if judged and self.verdict is not None:
            seen = seen._replace(measured=picture_statistics(padded))
            if self.verdict.maps or self.verdict.lights:
                seen = seen._replace(air=air_map(padded if picture is None else picture))
        return seen

    def _after_trial(self, padded: Tensor, seen: Impression) -> Impression:
        """Add what trials say of rain and of haze, and a look without noise, where the first look leaves them open.

        An exported graph looks once.
        """
        if self.trial is None or exporting() or valueless(padded):
            return seen
        judged = self.judge(seen).clone()
        doubt = doubt_of_rain(judged[:, CODED], judged[:, NOISE])
        judged[:, RAIN] -= doubt
        made: dict[tuple[int, int], Tried] = {}
        clear: dict[int, tuple[Tensor, Impression]] = {}  # without noise, where that was tried
        for row in ((judged[:, RAIN] > TRIED) & ~_glaring(seen)).nonzero()[:, 0].tolist():
            here = slice(row, row + 1)
            made[row, RAIN] = self.tried(padded[here], RAIN, seen.of(here))
            judged[here, RAIN] = self.trial(self.shown_by(made[row, RAIN])) - doubt[here]
        for row in ((judged[:, NOISE] > GRAINY) & (judged[:, HAZE] > VEILED)).nonzero()[:, 0].tolist():
            here = slice(row, row + 1)
            made[row, NOISE] = self.tried(padded[here], NOISE, seen.of(here))
            x = made[row, NOISE].x
            clear[row] = x, self._first_look(x)
            judged[here, HAZE] = self.judge(clear[row][1])[:, HAZE] + SURER
        if self.haze_trial is not None:
            for row in (judged[:, HAZE] > HAZY).nonzero()[:, 0].tolist():
                here = slice(row, row + 1)
                picture, known = clear.get(row, (padded[here], seen.of(here)))
                if not hazeless(known).any():
                    judged[here, HAZE] = self.haze_trial(self.unveiled(judged[here, HAZE], picture, known))
        if self.drop_trial is not None:
            for row in self._may_have_drops(padded, judged, seen).nonzero()[:, 0].tolist():
                here = slice(row, row + 1)
                made[row, RAINDROP] = self.tried(padded[here], RAINDROP, seen.of(here))
                shown = self.shown_of(made[row, RAINDROP])
                logit = self.drop_trial(shown)
                judged[here, RAINDROP] = torch.where(
                    changed_share(shown.maps) < DROPS_SPREAD, logit.clamp(max=0), logit
                )
        return self._with_changes(padded, seen._replace(judged=judged), made)

    def _may_have_drops(self, padded: Tensor, judged: Tensor, seen: Impression) -> Tensor:
        """Tell pictures in which a trial is to look for raindrops, (B,), by all that was judged (B, kinds)."""
        others = self.decide(judged)
        if min(padded.shape[-2:]) < DROPS_SIDE:
            return torch.zeros_like(others[:, 0], dtype=torch.bool)
        others[:, [RAINDROP, CODED]] = 0.0
        return (judged[:, RAINDROP] > DROPPED) & ~(others > 0).any(1) & ~_drawn(seen)

    def _with_changes(self, padded: Tensor, seen: Impression, made: dict[tuple[int, int], Tried]) -> Impression:
        """Keep what became of whole pictures in trials, where that is to be done with them, or the first part of it."""
        decided = self.decide(self.judge(seen))
        kept: dict[int, tuple[int, Tensor]] = {}
        for (row, kind), trial in made.items():  # those for noise come last: it goes first
            if trial.y.shape[-2:] == padded.shape[-2:] and decided[row, kind] == 1:
                kept[row] = kind, trial.change
        if not kept:
            return seen
        treated, change = torch.zeros_like(decided), torch.zeros_like(padded)
        for row, (kind, found) in kept.items():
            treated[row, kind] = 1.0
            change[row : row + 1] = found
        return seen._replace(treated=treated, change=change)

    def tried(self, picture: Tensor, kind: int, seen: Impression | None = None) -> Tried:
        """Treat parts of a picture for one kind.

        Args:
            picture: (1, 3, H, W), sides multiples of 16.
            kind: its place among `KINDS`.
            seen: a first look at it, which is not repeated where the picture is tried as a whole.
        """
        y = mosaic(picture, TRIAL_PARTS, TRIAL_SIDE)
        seen = self._first_look(y) if seen is None or y.shape != picture.shape else seen
        named = torch.zeros(1, len(KINDS), device=y.device)
        named[:, kind] = 1.0
        return Tried(y, self.changed(y, self._features_of(y, seen), seen, named), seen)

    @torch.no_grad()
    def unveiled(self, haze: Tensor, picture: Tensor, seen: Impression) -> Unveiled:
        """Collect what a `HazeTrial` judges by.

        The tone takes haze out of parts of a picture.

        Args:
            haze: logit of haze before, (1,).
            picture: (1, 3, H, W), sides multiples of 16.
            seen: a first look at it.
        """
        y = mosaic(picture, TRIAL_PARTS, TRIAL_SIDE)
        one = torch.ones(1, device=y.device)
        known = y, self._features_of(y, seen), seen, one, 0 * one
        return unveiled(haze, y, self.tone(*known).clamp(-1, 1), self.tone.depth_map(*known))

    def shown_of(self, trial: Tried) -> Wiped:
        """Collect what a `DropTrial` judges a trial by."""
        return Wiped(change_maps(trial.y, trial.x), self.shown_by(trial))

    def shown_by(self, trial: Tried) -> Tensor:
        """Collect what a `RainTrial` judges a trial by, (1, known)."""
        x = trial.x
        return numbers_of_trial(self.judge(trial.before), self.judge(self._first_look(x)), trial.y, x)

    def changed(self, padded: Tensor, features: Tensor, seen: Impression, decided: Tensor) -> Tensor:
        """Compute what becomes of pictures, (B, 3, H, W).

        Args:
            padded: the pictures, (B, 3, H, W) with sides that are multiples of 16.
            features: the examiner's of them.
            seen: of the whole pictures.
            decided: (B, kinds) in [0, 1], what is treated.
        """
        raise NotImplementedError("a network that judges defines changed(padded, features, seen, decided)")

    @torch.no_grad()
    def raised_noise(self, parts: Tensor, seen: Impression, kinds: Tensor) -> Tensor:
        """Look for noise that shows when dark pictures are bright.

        Args:
            parts: of the pictures, (B, 3, H, W), sides multiples of 16.
            seen: of the whole pictures.
            kinds: (B, kinds) in [0, 1], what is treated.

        Returns:
            How much it is to be treated, in [0, 1]; 0 where noise is treated anyhow or the exposure is not, (B,).
        """
        raised = torch.zeros(len(parts), device=parts.device)
        for row in ((kinds[:, LOWLIGHT] > 0) & (kinds[:, NOISE] == 0)).nonzero()[:, 0].tolist():
            here = slice(row, row + 1)
            y, one = parts[here], seen.of(here)
            toned = self.tone(y, self._features_of(y, one), one, kinds[here, HAZE], kinds[here, LOWLIGHT])
            raised[row] = self.judge(self._first_look(toned.clamp(-1, 1)))[0, NOISE]
        least, most = RAISED
        return ((raised - least) / (most - least)).clamp(0, 1)

    def judge(self, seen: Impression) -> Tensor:
        """Judge whole pictures by what is seen of them.

        Returns logits (B, kinds) of the kinds that are there.

        Faint noise is seen by the examiner's own filters before a verdict hears of it: the greater of both counts. Sound
        pictures may be soft, and blur takes both: there the lesser counts. The air of haze is bright: a picture that is dark
        everywhere may be pale, and would only get darker. Dots in the dark may be stars. A drawing has neither weather nor an
        exposure, and before what is overexposed no rain is seen. JPEG takes contrast as haze does. What was judged already, and
        tried, stays as it is.
        """
        if seen.judged is not None:
            return seen.judged
        logits = self.examiner.logits(seen)
        return logits if self.verdict is None else self._heard(seen, logits)

    def _heard(self, seen: Impression, logits: Tensor) -> Tensor:
        """Logits of the verdict, bounded by those of the examiner."""
        assert self.verdict is not None
        decided: Tensor = self.verdict(gathered(seen, logits), seen.air).clone()
        decided[:, NOISE] = torch.maximum(decided[:, NOISE], logits[:, NOISE])
        decided[:, SOFT] = torch.minimum(decided[:, SOFT], logits[:, SOFT])
        decided[:, HAZE] = decided[:, HAZE] - COARSE * coarseness(decided[:, CODED])
        starry, drawn = _brightness(seen, 0.5) < STARRY, _drawn(seen)
        if self.haze_trial is not None and exporting():
            decided[:, HAZE] = decided[:, HAZE] - UNTRIED
        weather = (RAIN, _glaring(seen)), (HAZE, hazeless(seen)), (SNOW, starry | drawn), (LOWLIGHT, drawn)
        for kind, unsure in weather:
            decided[:, kind] = torch.where(unsure, decided[:, kind].clamp(max=0), decided[:, kind])
        return decided

    def _features(self, padded: Tensor) -> Tensor:
        """The examiner's features; what places show by themselves is taken from a large picture in bands."""
        return self.examiner.joined(in_bands(self.examiner.near, padded, PLACE_REACH, PLACE, PLACE, BAND))

    def _features_of(self, y: Tensor, seen: Impression) -> Tensor:
        """Features of pictures (B, 3, H, W), computed unless these are what was seen."""
        places = seen.of_whole(y)
        return self._features(y) if places is None else places

    def examine(self, y: Tensor) -> Tensor:
        """Estimate the probability (B, kinds) of each kind of `KINDS`.

        For pictures (B, 3, H, W) in [-1, 1].
        """
        return self.judge(self.look(y)).sigmoid()

    def diagnose(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Network.diagnose`."""
        return self.diagnosed(self.look(y))

    def diagnosed(self, seen: Impression) -> tuple[Tensor, Tensor]:
        """Estimate what ails pictures, as `Network.diagnose`, from what was seen of them."""
        logits = self.judge(seen)
        return logits.float().sigmoid(), self.decide(logits)

    def decide(self, logits: Tensor) -> Tensor:
        """Turn logits (B, kinds) into what is treated, in [0, 1].

        Nothing below the probability `low`, all above `high`.
        """
        low, high = self.low.float(), self.high.float()
        return ((logits.float().sigmoid() - low) / (high - low).clamp_min(1e-3)).clamp(0, 1)


def _brightness(seen: Impression, share: float) -> Tensor:
    """Find the brightness that a share of each picture does not exceed, (B,) in [0, 1]."""
    return seen.levels[:, :3, SHARES.index(share)].mean(1)


def _glaring(seen: Impression) -> Tensor:
    """Tell pictures that are overexposed, (B,): what is left of their contrast looks like streaks."""
    return _brightness(seen, 0.95) > BLOWN


def hazeless(seen: Impression) -> Tensor:
    """Tell pictures that cannot be hazy, (B,): dark everywhere, or drawn."""
    return (_brightness(seen, 0.99) < LEAST_AIR) | _drawn(seen)


def _drawn(seen: Impression) -> Tensor:
    """Tell pictures that were drawn from those that a camera took, (B,)."""
    black = _brightness(seen, 0.99) < BLACK
    if seen.air is None:
        return torch.zeros_like(black)
    smooth = smooth_share(seen.air)
    return (even_share(seen.air) > EVEN) | (smooth > GRAINLESS) | (black & (smooth > GRAINLESS_BLACK))
