"""A small U-Net made for the CPU.

Dense 3x3 convolutions at the fine levels, 7x7 depthwise ones at the coarsest.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.classifier import (
    ANSWER_REACH,
    BLOCK,
    BLOCKS_AT_ONCE,
    DegradationClassifier,
    block_statistics,
)
from rebridge.networks.conditions import ConditionLayers, conditions_of
from rebridge.networks.equaliser import FILTER_WINDOW, Equaliser
from rebridge.networks.exporting import exporting, valueless
from rebridge.networks.features import (
    GatedBlock,
    Pointwise,
    apply_blocks,
    entered,
    joined,
    modulated,
    shuffled,
    unshuffled,
)
from rebridge.networks.holes import fill_holes, holes
from rebridge.networks.layers import (
    ChannelNorm,
    Network,
    TimeEmbedding,
    check_inputs,
    check_levels,
    check_sizes,
    context_of,
    in_bands,
    in_float32,
    pad_to_multiple,
    replicate_border,
    zero_init,
)
from rebridge.networks.lazy import LazyImages


class WideBlock(nn.Module):
    """h + mlp(depthwise(norm(h))): a 7x7 depthwise convolution, then two 1x1 ones.

    Borders are replicated: zeros there would show the network how far the border is, and a training patch has
    borders everywhere while a full image has hardly any.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.look = nn.Conv2d(width, width, 7, groups=width)
        self.enter = nn.Conv2d(width, 2 * width, 1)
        self.leave = zero_init(nn.Conv2d(2 * width, width, 1))

    def forward(self, h: Tensor) -> Tensor:
        seen = self.look(replicate_border(self.norm(h), 3))
        return h + self.leave(F.silu(self.enter(seen)))


class ConditionedLevel(nn.Module):
    """Blocks that begin with h * (1 + scale) + shift.

    Scale and shift are affine in the time embedding and in `likely`, the probability of each class of degradation at each place,
    (B, kinds, H/16, W/16). Once per level and not once per block: on a CPU such a product is slow beside a convolution.

    Args:
        blocks: what follows.
        width: features.
        embedding: features of time.
        kinds: classes of degradations; 0 without a classifier.
    """

    def __init__(self, blocks: list[nn.Module], width: int, embedding: int, kinds: int) -> None:
        super().__init__()
        self.time = nn.Linear(embedding, 2 * width)
        self.kind = nn.Conv2d(kinds, 2 * width, 1, bias=False) if kinds else None
        self.blocks = nn.Sequential(*blocks)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(self, h: Tensor, embedding: Tensor, likely: Tensor | None) -> Tensor:
        maps = self.time(F.silu(embedding))
        maps = maps if self.kind is None else maps[:, :, None, None] + self.kind(likely)
        return apply_blocks(self.blocks, modulated(h, maps))


