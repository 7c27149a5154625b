"""The solvers of UniDB++ as released, for `exponential` with compat.

With u the natural clock, U its end, q the penalty (`OrnsteinUhlenbeck.penalty`) and lam the stationary deviation, the code works
in terms of

    S(u) = 2 sinh u,   A(u) = (1 + q) exp(U - u) - exp(u - U),   A0(u) = A(u) at q = 0,   b = log(A/S)

and differs from the exact solution (`rebridge.samplers.exponential`) in these ways:

- x0 enters with A/S(U), where alpha = A/A(u = 0): a share q too much of it;
- the second order of the data solver has A_t (h - 1) where A_s (h - 1) is right, h = b_s - b_t;
- the noise solvers mix A and A0; that of order 1 has A0_t in the noise where A_s is right;
- the noise of the middle stage and that of the whole step are independent, although they belong to one path;
- at t = 1 the network is not evaluated: x0_hat = y, the noise is 0, and only the data solvers add any;
- the middle stage lies at the nearest time of the grid; solvers of order 2 draw two noises a step, used or not.

Lou et al., arXiv 2505.21528; 2769433owo/UniDB-plusplus, UniDB/utils/sde_utils.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.bridges.ou import IRSDE, OrnsteinUhlenbeck
from rebridge.samplers.base import Point, Walk


@dataclass(frozen=True)
class Terms:
    """S and A at one time.

    Attributes:
        S: 2 sinh u.
        A: with the penalty.
        A0: without.
        tail: 1 / (q + 1 - exp(2 (u - U))), which the noise of the noise solvers is made of.
    """

    S: float
    A: float
    A0: float
    tail: float

    @property
    def b(self) -> float:
        """log(A/S)."""
        if self.A == 0:
            return -math.inf
        return math.log(self.A / self.S) if self.S > 0 else math.inf

    @property
    def level(self) -> float:
        """sqrt(S/A)."""
        return math.sqrt(self.S / self.A)

    @property
    def level0(self) -> float:
        """sqrt(S/A0)."""
        return math.sqrt(self.S / self.A0)


def check(bridge: Bridge) -> None:
    """Raise ValueError unless the bridge is UniDB or GOUB, with modulation one."""
    if not isinstance(bridge, OrnsteinUhlenbeck) or isinstance(bridge, IRSDE) or bridge.modulation != "one":
        raise ValueError(
            f"compat is UniDB++'s code, for unidb and goub with modulation one, not for {bridge.name!r} here"
        )


def terms(bridge: Bridge, p: Point) -> Terms:
    """Compute S and A at a point."""
    ou = _known(bridge)
    u, end, q = p.clock, ou.theta.end.item(), ou.penalty
    rest = -math.expm1(2 * (u - end))
    tail = 1 / (q + rest) if q + rest > 0 else math.inf
    return Terms(2 * math.sinh(u), (1 + q) * math.exp(end - u) - math.exp(u - end), 2 * math.sinh(end - u), tail)


def middles(bridge: Bridge, times: Tensor) -> Tensor:
    """Find the grid times that are nearest to the middle of each step in b."""
    ou = _known(bridge)
    end, q = ou.theta.end.item(), ou.penalty
    grid = torch.linspace(0, 1, ou.steps + 1, dtype=torch.float64)
    clocks = ou.theta(grid)
    u = ou.theta(times)
    b = torch.log(((1 + q) * torch.exp(end - u) - torch.exp(u - end)) / (2 * torch.sinh(u)))
    growth = torch.exp((b[:-1] + b[1:]) / 2 + end)
    wanted = torch.log(((1 + q) * math.exp(2 * end) + growth) / (1 + growth)) / 2
    nearest = grid[(clocks[None] - wanted.nan_to_num()[:, None]).abs().argmin(1)]
    inside = (nearest < times[:-1]) & (nearest > times[1:]) & torch.isfinite(wanted)
    return torch.where(inside, nearest, (times[:-1] + times[1:]) / 2)


def step(walk: Walk, x: Tensor, t: Point, s: Point, *, prediction: str, order: int, eta: float) -> Tensor:
    """Take one step of the released code.

    Args:
        walk: the run.
        x: the state at t, (B, ...).
        t: where the step begins.
        s: where it ends.
        prediction: "x0" or "noise".
        order: 1 or 2.
        eta: 0 for the mean-ODE, 1 for the SDE; scales the noise between.
    """
    draws = [walk.noise() for _ in range(2 if order == 2 else eta > 0)]
    if t.t == 1:
        x0 = walk.y
        walk.history = [(t, x0)]
    else:
        x0 = walk.estimate(x, t).x0
    if prediction == "x0":
        return _data_step(walk, x, x0, t, s, order, eta, draws)
    if t.t == 1:
        return x
    return _noise_step(walk, x, x0, t, s, order, eta, draws)


def _data_step(
    walk: Walk, x: Tensor, x0: Tensor, t: Point, s: Point, order: int, eta: float, draws: list[Tensor]
) -> Tensor:
    ou, at_t, at_s = _known(walk.bridge), terms(walk.bridge, t), terms(walk.bridge, s)
    whole = 2 * math.sinh(ou.theta.end.item())
    kept = at_s.S / at_t.S
    share = (at_s.A - kept * at_t.A) / whole
    x_s = kept * x + (1 - kept - share) * walk.y + share * x0
    if order == 2 and t.t < 1 and s.t > 0:
        before, x0_before = walk.history[-2]
        h = at_s.b - at_t.b
        weight = at_t.A * (kept + h - 1) / (whole * (at_t.b - terms(walk.bridge, before).b))
        x_s = x_s + weight * (x0 - x0_before)
    if eta and s.t > 0:
        spread = 1 / math.expm1(2 * s.clock) - 1 / math.expm1(2 * t.clock)
        x_s = x_s + (eta * ou.lam * at_s.S * spread**0.5) * draws[-1]
    return x_s


def _noise_step(
    walk: Walk, x: Tensor, x0: Tensor, t: Point, s: Point, order: int, eta: float, draws: list[Tensor]
) -> Tensor:
    ou, at_t, at_s = _known(walk.bridge), terms(walk.bridge, t), terms(walk.bridge, s)
    unit = 2 * ou.lam / math.sqrt(2 * math.sinh(ou.theta.end.item()))
    y, n = walk.y, (x - t.alpha * x0 - t.beta * walk.y) / t.gamma
    gained = eta * ou.lam * (at_t.tail - at_s.tail) ** 0.5
    if order == 1:
        if eta == 0:
            return y + at_s.A / at_t.A * (x - y) - unit * at_s.A * (at_t.level - at_s.level) * n
        mean = y + at_s.A0 / at_t.A0 * (x - y) - unit * at_s.A0 * (at_t.level0 - at_s.level0) * n
        return mean + gained * at_t.A0 * draws[0]

    def frozen(to: Terms) -> Tensor:
        return y + to.A / at_t.A * (x - y) - unit * to.A * (at_t.level0 - to.level0) * n

    x_s = frozen(at_s) + gained * at_s.A * draws[1]
    if s.t == 0:
        return x_s
    middle = walk.inner[t]
    inside = terms(walk.bridge, middle)
    x_middle = frozen(inside) + eta * ou.lam * inside.A * (at_t.tail - inside.tail) ** 0.5 * draws[0]
    x0_middle = walk.estimate(x_middle, middle, remember=False).x0
    n_middle = (x_middle - middle.alpha * x0_middle - middle.beta * y) / middle.gamma
    h = at_s.b - at_t.b
    weight = 2 * unit * at_s.A * (at_t.level0 - (1 + h / 2) * at_s.level0) / (h / 2)
    return x_s - weight * (n_middle - n)


def _known(bridge: Bridge) -> OrnsteinUhlenbeck:
    if not isinstance(bridge, OrnsteinUhlenbeck):
        check(bridge)
        raise AssertionError
    return bridge
