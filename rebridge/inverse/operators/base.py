"""Base classes of operators y = A x: adjoint, pseudo-inverse, proximal step.

All linear methods rest on one primitive, the gain of a trust gamma,

    G r = A^T (I / gamma + A A^T)^+ r,        A^+ y = G y at gamma = inf,        prox(z) = z + G (y - A z),

so an operator gives A, A^T and G. `Spectral` has G in closed form from a singular value decomposition; `Linear` finds it by
conjugate gradients. The method names are deepinv's: a deepinv `LinearPhysics` can stand wherever an operator is expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from rebridge.degradations.resampling import enlarge
from rebridge.inverse.operators.cgls import cgls

Trust = float | Tensor
"""gamma of the proximal step: a number in [0, inf], or one per image, (B,)."""


class Measures(Protocol):
    """Anything that methods can use as an operator: ours, deepinv's, a user's own."""

    def A(self, x: Tensor) -> Tensor: ...  # noqa: N802

    def A_adjoint(self, y: Tensor) -> Tensor: ...  # noqa: N802

    def A_dagger(self, y: Tensor) -> Tensor: ...  # noqa: N802

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Any) -> Tensor: ...


class Operator:
    """A measurement of images of one shape; it checks inputs, and subclasses compute.

    A linear operator of one's own needs no more than `Linear` with `forward` and `adjoint`.

    Args:
        shape: (C, H, W) of the images.
        measurement_shape: of what is measured from one of them, by default the same.
    """

    name: str = "operator"
    linear: bool = True
    """True if A is linear."""
    differentiable: bool = False
    """True if automatic differentiation goes through a non-linear A."""
    has_prox: bool = True
    """True if the pseudo-inverse and the proximal step are known, exactly or nearly."""
    has_spectrum: ClassVar[bool] = False
    """True if the singular value decomposition is known, as in `Spectral`."""
    pictured: bool = True
    """True if measurements can be shown as pictures, and pictures read as measurements."""
    loses_colour: bool = False
    """True if a measurement of colour images is grey."""
    scale: int = 1
    """How many times smaller than the image a measured picture is."""

    def __init__(self, shape: Sequence[int], measurement_shape: Sequence[int] | None = None) -> None:
        self.shape = check_shape(shape)
        self.measurement_shape = self.shape if measurement_shape is None else tuple(measurement_shape)
        self._casts: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        """Measure images (B, C, H, W), giving (B, *measurement_shape).

        ValueError for images of another size.
        """
        check_values(x, self.shape, "images")
        return self.forward(x)

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        """Apply A^T to measurements (B, *measurement_shape), giving (B, C, H, W)."""
        check_values(y, self.measurement_shape, "measurements")
        return self.adjoint(y)

    def A_dagger(self, y: Tensor) -> Tensor:  # noqa: N802
        """Apply A^+: of all images (B, C, H, W) that fit y best, the smallest."""
        check_values(y, self.measurement_shape, "measurements")
        return self.gain(y, math.inf)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """Proximal step: argmin_v gamma/2 |A v - y|^2 + 1/2 |v - z|^2.

        Args:
            z: images (B, C, H, W).
            y: measurements (B, *measurement_shape).
            gamma: number or (B,), from 0 (returns z) to inf (the image nearest to z among those that fit y best).

        Returns:
            Images (B, C, H, W).
        """
        check_values(z, self.shape, "images")
        check_values(y, self.measurement_shape, "measurements")
        check_trust(gamma, len(z))
        return z + self.gain(y - self.forward(z), gamma)

    def to_picture(self, y: Tensor) -> Tensor | None:
        """Show measurements as pictures (B, C, H, W) of the image's size in [0, 1].

        None if they are no pictures.

        Small pictures are enlarged by bicubic interpolation; grey ones stay grey, in all channels.
        """
        if not self.pictured:
            return None
        channels, height, width = self.shape
        if y.shape[-2:] != (height, width):
            y = torch.stack([enlarge(image, self.scale, height, width) for image in y])
        return y.expand(-1, channels, -1, -1).clamp(0, 1)

    def from_picture(self, pixels: Tensor) -> Tensor:
        """Read measurements from pictures of them (B, 1 or C, h, w) in [0, 1].

        ValueError if they are no pictures.
        """
        if not self.pictured:
            raise ValueError(f"measurements of {self.name} are no pictures")
        return pixels.expand(-1, self.measurement_shape[0], -1, -1) if pixels.shape[1] == 1 else pixels

    def restrict(self, y: Tensor) -> Tensor:
        """Drop from y what is not measured; by default nothing.

        For instance the noise in unknown pixels of a mask.
        """
        return y

    @property
    def has_gradient(self) -> bool:
        """True if the gradient of |A x - y|^2 is known."""
        return self.linear or self.differentiable

    @property
    def measured(self) -> int:
        """Number of values that are measured of one image."""
        return math.prod(self.measurement_shape)

    @cached_property
    def amplifies(self) -> bool:
        """True if the pseudo-inverse amplifies white noise.

        More than threefold beside the image; measured once, on one draw.
        """
        if not self.has_prox:
            return False
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, *self.shape, generator=generator)
        z = torch.randn(1, *self.measurement_shape, generator=generator)
        gain = self.A_dagger(z).square().mean() / z.square().mean() * self.A(x).square().mean() / x.square().mean()
        return gain.item() > 9.0

    def misfit_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute J^T (A x - y), the gradient of |A x - y|^2 / 2, with J = dA/dx.

        Args:
            x: images (B, C, H, W).
            y: measurements (B, *measurement_shape).

        Returns:
            Images (B, C, H, W).

        Raises:
            ValueError: A is not linear and cannot be differentiated.
        """
        if self.linear:
            return self.A_adjoint(self.A(x) - y)
        if not self.differentiable:
            raise ValueError(f"{self.name} is not linear and cannot be differentiated")
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            measured = self.A(point)
        (gradient,) = torch.autograd.grad(measured, point, (measured - y).detach())
        return gradient

    def __matmul__(self, inner: Measures) -> Operator:
        """Compose: (A @ B) x = A (B x); see `rebridge.inverse.operators.compose`."""
        from rebridge.inverse.operators.algebra import compose

        return compose(self, inner)

    def __rmatmul__(self, outer: Measures) -> Operator:
        """Compose with an operator of another library on the left."""
        from rebridge.inverse.operators.algebra import compose

        return compose(outer, self)

    def __or__(self, other: Measures) -> Operator:
        """Stack: (A | B) x is A x and B x; see `rebridge.inverse.operators.stack`."""
        from rebridge.inverse.operators.algebra import stack

        return stack([self, other])

    def __ror__(self, other: Measures) -> Operator:
        """Stack below an operator of another library."""
        from rebridge.inverse.operators.algebra import stack

        return stack([other, self])

    def after(self, inner: Operator) -> Operator | None:
        """Give self @ inner in closed form, if it is better than applying both."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Compute A x, (B, *measurement_shape), for checked images x (B, C, H, W)."""
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        """Compute A^T y, (B, C, H, W), for checked y (B, *measurement_shape)."""
        raise NotImplementedError

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        """Compute A^T (I/gamma + A A^T)^+ r for r (B, *measurement_shape)."""
        raise NotImplementedError

    def _cast(self, name: str, like: Tensor) -> Tensor:
        """The constant of that name, kept in float64, in the dtype and on the device of `like`; converted once."""
        key = (name, like.dtype, like.device)
        if key not in self._casts:
            constant: Tensor = getattr(self, name)
            if constant.is_complex():
                dtype = torch.complex128 if like.dtype == torch.float64 else torch.complex64
            else:
                dtype = like.dtype
            self._casts[key] = constant.to(like.device, dtype)
        return self._casts[key]


