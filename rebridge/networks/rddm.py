"""RDDM's networks with two heads, for the residual y - x0 and the noise.

Liu et al., arXiv 2308.13712. The U-Net is `rebridge.networks.unet.UNet` with the details of the released code.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from rebridge.networks.layers import check_inputs
from rebridge.networks.unet import AttentionLevel, ResidualBlock, UNet


class TwoUNets(nn.Module):
    """Two U-Nets that see the same images: one predicts the residual, one the noise.

    Args:
        channels: Channels of an image.
        width: Features of the finest level, a multiple of 8.
        multipliers: Multiples of `width`, one per level.
    """

    def __init__(self, channels: int = 3, width: int = 64, multipliers: Sequence[int] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.channels = channels
        self.residual = UNet(channels, width, multipliers, steps=1, add_input=False, released=True)
        self.noise = UNet(channels, width, multipliers, steps=1, add_input=False, released=True)
        self.multiple = self.residual.multiple

    def forward(self, x: Tensor, index: Tensor, y: Tensor, index_of_noise: Tensor) -> tuple[Tensor, Tensor]:
        """Predict residual and noise.

        Args:
            x: State, (B, C, H, W).
            index: Time as the residual's U-Net counts it, (B,).
            y: Degraded image, (B, C, H, W).
            index_of_noise: Time as the noise's U-Net counts it, (B,).

        Returns:
            y - x0 and the noise, each (B, C, H, W).
        """
        return self.residual(x, index, y), self.noise(x, index_of_noise, y)


class SharedEncoder(nn.Module):
    """One encoder with two decoders.

    The residual's sees the middle alone, the noise's has the skips of a U-Net.

    Args:
        channels: Channels of an image.
        width: Features of the finest level, a multiple of 8.
        multipliers: Multiples of `width`, one per level.
    """

    def __init__(self, channels: int = 3, width: int = 64, multipliers: Sequence[int] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.channels = channels
        self.noise = UNet(channels, width, multipliers, steps=1, add_input=False, released=True)
        self.multiple = self.noise.multiple
        embedding = 4 * width
        widths = [width, *(width * multiplier for multiplier in multipliers)]
        last = len(multipliers) - 1
        self.ascent = nn.ModuleList(
            AttentionLevel(widths[i + 1], 0, widths[i], embedding, "same" if i == 0 else "up", mean_values=True)
            for i in range(last, -1, -1)
        )
        self.last = ResidualBlock(width, width, embedding)
        self.tail = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, index: Tensor, y: Tensor, index_of_noise: Tensor) -> tuple[Tensor, Tensor]:
        """Predict residual and noise; arguments as those of `TwoUNets`.

        The encoder knows `index` alone.
        """
        check_inputs(x, index, y, self.channels)
        height, width = x.shape[-2:]
        middle, head, skips, embedding = self.noise.encode(x, index, y)
        h = middle
        for level in self.ascent:
            h = level(h, embedding, [])
        residual = self.tail(self.last(h, embedding))[..., :height, :width]
        return residual, self.noise.decode(middle, head, skips, embedding)[..., :height, :width]
