"""Bridges of the Ornstein-Uhlenbeck process: RDBM, GOUB, UniDB; and IR-SDE.

IR-SDE is the process without the bridge.

All solve dx = theta_t (y - x) dt + modulation * sqrt(2 V theta_t) dw with stationary variance V, conditioned (by Doob's
h-transform, except IR-SDE) to end in y. With tb = integral of theta from 0 to t, the natural clock, and tb1 = tb(1):

    alpha = sinh(tb1 - tb) / sinh(tb1),   beta = 1 - alpha,   gamma^2 = 2 V sinh(tb) sinh(tb1 - tb) / sinh(tb1)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rebridge.bridges.base import Bridge, Modulation
from rebridge.bridges.coefficients import Coefficients, per_image
from rebridge.bridges.schedules import Clock, theta_clock


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck(Bridge):
    """Base of the four: the theta clock, and the exact SDE terms in it.

    Args:
        lam: noise level; RDBM's is the stationary variance, that of the others the stationary standard deviation.
        steps: T, the number of grid steps of the schedule.
        schedule: "cosine", "linear", "linear-whole", "sigmoid" or "constant", see `theta_clock`.
        eps: exp(-tb1), how much of x0 - y an unconditioned process would keep at t = 1.
    """

    lam: float
    steps: int = 100
    schedule: str = "cosine"
    eps: float | None = 0.005
    cumulative: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lam > 0:
            raise ValueError(f"lam must be positive, got {self.lam}")
        _ = self.theta

    @cached_property
    def theta(self) -> Clock:
        """tb(t), the integral of theta."""
        return theta_clock(self.schedule, self.steps, self.eps, self.cumulative)

    @property
    def variance(self) -> float:
        """V, the stationary variance of the underlying process (at modulation 1)."""
        return self.lam**2

    def clock(self, t: Tensor) -> Tensor:
        return self.theta(t)

    def marginal(self, t: Tensor) -> Coefficients:
        tb, tb1 = self.theta(t), self.theta.end
        rest = torch.sinh(tb1 - tb) / torch.sinh(tb1)
        return Coefficients(rest, 1 - rest, (2 * self.variance * torch.sinh(tb) * rest).clamp(min=0.0).sqrt())

    def forward_std(self, t: Tensor | float) -> Tensor:
        """Compute sqrt(2 V sinh tb), the closed form for processes that end in y."""
        tb = self.theta(torch.as_tensor(t, dtype=torch.float64))
        return (2 * self.variance * torch.sinh(tb)).sqrt()

    @property
    def penalty(self) -> float:
        """q, inverse weight of the penalty on x_1 - y over V; 0 if it ends in y.

        With q, alpha is proportional to (1 + q) exp(tb1 - tb) - exp(tb - tb1).
        """
        return 0.0

    def squared_diffusion(self, t: Tensor | float) -> Tensor:
        """2 V, whatever the time: in the theta clock the noise is even."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return torch.full_like(t, 0.0 if self.noiseless else 2 * self.variance)


@dataclass(frozen=True, kw_only=True)
class RDBM(OrnsteinUhlenbeck):
    """The residual diffusion bridge: noise times x0 - y (arXiv 2510.23116, eq. 9-13).

    Args:
        lam: stationary variance sigma^2/(2 theta); 10/255 in the paper, 1e-4 in the released code (with modulation "one").
        eps: None sums the schedule's rates as the code does (tb1 = 7.88 for 100 cosine steps, so tb1 depends on `steps`).
    """

    name: ClassVar[str] = "rdbm"
    start: ClassVar[str] = "mean"
    cumulative: ClassVar[bool] = False

    modulation: Modulation = "residual"
    lam: float = 10 / 255
    eps: float | None = None

    @property
    def variance(self) -> float:
        return self.lam

    @property
    def recommended(self) -> dict[str, Any]:
        """Ten deterministic steps at whole indices that begin at the mean."""
        return {"name": "dbim", "steps": 10, "grid": "index", "start": "mean"}


