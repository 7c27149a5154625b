"""Decisions for a picture as a whole.

The kinds of degradation in it, its air and its exposure.

Haze and darkness change a picture by a map of few parameters, y = t x + (1 - t) A and y = cast x^gamma. A small network that
estimates the parameters and inverts the map works on pictures unlike those it was trained on, where one that paints the
change pixel by pixel does not. The depth is a learned share of that of the dark channel prior (He, Sun and Tang 2009), and a
learned map; where haze is dense it leans on the prior itself. Derived; Koschmieder 1924, and the guided filter of He et al. 2010
for the edges of t.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.averages import block_means, surrounding_means
from rebridge.networks.classifier import STATISTICS, block_statistics
from rebridge.networks.exporting import exporting, valueless
from rebridge.networks.impressions import SHARES, Impression
from rebridge.networks.layers import zero_init
from rebridge.networks.trunk import Norm

PLACE_REACH = 32
"""Pixels above and below that what a place shows by itself depends on."""
DETAIL = 8.0
"""Factor on differences to the surroundings, which are small beside the brightness and tell more."""
HAZE_KEPT = 0.94
"""Share of the haze that the dark channel prior would remove; some of it is what makes things look far."""
LEAN = 0.3
"""Weight of the dark channel prior beside what was learned, for each unit of optical depth of the median place."""
MOST_LEAN = 0.7
"""Most of that weight."""
LEAK = 0.05
"""Slope of the optical depth outside of [0, `DEEPEST`]."""
DEEPEST = 2.8
"""Greatest optical depth that is undone: a transmission of 0.06."""


class DilatedBlock(nn.Module):
    """h + conv(gelu(conv(h))), 3x3 with borders repeated."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, padding_mode="replicate")
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W) to the same."""
        result: Tensor = h + self.second(F.gelu(self.first(h)))
        return result


class Surroundings(nn.Module):
    """Features (B, width, H/16, W/16) of statistics of blocks around a place.

    The statistics are those of `classifier.block_statistics`.
    """

    def __init__(self, width: int, inner: int = 48) -> None:
        super().__init__()
        self.enter = nn.Conv2d(STATISTICS, inner, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(inner, inner, 3, padding=1) for _ in range(2))
        self.norms = nn.ModuleList(Norm(inner) for _ in range(2))
        self.leave = nn.Conv2d(inner, width, 1)

    def forward(self, measured: Tensor) -> Tensor:
        """Statistics (B, STATISTICS, H/16, W/16)."""
        h = F.gelu(self.enter(measured))
        for norm, inner in zip(self.norms, self.inner, strict=True):
            h = F.gelu(inner(norm(h)))
        features: Tensor = self.leave(h)
        return features


class Examiner(nn.Module):
    """Features (B, width, H/16, W/16) of y (B, 3, H, W) in [-1, 1].

    And what they say of the kinds of degradation.

    Learned filters and the statistics that `guide` has, then convolutions over blocks; the answer is for a picture as a
    whole, from its `Impression`.
    """

    def __init__(self, kinds: int, width: int) -> None:
        super().__init__()
        self.stem = nn.ModuleList(
            [
                nn.Conv2d(24, 32, 3, padding=1),
                nn.Conv2d(32, 48, 3, padding=1, stride=2),
                nn.Conv2d(48, 64, 3, padding=1, stride=2),
                nn.Conv2d(64, width, 3, padding=1, stride=2),
            ]
        )
        self.norms = nn.ModuleList(Norm(size) for size in (32, 48, 64, width))
        self.measured = nn.Conv2d(STATISTICS, width, 1)
        self.around = Surroundings(width)
        self.blocks = nn.Sequential(*[DilatedBlock(width) for _ in range(3)])
        self.place = nn.Conv2d(width, kinds, 1)
        self.level = nn.LayerNorm(3 * width)
        self.first = nn.Linear(3 * width, width)
        self.second = nn.Linear(width, kinds)

    def forward(self, y: Tensor) -> Tensor:
        """Features of y, whose sides are multiples of 16."""
        return self.joined(self.near(y))

    def near(self, y: Tensor) -> Tensor:
        """Collect what places show by themselves, (B, width + STATISTICS, H/16, W/16).

        It depends on what lies within `PLACE_REACH`.
        """
        detail = torch.tanh(DETAIL * (y - surrounding_means(y)))
        h = F.pixel_unshuffle(torch.cat([y, detail], 1), 2).contiguous(memory_format=torch.channels_last)
        for layer, norm in zip(self.stem, self.norms, strict=True):
            h = F.gelu(norm(layer(h)))
        return torch.cat([h, block_statistics(y).to(h)], 1)

    def joined(self, near: Tensor) -> Tensor:
        """Features from what all places show by themselves."""
        h, measured = near.split([near.shape[1] - STATISTICS, STATISTICS], 1)
        features: Tensor = self.blocks(h + self.measured(measured) + self.around(measured))
        return features

    def logits(self, seen: Impression) -> Tensor:
        """Logits (B, kinds) in float32 whatever autocast computes in."""
        mean = seen.features[:, : seen.features.shape[1] // 3]
        everywhere = self.place(mean[:, :, None, None]).flatten(1)
        logits: Tensor = self.second(F.gelu(self.first(self.level(seen.features)))) + everywhere
        return logits.float()


class Cells(NamedTuple):
    """Colours of blocks of 8 x 8 pixels, each (B, 3, H/8, W/8) in [0, 1]."""

    mean: Tensor
    least: Tensor
    greatest: Tensor

    @classmethod
    def of(cls, image: Tensor) -> "Cells":
        """Sum up pictures (B, 3, H, W) in [0, 1], whose sides are multiples of 8."""
        return cls(block_means(image, 8), -F.max_pool2d(-image, 8), F.max_pool2d(image, 8))


class Toned(NamedTuple):
    """Pictures of which air and exposure were undone."""

    picture: Tensor
    """(B, 3, H, W)"""
    depth: Tensor
    """(B,): mean optical depth of the whole pictures, 0 where none was looked for."""


class Tone(nn.Module):
    """z (B, 3, H, W), y without the air between and at a good exposure.

    It is y itself where neither is called for.
    """

    def __init__(self, features: int, width: int = 64) -> None:
        super().__init__()
        known = 3 * features + 4 * len(SHARES) + 2
        self.level = nn.LayerNorm(3 * features)
        self.norm = Norm(features)
        self.judge = nn.Sequential(nn.Linear(known, 128), nn.GELU(), nn.Linear(128, 96), nn.GELU())
        self.air = nn.Linear(96, 3)
        self.curve = nn.Linear(96, 9)
        self.far = nn.Conv2d(features, width, 1)
        self.near = nn.Conv2d(13, width, 3, padding=1, padding_mode="replicate")
        self.told = nn.Linear(96, width)
        self.blocks = nn.Sequential(*[DilatedBlock(width, dilation) for dilation in (1, 2, 4, 2, 1)])
        self.depth = nn.Conv2d(width, 1, 1)
        self.share = nn.Linear(96, 1)
        for layer in (self.air, self.curve, self.depth, self.share):
            zero_init(layer)

    def forward(self, y: Tensor, features: Tensor, seen: Impression, haze: Tensor, dark: Tensor) -> Tensor:
        """Compute z, in float32.

        Sides of y are multiples of 16; haze, dark: (B,) in [0, 1], how much to treat each.
        """
        return self.undone(y, features, seen, haze, dark).picture

    def undone(self, y: Tensor, features: Tensor, seen: Impression, haze: Tensor, dark: Tensor) -> Toned:
        """Compute z as `forward` does, and say how dense the haze was."""
        rows = (haze > 0) | (dark > 0)
        if exporting() or valueless(rows):
            picture, depth = self._toned(y, features, seen, haze, dark)
            return Toned(torch.where(rows.view(-1, 1, 1, 1), picture, y), depth)
        depths = torch.zeros(len(y), device=y.device)
        if not rows.any():
            return Toned(y, depths)
        toned = y.clone()
        picture, depths[rows] = self._toned(y[rows], features[rows], seen.of(rows), haze[rows], dark[rows])
        toned[rows] = picture.to(toned)
        return Toned(toned, depths)

    def depth_map(self, y: Tensor, features: Tensor, seen: Impression, haze: Tensor, dark: Tensor) -> Tensor:
        """Compute the optical depth that `forward` takes out, (B, 1, H/8, W/8)."""
        return self._coarse(Cells.of((y.float() + 1) / 2), features, *self._judged(seen, haze, dark))

    def _toned(self, y: Tensor, features: Tensor, seen: Impression, haze: Tensor, dark: Tensor) -> Toned:
        image = (y.float() + 1) / 2
        picture, depth = self.applied(image, Cells.of(image), features, seen, haze, dark)
        return Toned(2 * picture - 1, depth)

    def applied(
        self, image: Tensor, cells: Cells, features: Tensor, seen: Impression, haze: Tensor, dark: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Undo air and exposure of pictures (B, 3, h, w) in [0, 1].

        By cells and features of the same ones, whose size may have been greater.

        Returns:
            The pictures, in about [0, 1], and the mean optical depth of the whole ones, (B,).
        """
        judged, air, lean = self._judged(seen, haze, dark)
        coarse = self._coarse(cells, features, judged, air, lean)
        whole, span = coarse.mean((1, 2, 3)), None
        if seen.depths is not None:
            whole, span = seen.depths[:, 2], seen.depths[:, :2]
        fine = guided(coarse, cells.mean.mean(1, keepdim=True), image.mean(1, keepdim=True), span=span)
        depth = haze.view(-1, 1, 1, 1) * fine
        return self._exposed((image - air) * depth.exp() + air, judged, dark), whole

    def _judged(self, seen: Impression, haze: Tensor, dark: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is known of pictures as a whole (B, 96), their air (B, 3, 1, 1) and how far to lean on a prior (B, 1, 1, 1).

        What was learned errs to too little in dense haze of other make, and the dark channel prior to too much.
        """
        known = [self.level(seen.features).float(), seen.levels.flatten(1), haze[:, None], dark[:, None]]
        judged = self.judge(torch.cat(known, 1))
        air = seen.levels[:, :3, -1] + 0.3 * torch.tanh(self.air(judged).float())
        median = seen.levels[:, 3, SHARES.index(0.5)] / air.mean(1).clamp_min(0.05)
        lean = (LEAN * prior_depth(median)).clamp(max=MOST_LEAN)
        if self.training:  # what is learned would take the prior's error back
            lean = torch.zeros_like(lean)
        return judged, air[:, :, None, None], lean.view(-1, 1, 1, 1)

    def _coarse(self, cells: Cells, features: Tensor, judged: Tensor, air: Tensor, lean: Tensor) -> Tensor:
        """Optical depth -log t, (B, 1, H/8, W/8)."""
        scaled = cells.mean / air.clamp_min(0.05)
        seen = torch.cat([*cells, scaled, scaled.amin(1, keepdim=True)], 1)
        far = F.interpolate(self.far(self.norm(features)), scale_factor=2.0, mode="nearest")
        h = F.gelu(self.near(seen) + far + self.told(judged)[:, :, None, None])
        depth = self.depth(self.blocks(h)).float() + 0.1
        # Beyond its range with a small slope and not with none: a map that once leaves it must find back.
        depth = depth - (1 - LEAK) * ((depth - DEEPEST).clamp_min(0) + depth.clamp_max(0))
        darkest = -F.max_pool2d(-(cells.least / air.clamp_min(0.05)).amin(1, keepdim=True), 3, 1, 1)
        prior = prior_depth(darkest)
        depth = depth + self.share(judged).float().sigmoid()[:, :, None, None] * prior
        return torch.lerp(depth, prior, lean)

    def _exposed(self, image: Tensor, judged: Tensor, dark: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in about [0, 1], each colour by black point, gain and power; the same where dark is 0."""
        weight = dark.view(-1, 1, 1, 1)
        black, gain, power = self.curve(judged).float()[:, :, None, None].chunk(3, 1)
        gain, power = weight * (4 * torch.tanh(gain / 2)), weight * (1.5 * torch.tanh(power))
        raised = ((image - weight * 0.2 * torch.tanh(black)) * gain.exp()).clamp(1e-3, 1.5)
        curved = raised ** power.exp()
        return torch.where(weight > 0, curved, image).clamp(-0.3, 1.3)


def prior_depth(dark: Tensor) -> Tensor:
    """Optical depth by the dark channel prior (He, Sun and Tang 2009), at least 0.

    dark: darkest colour around each place beside the air, in [0, 1].
    """
    return -torch.log((1 - HAZE_KEPT * dark).clamp(1 - HAZE_KEPT, 1))


def guided(coarse: Tensor, guide: Tensor, fine: Tensor, eps: float = 2e-4, span: Tensor | None = None) -> Tensor:
    """Enlarge a coarse map so that its edges lie where those of a picture lie.

    Args:
        coarse: (B, 1, h, w).
        guide: brightness of the picture at that size, (B, 1, h, w).
        fine: brightness at the full size, (B, 1, H, W).
        eps: variance of the brightness below which a place counts as flat.
        span: (B, 2), the range of the coarse map, where that is a part of one.

    Returns:
        (B, 1, H, W): a * fine + b with a, b fitted over 5x5 places of the coarse map, within the range of that.
    """

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 5, 1, 2, count_include_pad=False)

    centre, level = mean(guide), mean(coarse)
    slope = (mean(guide * coarse) - centre * level) / (mean(guide.square()) - centre.square() + eps)
    lines = torch.cat([mean(slope), mean(level - slope * centre)], 1)
    slope, offset = F.interpolate(lines, size=fine.shape[-2:], mode="bilinear").chunk(2, 1)
    if span is None:
        low, high = coarse.amin((1, 2, 3), keepdim=True), coarse.amax((1, 2, 3), keepdim=True)
    else:
        low, high = span[:, :, None, None].chunk(2, 1)
    return torch.minimum(torch.maximum(slope * fine + offset, low), high)