class Fast(Network):
    """A U-Net over 2x2-unshuffled pixels, without attention or global statistics.

    The output at a pixel depends on a window of the image only, never on the image's size: with the default sizes less than 276
    pixels to each side, 160 more with an equaliser. With `fill` a pixel near a hole depends on what surrounds the hole, up to 900
    pixels away. Before training, neither x nor t matters: what is learned from y at t = 1, where most of the training is, holds
    at all times until states of other times teach otherwise. Derived.

    Args:
        channels: of an image.
        widths: features of the levels, at 1/2, 1/4, 1/8, ... of the size.
        blocks: residual blocks before and again after the middle at each level but the last.
        middle: blocks at the last level.
        embedding: features of time.
        kinds: classes of the degradation classifier; its probabilities scale and shift the features of all levels. The classifier
            is trained with cross-entropy only (`loss.guide` in training); no gradient reaches it from the restoration loss. 0: no
            classifier.
        equalise: y as an `Equaliser` filters it is one more input, and what it changed is added to the output.
        ripples: as of `Equaliser`.
        fill: pixels of y that are missing, as `holes` finds them, are filled from around them before anything but the classifier
            sees y; what that changed is one more input and added to the output.
        optional_condition: one more input channel says if there is a degraded image at all; there is none where y is 0
            everywhere, the middle grey that 8-bit images do not have. For priors that also work without y.
        conditions: extra conditions, such as {"depth": "map"}; see `rebridge.networks.conditions`.
    """

    def __init__(
        self,
        channels: int = 3,
        widths: Sequence[int] = (32, 48, 64, 80),
        blocks: Sequence[int] = (2, 1, 1),
        middle: int = 3,
        embedding: int = 32,
        kinds: int = 0,
        equalise: bool = False,
        ripples: bool = False,
        fill: bool = False,
        optional_condition: bool = False,
        conditions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, middle=middle, embedding=embedding)
        check_levels(widths=widths, blocks=blocks)
        if len(blocks) != len(widths) - 1:
            raise ValueError(f"blocks must have one entry less than widths, got {len(blocks)} and {len(widths)}")
        if kinds and (kinds < 2 or channels != 3):
            raise ValueError(f"kinds must be 0, or at least 2 with 3 channels, got {kinds} with {channels} channels")
        if ripples and not equalise:
            raise ValueError("ripples are those of an equaliser: set equalise too")
        self.channels = channels
        self.kinds = kinds
        self.optional_condition = optional_condition
        self.conditions = conditions_of(conditions)
        self.multiple = max(2 ** len(widths), BLOCK if kinds else 1)
        self.context = max(context_of(blocks, middle), FILTER_WINDOW if equalise else 0)
        steps = list(itertools.pairwise(widths))

        def gated(width: int, count: int) -> ConditionedLevel:
            return ConditionedLevel([GatedBlock(width) for _ in range(count)], width, embedding, kinds)

        self.time = TimeEmbedding(embedding)
        self.guide = DegradationClassifier(kinds) if kinds else None
        self.equaliser = Equaliser(ripples=ripples) if equalise else None
        self.equalised = zero_init(nn.Conv2d(4 * channels, widths[0], 3, padding=1)) if equalise else None
        self.filled = zero_init(nn.Conv2d(4 * channels, widths[0], 3, padding=1)) if fill else None
        self.head = nn.Conv2d(8 * channels + 4 * optional_condition, widths[0], 3, padding=1)
        self.extra = ConditionLayers(self.conditions, 4, widths[0], embedding) if self.conditions else None
        self.before = nn.ModuleList(gated(width, n) for width, n in zip(widths, blocks, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(width, deeper, 2, stride=2) for width, deeper in steps)
        self.middle = ConditionedLevel([WideBlock(widths[-1]) for _ in range(middle)], widths[-1], embedding, kinds)
        self.up = nn.ModuleList(Pointwise(deeper, 4 * width) for width, deeper in steps)
        self.after = nn.ModuleList(gated(width, n) for width, n in zip(widths, blocks, strict=False))
        self.tail = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)
        zero_init(self.tail)
        with torch.no_grad():
            self.head.weight[:, : 4 * channels] = 0.0

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        y: Tensor,
        likely: Tensor | None = None,
        heard: Tensor | None = None,
        **conditions: Tensor,
    ) -> Tensor:
        """Compute the raw output for the state x at times t given y; see `Network`.

        Args:
            x: states (B, C, H, W).
            t: times (B,).
            y: degraded images (B, C, H, W).
            likely: `likely` of the whole images, where y are parts of them: (B, kinds, H/16, W/16).
            heard: what the equaliser hears of the whole images at their place, likewise; see `Equaliser.listen`.
            conditions: the extra ones, by name.

        Raises:
            ValueError: tensors that do not fit.
        """
        check_inputs(x, t, y, self.channels)
        height, width = x.shape[-2:]
        likely = self.likely(y) if likely is None else likely
        given = (y != 0).flatten(1).any(1) if self.optional_condition else None
        embedding = self.time(t)
        alone = given is not None and not exporting() and not valueless(given) and not given.any()
        known = y if self.filled is None or alone else fill_holes(y, holes(y))
        # before any features, as it needs room of its own
        sharper = None if self.equaliser is None else self.equaliser(known, heard) - known
        h = entered(self.head, [self._padded(image) for image in self._seen(x, known, given)])
        if self.extra is not None:
            embedding = self.extra.embedded(conditions, embedding)
            h = self.extra.seen(h, conditions, self._unshuffled)
        changed: Tensor | None = None
        if self.filled is not None and self.filled.bias is not None and alone:
            h = h + self.filled.bias[:, None, None]  # what it makes of nothing
        elif self.filled is not None:
            changed = known - y
            h = entered(self.filled, [self._padded(changed)], h)
        if sharper is not None and self.equalised is not None:
            h = entered(self.equalised, [self._padded(sharper)], h)
            changed = sharper if changed is None else changed + sharper
        skips = []
        for level, down in zip(self.before, self.down, strict=True):
            h = level(h, embedding, likely)
            skips.append(h)
            h = down(h)
        h = self.middle(h, embedding, likely)
        for level, up in zip(reversed(self.after), reversed(self.up), strict=True):
            h = level(joined(skips.pop(), cast(nn.Conv2d, up), h), embedding, likely)
        output = in_float32(partial(shuffled, self.tail), h)[..., :height, :width]
        return output if changed is None else output + changed

    def classify(self, y: Tensor) -> Tensor:
        """Compute the degradation classifier's logits for y (B, 3, H, W).

        Returns:
            (B, kinds, ceil(H/16), ceil(W/16)) in float32.

        Raises:
            ValueError: a network without a classifier.
        """
        if self.guide is None:
            raise ValueError("this network has no degradation classifier; create it with kinds")
        logits: Tensor = self.guide(pad_to_multiple(y, self.multiple))
        return logits

    def likely(self, y: Tensor) -> Tensor | None:
        """Compute the probability of each class at each place of y.

        Returns:
            (B, kinds, ceil(H/16), ceil(W/16)), or None without a classifier.
        """
        return None if self.guide is None else self.classify(y).detach().softmax(1)

    def seeing(self, y: Tensor | LazyImages) -> Network:
        """Return the network for parts of whole images.

        Classes and spectra are found once.
        """
        likely, heard = None, None
        if self.guide is not None:

            def measured(band: Tensor) -> Tensor:
                return block_statistics(pad_to_multiple(band, self.multiple))

            blocks = in_bands(measured, y, self.multiple, self.multiple, BLOCK)
            logits = in_bands(self.guide.answer, blocks, ANSWER_REACH, 1, pixels=BLOCKS_AT_ONCE)
            likely = logits.softmax(1)
        if self.equaliser is not None and self.filled is None:
            heard = self.equaliser.listen(y)
        return self if likely is None and heard is None else Parted(self, likely, heard)

    def _seen(self, x: Tensor, y: Tensor, given: Tensor | None) -> list[Tensor]:
        if given is None:
            return [x, y]
        return [x, y, given.to(x.dtype).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[-2:])]

    def _padded(self, image: Tensor) -> Tensor:
        return pad_to_multiple(image, self.multiple)

    def _unshuffled(self, image: Tensor) -> Tensor:
        return unshuffled([self._padded(image)])