class Spectral(Operator):
    """An operator with a known singular value decomposition A = U S V^T.

    Everything is a product in the spectrum, and the spectrum of an image has as many numbers as the image.

    Args:
        shape: (C, H, W) of the images.
        measurement_shape: of what is measured from one of them, by default the same.
        cutoff: singular values below this share of the largest count as zero in the pseudo-inverse. 1e-6 keeps
            A A^+ A = A to 1e-6 of the image; deblurring from noisy data wants more (DDNM's authors take 3e-2).
    """

    has_spectrum: ClassVar[bool] = True

    def __init__(
        self, shape: Sequence[int], measurement_shape: Sequence[int] | None = None, cutoff: float = 1e-6
    ) -> None:
        super().__init__(shape, measurement_shape)
        if not 0 <= cutoff < 1:
            raise ValueError(f"cutoff must lie in [0, 1), got {cutoff}")
        self.cutoff = cutoff

    def singular_values(self, like: Tensor) -> Tensor:
        """Give the singular values S >= 0, in the dtype of `like`; 0: not measured.

        They broadcast to the spectrum of one image.
        """
        raise NotImplementedError

    def spectrum(self, x: Tensor) -> Tensor:
        """Compute V^T x for images (B, C, H, W): orthonormal, so white noise stays white."""
        raise NotImplementedError

    def image(self, spectrum: Tensor) -> Tensor:
        """Compute V times a spectrum, giving (B, C, H, W): the inverse of `spectrum`."""
        raise NotImplementedError

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        """Compute U^T y, laid out like the image's spectrum.

        Where the singular value is zero it may be anything.
        """
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        return self.image(self.singular_values(y) * self.measurement_spectrum(y))

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        s = self.singular_values(r)
        coefficients = self.measurement_spectrum(r)
        if isinstance(gamma, Tensor):
            gamma = gamma.reshape(-1, *[1] * (coefficients.ndim - 1)).double()
            damping = (1 / gamma).to(r.dtype)
        else:
            damping = torch.as_tensor(1 / gamma if gamma > 0 else math.inf, dtype=r.dtype, device=r.device)
        counts = (s > self.cutoff * s.max()) | ((damping > 0) & (s > 0))
        return self.image(torch.where(counts, s / (s * s + damping), 0.0) * coefficients)


