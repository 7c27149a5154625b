"""The preconditioning of DDBM: networks that see and give numbers of unit size.

Zhou et al., arXiv 2309.16948, section 4.

With the variance s^2 of either end, x0 and y uncorrelated, and m^2 = (alpha^2 + beta^2) s^2 + gamma^2,

    x0_hat = c_skip x_t + c_out F(c_in x_t, y, t)
    c_in = 1/m,   c_skip = alpha s^2 / m^2,   c_out = s sqrt(beta^2 s^2 + gamma^2) / m

and a mean squared error of x0_hat is weighted by 1/c_out^2, so that F is asked for equally much at all times.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rebridge.bridges.base import Bridge
from rebridge.bridges.coefficients import per_image


@dataclass(frozen=True)
class Preconditioning:
    """Factors around a network at some times.

    Attributes:
        skip: factor of the state in the estimate; all three are of the times' shape.
        out: factor of the network's output in the estimate.
        inside: factor of the state in the network's input.
    """

    skip: Tensor
    out: Tensor
    inside: Tensor

    @property
    def weight(self) -> Tensor:
        """The weight of a squared error of the estimate, 1/c_out^2."""
        return self.out.square().reciprocal()

    def like(self, x: Tensor) -> Preconditioning:
        """Shape factors of shape (B,) as (B, 1, 1, ...), in x's dtype and on its device."""
        return Preconditioning(*(per_image(part.to(x), x.ndim) for part in (self.skip, self.out, self.inside)))


def ddbm_preconditioning(bridge: Bridge, t: Tensor | float, scale: float = 0.5) -> Preconditioning:
    """Compute DDBM's factors for a bridge.

    Args:
        bridge: the process.
        t: times in [0, 1], any shape.
        scale: s, standard deviation of the images at either end.

    Returns:
        Float64 factors of that shape.
    """
    c = bridge.coefficients(t)
    square = (c.alpha.square() + c.beta.square()) * scale**2 + c.gamma.square()
    out = scale * ((c.beta.square() * scale**2 + c.gamma.square()) / square).sqrt()
    return Preconditioning(c.alpha * scale**2 / square, out, square.rsqrt())