class Parted(Network):
    """A `Fast` network for parts of images that have been seen as a whole.

    Args:
        network: the network itself.
        likely: (B, kinds, H/16, W/16), the probability of each class at each place of the whole, or of the part; None without a
            classifier.
        heard: what `Equaliser.listen` gives of the whole, or that of the part; None where the parts are heard for themselves.
    """

    def __init__(self, network: Fast, likely: Tensor | None, heard: Tensor | None) -> None:
        super().__init__()
        self.network = network
        self.channels = network.channels
        self.multiple = network.multiple
        self.context = network.context
        self.conditions = network.conditions
        self.likely = likely
        self.heard = heard

    def forward(self, x: Tensor, t: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        """Compute the raw output for the images, or the part of them; see `Network`."""
        output: Tensor = self.network(x, t, y, self.likely, self.heard, **conditions)
        return output

    def part(self, rows: slice, columns: slice) -> "Parted":
        """See `Network.part`.

        Rows and columns begin at multiples of 32, or of 16 without an equaliser.
        """
        return Parted(
            self.network,
            _cut(self.likely, rows, columns, BLOCK),
            _cut(self.heard, rows, columns, FILTER_WINDOW // 2, 1),
        )


def _cut(values: Tensor | None, rows: slice, columns: slice, side: int, more: int = 0) -> Tensor | None:
    """The values of a part, of which there is one for each `side` pixels, and some more at the end."""
    if values is None:
        return None
    down, across = (slice(part.start // side, -(-part.stop // side) + more) for part in (rows, columns))
    return values[..., down, across]
