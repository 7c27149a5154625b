"""ResShift's network: a U-Net with shifted-window attention in every level.

It predicts the clean latent from the state and the picture in low quality. Yue et al., arXiv 2307.12348; window attention with a
bias for relative positions from Liu et al., arXiv 2103.14030.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rebridge.networks.layers import ScaleShift, check_levels, check_sizes, pad_to_multiple

_GROUPS = 32


class NormedBlock(nn.Module):
    """Residual block of group norm, SiLU and convolution, twice.

    The time scales and shifts in between.
    """

    def __init__(self, width: int, out_width: int, embedding: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(_GROUPS, width)
        self.first = nn.Conv2d(width, out_width, 3, padding=1)
        self.modulate = ScaleShift(embedding, out_width)
        self.second_norm = nn.GroupNorm(_GROUPS, out_width)
        self.second = nn.Conv2d(out_width, out_width, 3, padding=1)
        self.match = nn.Conv2d(width, out_width, 1) if width != out_width else nn.Identity()

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Map features (B, width, H, W) to (B, out_width, H, W) at an embedded time."""
        inner = self.first(F.silu(self.first_norm(h)))
        inner = self.second(F.silu(self.modulate(self.second_norm(inner), embedding)))
        return self.match(h) + inner


class WindowAttention(nn.Module):
    """Attention inside square windows, with a bias for every relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.project = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)

    def forward(self, h: Tensor, shift: int) -> Tensor:
        """Attend in windows of features (B, C, H, W), H and W multiples of the window.

        shift: pixels by which the windows are moved; they wrap around.
        """
        if shift:
            h = h.roll((-shift, -shift), (2, 3))
        batch, width, height, breadth = h.shape
        side, rows, columns = self.window, height // self.window, breadth // self.window
        tokens = h.reshape(batch, width, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        q, k, v = self.project(tokens.reshape(batch, rows * columns, side * side, width)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in (q, k, v))
        mask = self.bias[self._positions(h.device)].permute(2, 0, 1).to(q.dtype)
        if shift:
            mask = mask + _apart(rows, columns, side, shift, q)[:, None]
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        tokens = self.leave(seen.transpose(2, 3).flatten(3))
        tokens = tokens.reshape(batch, rows, columns, side, side, width).permute(0, 5, 1, 3, 2, 4)
        h = tokens.reshape(batch, width, height, breadth)
        return h.roll((shift, shift), (2, 3)) if shift else h

    def _positions(self, device: torch.device) -> Tensor:
        """Find each pair's row in the table of biases, (window^2, window^2)."""
        side = self.window
        place = torch.arange(side * side, device=device)
        row = place[:, None] // side - place[None] // side + side - 1
        column = place[:, None] % side - place[None] % side + side - 1
        return row * (2 * side - 1) + column


