"""Parameterizations: from a network's output to the clean estimate.

    x0              the clean image
    residual        x0 - y
    noise           the product modulation * eps: x0_hat = (x_t - beta y - gamma n) / alpha, singular at t = 1
    velocity        alpha' x0 + beta' y + gamma' modulation * eps, slopes in the bridge's clock, singular where noise ends in
                    gamma(1) = 0; on `flow` it is y - x0, flow matching's usual target
    difference      x_t - x0 (BBDM)
    scaled-difference  (x_t - x0) / `Bridge.forward_std` (I2SB)
    ddbm            x0_hat = c_skip x_t + c_out F(c_in x_t, y, t), see `rebridge.denoisers.preconditioning`
    preconditioned  x0_hat = y + c_skip (x_t - beta y - alpha y) + c_out F(c_in (x_t - beta y - alpha y), y, t)
    blend           x0_hat = y + (1 - w) (x_t - beta y - alpha y) / alpha + w F(c_in (x_t - beta y - alpha y), y, t)

`preconditioned` carries EDM's preconditioning (arXiv 2206.00364) over to bridges (derived). Write d = x_t - (alpha + beta) y =
alpha r + gamma * modulation * eps with the residual r = x0 - y. Under residual modulation both terms scale with r, so the
best linear guess of r from d alone is d alpha / (alpha^2 + gamma^2): that is c_skip; its error has gamma / sqrt(alpha^2 +
gamma^2) times the scale of r: that is c_out; c_in = 1 / sqrt(alpha^2 + gamma^2) keeps the input at the scale of r. So the more a
state shows, the less the network may change it. At t = 1 the state holds nothing but y: there c_skip = 0, d = 0 and c_out = 1,
and the network predicts the residual from y. Without noise there is no such measure of trust: c_skip = 0 and c_out = 1 at all
times. Where the noise does not scale with r (modulation one) and r is known to be of size s, EDM's sigma_data, alpha s takes the
place of alpha: with m^2 = alpha^2 s^2 + gamma^2, c_skip = alpha s^2 / m^2, c_out = s gamma / m and c_in = 1 / m; input and output
are then of unit size at all times.

"blend" is a mean, weighted by trust, of the residual that the state shows and the one that the network sees (derived):

    x0_hat = y + (1 - w) d / alpha + w F(c_in d, y, t),   w = gamma / sqrt(alpha^2 + gamma^2)

The network predicts x0 - y at all times, so it is continuous in t, and the weights sum to 1: an estimate that a sampler
carries along without noise comes back as it is where the network agrees with it, whereas the best guess for noisy states,
"preconditioned", shrinks it by c_out^2 at each step. With noise, what is left of it is at most 0.3 of the residual's scale.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from rebridge.bridges.base import Bridge
from rebridge.bridges.coefficients import Coefficients, per_image
from rebridge.denoisers.preconditioning import ddbm_preconditioning

PREDICTIONS: tuple[str, ...] = (
    "x0",
    "residual",
    "noise",
    "velocity",
    "difference",
    "scaled-difference",
    "ddbm",
    "preconditioned",
    "blend",
)
SCALED = ("preconditioned", "blend")


def blind_at_end(prediction: str, bridge: Bridge) -> bool:
    """Test if a network's output has no say at t = 1, where the estimate is y.

    Args:
        prediction: what the output means.
        bridge: the process.
    """
    end = bridge.coefficients(1.0)
    without_noise = end.gamma.item() == 0 and not bridge.noiseless
    return (prediction == "velocity" and without_noise) or (
        prediction == "noise" and (without_noise or end.alpha.item() == 0)
    )


class NetworkDenoiser(nn.Module):
    """A network and a bridge as a denoiser: x0_hat = D(x_t, t, y).

    Where "noise" or "velocity" is singular, at t = 1 of most bridges, the estimate is y, as in RDBM's code (`blind_at_end`).

    Args:
        network: called as network(x, t, y, **conditions) with images (B, C, H, W) in the bridge's range and t (B,); returns
            (B, C, H, W). Extra conditions are those that the denoiser is called with.
        bridge: the process.
        prediction: what its output means, see this module's first lines.
        clamp: clamp the estimate to the bridge's range; in eval mode only, so that training sees gradients.
        scale: typical size s of x0 - y in the bridge's units, for "preconditioned" and "blend" under modulation one, by default
            1; for "ddbm" the standard deviation of the images, by default 0.5.

    Raises:
        ValueError: an unknown prediction, or one that a noiseless bridge cannot have.
    """

    def __init__(
        self, network: nn.Module, bridge: Bridge, prediction: str = "x0", clamp: bool = True, scale: float | None = None
    ) -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {prediction!r}")
        if prediction in ("noise", "scaled-difference") and bridge.noiseless:
            raise ValueError(
                f"prediction {prediction!r} needs a bridge with noise, but {bridge.name!r} here has gamma = 0; "
                "use velocity"
            )
        if prediction == "scaled-difference" and not torch.isfinite(bridge.forward_std(1.0)):
            raise ValueError(
                "prediction 'scaled-difference' needs a bridge whose forward noise is finite, "
                f"and that of {bridge.name!r} is not: use difference"
            )
        scale = (0.5 if prediction == "ddbm" else 1.0) if scale is None else scale
        if not scale > 0:
            raise ValueError(f"scale must be positive, got {scale}")
        if scale != 1 and prediction != "ddbm" and (prediction not in SCALED or bridge.modulation != "one"):
            raise ValueError(
                "a scale other than 1 needs prediction 'preconditioned' or 'blend' and a bridge of modulation 'one'"
            )
        if prediction in SCALED and bridge.noiseless:
            warnings.warn(
                f"on {bridge.name!r} here, which has no noise, a state before t = 1 shows the clean image, and so does the "
                f"input of prediction {prediction!r}: train at t = 1, or use prediction 'residual'",
                stacklevel=2,
            )
        self.network = network
        self.bridge = bridge
        self.prediction = prediction
        self.clamp = clamp
        self.scale = scale

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        """Estimate x0, (B, C, H, W), from x_t, y (B, C, H, W) and t (B,)."""
        c = self.bridge.coefficients(t).like(y)
        x0_hat = self._estimate(self._output(c, x_t, t, y, **conditions), c, x_t, t, y)
        return x0_hat.clamp(*self.bridge.value_range) if self.clamp and not self.training else x0_hat

    @property
    def blind_at_end(self) -> bool:
        """True if the estimate at t = 1 does not depend on what the network says.

        Then one step from there shows nothing but y, and a sample there teaches the network nothing.
        """
        return blind_at_end(self.prediction, self.bridge)

    def output(self, x_t: Tensor, t: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        """Compute the network's raw output."""
        return self._output(self.bridge.coefficients(t).like(y), x_t, t, y, **conditions)

    def estimate(self, output: Tensor, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Compute x0_hat from a raw output, unclamped; the inverse of `target`."""
        return self._estimate(output, self.bridge.coefficients(t).like(y), x_t, t, y)

    def target(self, x0: Tensor, y: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Compute the raw output that would be exact, for a state drawn from (x0, y).

        Args:
            x0: clean images (B, C, H, W).
            y: degraded images (B, C, H, W).
            x_t: states (B, C, H, W).
            t: their times (B,).
        """
        if self.prediction == "x0":
            return x0
        if self.prediction == "residual":
            return x0 - y
        if self.prediction == "noise":
            return self.bridge.noise_estimate(x_t, x0, y, t)
        if self.prediction == "velocity":
            return self._velocity(x_t, x0, y, t)
        if self.prediction == "difference":
            return x_t - x0
        if self.prediction == "scaled-difference":
            return (x_t - x0) / per_image(self.bridge.forward_std(t).clamp(min=1e-12).to(y), y.ndim)
        if self.prediction == "ddbm":
            p = ddbm_preconditioning(self.bridge, t, self.scale).like(y)
            return (x0 - p.skip * x_t) / p.out.clamp(min=1e-12)
        c = self.bridge.coefficients(t).like(y)
        return (x0 - y - self._skip(c) * (x_t - (c.alpha + c.beta) * y)) / self._reach(c)

    def _output(self, c: Coefficients, x_t: Tensor, t: Tensor, y: Tensor, **conditions: Tensor) -> Tensor:
        if self.prediction in SCALED:
            scale = ((self.scale * c.alpha).square() + c.gamma.square()).sqrt()
            deviation = x_t - (c.alpha + c.beta) * y
            x_t = torch.where(scale > 0, deviation / scale.clamp(min=1e-12), 0.0)
        elif self.prediction == "ddbm":
            x_t = ddbm_preconditioning(self.bridge, t, self.scale).like(y).inside * x_t
        return self.network(x_t, t, y, **conditions)

    def _reach(self, c: Coefficients) -> Tensor:
        """c_out = s gamma / sqrt(alpha^2 s^2 + gamma^2), s where alpha = 0 and on noiseless bridges."""
        if self.bridge.noiseless:
            return torch.ones_like(c.gamma)
        scale = ((self.scale * c.alpha).square() + c.gamma.square()).sqrt()
        return self.scale * torch.where(_ended(c), 1.0, c.gamma / scale.clamp(min=1e-12))

    def _skip(self, c: Coefficients) -> Tensor:
        """c_skip = alpha s^2 / (alpha^2 s^2 + gamma^2), 0 at t = 1 and without noise; for "blend" (1 - w) / alpha."""
        if self.bridge.noiseless:
            return torch.zeros_like(c.alpha)
        square = self.scale**2
        m2 = square * c.alpha.square() + c.gamma.square()
        if self.prediction == "blend":  # (1 - gamma / m) / alpha, without the difference
            m2 = m2 + m2.sqrt() * c.gamma
        return torch.where(_ended(c), 0.0, square * c.alpha / m2.clamp(min=1e-12))

    def _estimate(self, output: Tensor, c: Coefficients, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        if self.prediction == "x0":
            return output
        if self.prediction == "residual":
            return y + output
        if self.prediction in SCALED:
            return y + self._skip(c) * (x_t - (c.alpha + c.beta) * y) + self._reach(c) * output
        if self.prediction == "difference":
            return x_t - output
        if self.prediction == "scaled-difference":
            return x_t - per_image(self.bridge.forward_std(t).to(y), y.ndim) * output
        if self.prediction == "ddbm":
            p = ddbm_preconditioning(self.bridge, t, self.scale).like(y)
            return p.skip * x_t + p.out * output
        if self.prediction == "noise":
            numerator, factor, regular = x_t - c.beta * y - c.gamma * output, c.alpha, c.alpha > 0
        else:
            numerator, factor, regular = self._without_noise(output, c, x_t, t, y)
        return torch.where(regular, numerator / torch.where(regular, factor, torch.ones_like(factor)), y)

    def _velocity(self, x_t: Tensor, x0: Tensor, y: Tensor, t: Tensor) -> Tensor:
        if not self.bridge.noiseless:
            return self.bridge.velocity(x_t, x0, y, t)
        d = self.bridge.derivatives(t).like(y)
        return d.alpha * x0 + d.beta * y

    def _without_noise(
        self, output: Tensor, c: Coefficients, x_t: Tensor, t: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Eliminate from v = alpha' x0 + beta' y + gamma' n the noise by the state; without noise, y.

        Returns numerator and denominator of x0_hat, and where they are good.
        """
        d = self.bridge.derivatives(t).like(y)
        if self.bridge.noiseless:
            factor = d.alpha * c.beta - d.beta * c.alpha
            return c.beta * output - d.beta * x_t, factor, factor != 0
        slope = d.gamma / c.gamma
        factor = d.alpha - slope * c.alpha
        return output - slope * x_t - (d.beta - slope * c.beta) * y, factor, (c.gamma > 0) & (factor != 0)


def _ended(c: Coefficients) -> Tensor:
    """Where the state is y alone: no x0, or (UniDB) next to none and no noise either."""
    return (c.alpha == 0) | ((c.gamma == 0) & (c.alpha < 0.5))


def check_one_step(denoiser: object, times: Tensor) -> None:
    """Warn where a run of one step from t = 1 can only return the degraded image.

    Args:
        denoiser: a `NetworkDenoiser`; others are not known.
        times: of the run, decreasing.
    """
    if isinstance(denoiser, NetworkDenoiser) and len(times) == 2 and times[0] == 1 and denoiser.blind_at_end:
        warnings.warn(ONE_BLIND_STEP.format(denoiser.prediction, denoiser.bridge.name), stacklevel=3)


ONE_BLIND_STEP = (
    "one step returns the degraded image: at t = 1 a network that predicts {0} does not see the clean image on the bridge "
    "{1!r}; take two steps or more"
)