class Linear(Operator):
    """A linear operator whose gain is found by conjugate gradients (CGLS).

    Small singular values make the pseudo-inverse slow, so for few unknowns the matrix is decomposed instead.
    """

    channelwise: bool = True
    """True if all channels are measured alike, each by itself."""
    tolerance: float = 1e-7
    """Relative size of the gradient at which the proximal step stops."""
    fit: float = 3e-6
    """Relative misfit of the data at which the pseudo-inverse stops."""
    iterations: int = 1000
    """Greatest number of iterations; what is reached then is returned."""
    dense: int = 400
    """Greatest number of unknowns for which the pseudo-inverse is that of the matrix."""

    def gain(self, r: Tensor, gamma: Trust) -> Tensor:
        if not isinstance(gamma, Tensor) and gamma == math.inf and math.prod(self._unknowns) <= self.dense:
            flat = r.double().flatten(2) if self.channelwise else r.double().flatten(1)
            return (flat @ self.pseudo_inverse.to(r.device).mT).reshape(-1, *self.shape).to(r.dtype)
        trust = torch.as_tensor(gamma, dtype=torch.float64, device=r.device).expand(len(r))
        return cgls(self, r, trust)

    @property
    def _unknowns(self) -> tuple[int, ...]:
        """Shape of what is found at once: one channel, or all of them."""
        return self.shape[1:] if self.channelwise else self.shape

    @cached_property
    def pseudo_inverse(self) -> Tensor:
        """A^+ as a float64 matrix (unknowns, measurements), for small images.

        It is that of one channel if all are alike.
        """
        count = math.prod(self._unknowns)
        units = torch.zeros(count, *self.shape, dtype=torch.float64)
        units[:, : 1 if self.channelwise else None] = torch.eye(count, dtype=torch.float64).reshape(
            count, -1, *self.shape[1:]
        )
        measured = self.A(units)
        rows = measured[:, 0] if self.channelwise else measured
        return torch.linalg.pinv(rows.flatten(1).T, rtol=1e-6)

    def precondition(self, v: Tensor, damping: Tensor) -> Tensor:
        """Approximate (damping I + A^T A)^-1 v, symmetric and positive.

        damping: (B, 1, 1, 1), above 0.
        """
        return v


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return (C, H, W) as a tuple; ValueError unless all are whole and positive."""
    values = tuple(shape)
    if len(values) != 3 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in values):
        raise ValueError(f"shape must be (channels, height, width), all at least 1, got {values}")
    return values


def check_trust(gamma: Trust, batch: int) -> None:
    """Raise ValueError unless gamma is a number from 0 up, or a tensor (B,)."""
    if isinstance(gamma, Tensor):
        if gamma.numel() != 1 and gamma.shape != (batch,):
            raise ValueError(f"gamma must be a number or have shape ({batch},), got {tuple(gamma.shape)}")
    elif not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")


def check_values(values: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Raise ValueError unless `values` are a floating-point batch of that shape.

    what: how the error calls them.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{what} must be a torch tensor, got {type(values).__name__}")
    if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
        wanted = ", ".join(str(n) for n in shape)
        raise ValueError(f"the operator takes {what} of shape (B, {wanted}), got {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"the operator takes {what} of a floating-point type, got {values.dtype}")