class WindowBlock(nn.Module):
    """Window attention and a perceptron of each pixel, both added to the features."""

    def __init__(self, width: int, heads: int, window: int, expansion: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.attend = WindowAttention(width, heads, window)
        self.second_norm = nn.GroupNorm(_GROUPS, width)
        self.enter = nn.Conv2d(width, expansion * width, 1)
        self.leave = nn.Conv2d(expansion * width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Features (B, width, H, W)."""
        h = h + self.attend(self.norm(h), self.shift)
        return h + self.leave(F.gelu(self.enter(self.second_norm(h))))


class WindowLayer(nn.Module):
    """Window blocks in a width of their own, every other one moved by half a window."""

    def __init__(
        self, width: int, embed: int, heads: int, window: int, depth: int, expansion: int, shifted: bool
    ) -> None:
        super().__init__()
        self.enter = nn.Conv2d(width, embed, 1)
        self.blocks = nn.ModuleList(
            WindowBlock(embed, heads, window, expansion, window // 2 if shifted and i % 2 else 0) for i in range(depth)
        )
        self.leave = nn.Conv2d(embed, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        """Features (B, width, H, W), replaced and not added to."""
        h = self.enter(h)
        for block in self.blocks:
            h = block(h)
        return self.leave(h)


class SwinUNet(nn.Module):
    """U-Net with window attention after the first residual block of each level.

    Args:
        channels: Channels of a latent.
        condition: Channels of the picture in low quality.
        width: Features of the finest level, a multiple of 32.
        multipliers: Multiples of `width`, one per level.
        blocks: Residual blocks of each level.
        attention: For each level, whether it has window attention.
        shifted: For each level, whether every other window block is moved; not where training had one window.
        embed: Features of window attention.
        heads: Its heads.
        window: Side of a window.
        depth: Window blocks of a level.
        expansion: Of their perceptrons.
        extractor: Features of the convolutions that bring the picture to the latent's size, halving it after each but
            the first pair; empty where the picture has the latent's size.
    """

    def __init__(
        self,
        channels: int = 3,
        condition: int = 3,
        width: int = 160,
        multipliers: Sequence[int] = (1, 2, 2, 4),
        blocks: Sequence[int] = (2, 2, 2, 2),
        attention: Sequence[bool] = (True, True, True, True),
        shifted: Sequence[bool] = (True, True, True, False),
        embed: int = 192,
        heads: int = 6,
        window: int = 8,
        depth: int = 2,
        expansion: int = 4,
        extractor: Sequence[int] = (),
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, width=width, window=window, depth=depth)
        check_levels(multipliers=multipliers, blocks=blocks)
        levels = len(multipliers)
        self.channels, self.sinusoids = channels, width
        self.factor = 2 ** (len(extractor) // 2)
        self.multiple = window * 2 ** (levels - 1)
        embedding = 4 * width
        widths = [width * multiplier for multiplier in multipliers]

        def layer(level: int) -> WindowLayer:
            return WindowLayer(widths[level], embed, heads, window, depth, expansion, shifted[level])

        self.time = nn.ModuleList([nn.Linear(width, embedding), nn.Linear(embedding, embedding)])
        self.extract = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, stride=1 + i % 2)
            for i, (before, after) in enumerate(zip([condition, *extractor], extractor, strict=False))
        )
        seen = extractor[-1] if extractor else condition
        self.head = nn.Conv2d(channels + seen, width, 3, padding=1)
        kept = self._build_descent(widths, blocks, embedding)
        self.descent_attend = nn.ModuleDict({str(i): layer(i) for i in range(levels) if attention[i]})
        self.middle_first = NormedBlock(widths[-1], widths[-1], embedding)
        self.middle_attend = layer(levels - 1)
        self.middle_second = NormedBlock(widths[-1], widths[-1], embedding)
        self._build_ascent(widths, blocks, embedding, kept)
        last = levels - 1
        self.ascent_attend = nn.ModuleDict({str(i): layer(last - i) for i in range(levels) if attention[last - i]})
        self.norm = nn.GroupNorm(_GROUPS, widths[0])
        self.tail = nn.Conv2d(widths[0], channels, 3, padding=1)

    def _build_descent(self, widths: Sequence[int], blocks: Sequence[int], embedding: int) -> list[int]:
        """Make the levels on the way down and return the widths of the features that are kept."""
        kept = [self.sinusoids]
        self.descent, self.down = nn.ModuleList(), nn.ModuleList()
        for level, size in enumerate(widths):
            stage = nn.ModuleList()
            for _ in range(blocks[level]):
                stage.append(NormedBlock(kept[-1], size, embedding))
                kept.append(size)
            self.descent.append(stage)
            if level < len(widths) - 1:
                self.down.append(nn.Conv2d(size, size, 3, stride=2, padding=1))
                kept.append(size)
        return kept

    def _build_ascent(self, widths: Sequence[int], blocks: Sequence[int], embedding: int, kept: list[int]) -> None:
        """Make the levels on the way up, whose blocks take the kept features in."""
        inside = widths[-1]
        self.ascent, self.up = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            size, stage = widths[level], nn.ModuleList()
            for _ in range(blocks[level] + 1):
                stage.append(NormedBlock(inside + kept.pop(), size, embedding))
                inside = size
            self.ascent.append(stage)
            if level:
                self.up.append(nn.Conv2d(size, size, 3, padding=1))

    def forward(self, x: Tensor, index: Tensor, picture: Tensor) -> Tensor:
        """Predict the clean latent.

        Args:
            x: Scaled state, (B, C, h, w).
            index: Index of the time from 0, (B,).
            picture: In low quality, (B, condition, factor h, factor w) in [-1, 1].

        Returns:
            Clean latent, (B, C, h, w).

        Raises:
            ValueError: For a picture of another size.
        """
        height, width = x.shape[-2:]
        if picture.shape[-2:] != (self.factor * height, self.factor * width):
            raise ValueError(
                f"the picture must be {self.factor} times as large as the latent, got {tuple(picture.shape[-2:])} "
                f"for {height} x {width}"
            )
        embedding = self._embed(index)
        seen = pad_to_multiple(picture, self.factor * self.multiple)
        for i, convolution in enumerate(self.extract):
            seen = F.silu(convolution(seen)) if i % 2 == 0 else convolution(seen)
        h = self.head(torch.cat([pad_to_multiple(x, self.multiple), seen], dim=1))
        h, kept = self._descend(h, embedding)
        h = self.middle_attend(self.middle_first(h, embedding))
        h = self._ascend(self.middle_second(h, embedding), embedding, kept)
        output: Tensor = self.tail(F.silu(self.norm(h)))
        return output[..., :height, :width]

    def _embed(self, index: Tensor) -> Tensor:
        half = self.sinusoids // 2
        frequencies = torch.exp(-math.log(1e4) / half * torch.arange(half, device=index.device, dtype=torch.float32))
        angles = index.float()[:, None] * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        first, second = self.time
        return second(F.silu(first(waves.to(first.weight.dtype))))  # type: ignore[arg-type]

    def _descend(self, h: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        kept = [h]
        for level, stage in enumerate(self.descent):
            for j, block in enumerate(stage):  # type: ignore[arg-type, var-annotated]
                h = block(h, embedding)
                if j == 0 and str(level) in self.descent_attend:
                    h = self.descent_attend[str(level)](h)
                kept.append(h)
            if level < len(self.down):
                h = self.down[level](h)
                kept.append(h)
        return h, kept

    def _ascend(self, h: Tensor, embedding: Tensor, kept: list[Tensor]) -> Tensor:
        for place, stage in enumerate(self.ascent):
            for j, block in enumerate(stage):  # type: ignore[arg-type, var-annotated]
                h = block(torch.cat([h, kept.pop()], dim=1), embedding)
                if j == 0 and str(place) in self.ascent_attend:
                    h = self.ascent_attend[str(place)](h)
            if place < len(self.up):
                h = self.up[place](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return h


def _apart(rows: int, columns: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Mask pixels that a moved window keeps apart: (windows, side^2, side^2).

    -100 between such pixels, else 0.

    It should part what wraps around the border. In the released code, with which the weights were trained, it parts left
    from right in the last row of windows instead, and nothing elsewhere; so it does here.
    """
    place = torch.arange(rows * side, device=like.device).reshape(rows, side)
    zone = (place >= (rows - 1) * side).int() + (place >= rows * side - shift).int()
    zone = zone[:, None, None, :].expand(rows, columns, side, side).reshape(rows * columns, side * side)
    return torch.where(zone[:, None] == zone[:, :, None], 0.0, -100.0).to(like.dtype)