@dataclass(frozen=True, kw_only=True)
class GOUB(OrnsteinUhlenbeck):
    """The generalised Ornstein-Uhlenbeck bridge (arXiv 2312.10299).

    As in Hammour-steak/GOUB, codes/utils/sde_utils.py.
    """

    name: ClassVar[str] = "goub"
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    lam: float = 30 / 255

    @property
    def recommended(self) -> dict[str, Any]:
        """Euler steps of the reverse SDE on the whole grid; for PSNR `mean-ode`."""
        return {"name": "sde", "steps": self.steps}


@dataclass(frozen=True, kw_only=True)
class UniDB(OrnsteinUhlenbeck):
    """GOUB with a terminal penalty instead of the constraint (arXiv 2502.05749).

    Args:
        gamma_inv: 1/G in units of squared pixel values, the inverse weight of the penalty; 1e-7 for super-resolution and
            inpainting, 1e-8 for rain; 0 is GOUB.
        variance_form: "code" keeps GOUB's gamma as the authors' code does, "exact" is the variance of the SDE itself, which
            is not 0 at t = 1.
        drift_form: "exact" is the drift of the process; "code" takes GOUB's, without the penalty, in the step objective of
            training, as the authors' code does (their samplers have the exact one).
    """

    name: ClassVar[str] = "unidb"
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    lam: float = 30 / 255
    gamma_inv: float = 1e-7
    variance_form: Literal["code", "exact"] = "code"
    drift_form: Literal["exact", "code"] = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma_inv < 0:
            raise ValueError(f"gamma_inv must not be negative, got {self.gamma_inv}")
        if self.variance_form not in ("code", "exact"):
            raise ValueError(f"variance_form must be code or exact, got {self.variance_form!r}")
        if self.drift_form not in ("exact", "code"):
            raise ValueError(f"drift_form must be exact or code, got {self.drift_form!r}")

    @property
    def penalty(self) -> float:
        return self.gamma_inv / self.variance

    @property
    def recommended(self) -> dict[str, Any]:
        """Euler steps of the reverse SDE, as for GOUB; `exponential` is UniDB++."""
        return {"name": "sde", "steps": self.steps}

    def training_drift(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        if self.drift_form == "exact":
            return self.drift(x_t, y, t)
        rest = (self.theta.end - self.theta(t)).to(x_t)
        return per_image(1 / torch.tanh(rest), x_t.ndim) * (y - x_t)

    def marginal(self, t: Tensor) -> Coefficients:
        tb, tb1, v = self.theta(t), self.theta.end, self.variance
        soft = (self.gamma_inv - v * torch.expm1(-2 * (tb1 - tb))) / (self.gamma_inv - v * torch.expm1(-2 * tb1))
        alpha = torch.exp(-tb) * soft
        if self.variance_form == "code":
            return Coefficients(alpha, 1 - alpha, super().marginal(t).gamma)
        return Coefficients(alpha, 1 - alpha, (-v * torch.expm1(-2 * tb) * soft).clamp(min=0.0).sqrt())


@dataclass(frozen=True, kw_only=True)
class IRSDE(OrnsteinUhlenbeck):
    """The mean-reverting SDE without a bridge (arXiv 2301.11699).

    It ends near y + lam z, as in Algolzw/image-restoration-sde.
    """

    name: ClassVar[str] = "ir-sde"
    value_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    lam: float = 10 / 255

    @property
    def recommended(self) -> dict[str, Any]:
        """The posterior on the whole grid."""
        return {"name": "dbim", "steps": self.steps, "eta": 1.0}

    def forward_std(self, t: Tensor | float) -> Tensor:
        """Return gamma: the process is not conditioned on its end."""
        return self.coefficients(t).gamma

    def marginal(self, t: Tensor) -> Coefficients:
        tb = self.theta(t)
        alpha = torch.exp(-tb)
        return Coefficients(alpha, 1 - alpha, (-self.variance * torch.expm1(-2 * tb)).clamp(min=0.0).sqrt())

    def prior(self, y: Tensor, noise: Tensor) -> Tensor:
        """Draw y + lam z, the stationary law, as the authors start."""
        return y + self.lam * self.modulate(y, y, noise)

    @property
    def starts_noisy(self) -> bool:
        return self.modulation == "one"

    def _time_of_level(self, level: Tensor) -> Tensor:
        return self.theta.time_of(torch.log1p(level.square() / self.variance) / 2)
