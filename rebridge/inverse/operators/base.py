"""What an operator is: y = A x for images x, with the adjoint, the pseudo-inverse and the proximal step that solvers ask for.

All linear solvers rest on one primitive, the gain of a trust gamma,

    G r = A^T (I / gamma + A A^T)^+ r,        A^+ y = G y at gamma = inf,        prox(z) = z + G (y - A z),

so an operator gives A, A^T and G. `Spectral` has G in closed form from a singular value decomposition; `Linear` finds it by
conjugate gradients. The method names are deepinv's: a deepinv `LinearPhysics` can stand wherever an operator is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

Trust = float | Tensor
"""gamma of the proximal step: a number in [0, inf], or one per image, (B,)."""


class Measures(Protocol):
    """Anything that solvers can use as an operator: ours, a deepinv LinearPhysics, or a user's own class."""

    def A(self, x: Tensor) -> Tensor: ...  # noqa: N802

    def A_adjoint(self, y: Tensor) -> Tensor: ...  # noqa: N802

    def A_dagger(self, y: Tensor) -> Tensor: ...  # noqa: N802

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Any) -> Tensor: ...


class Operator:
    """A measurement of images of one shape: checks what comes in, and leaves the rest to its subclasses.

    shape: (C, H, W) of the images. measurement_shape: of what is measured from one of them.
    """

    name: ClassVar[str]
    linear: ClassVar[bool] = True

    def __init__(self, shape: Sequence[int], measurement_shape: Sequence[int] | None = None) -> None:
        self.shape = check_shape(shape)
        self.measurement_shape = self.shape if measurement_shape is None else tuple(measurement_shape)
        self._casts: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def A(self, x: Tensor) -> Tensor:  # noqa: N802
        """What is measured, (B, *measurement_shape), from images (B, C, H, W). ValueError for another size of image."""
        _check(x, self.shape, "images")
        return self._forward(x)

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        """A^T y, (B, C, H, W), for measurements (B, *measurement_shape)."""
        _check(y, self.measurement_shape, "measurements")
        return self._adjoint(y)

    def A_dagger(self, y: Tensor) -> Tensor:  # noqa: N802
        """A^+ y, (B, C, H, W): of all images that fit y best, the smallest."""
        _check(y, self.measurement_shape, "measurements")
        return self._gain(y, math.inf)

    def prox_l2(self, z: Tensor, y: Tensor, gamma: Trust) -> Tensor:
        """argmin_v gamma/2 |A v - y|^2 + 1/2 |v - z|^2, (B, C, H, W), for images z and measurements y.

        gamma: number or (B,), from 0 (returns z) to inf (the image nearest to z among those that fit y best).
        """
        _check(z, self.shape, "images")
        _check(y, self.measurement_shape, "measurements")
        check_trust(gamma, len(z))
        return z + self._gain(y - self._forward(z), gamma)

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _gain(self, r: Tensor, gamma: Trust) -> Tensor:
        """A^T (I/gamma + A A^T)^+ r for r (B, *measurement_shape)."""
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
    """An operator whose singular value decomposition A = U S V^T is known: everything is a product in the spectrum.

    The spectrum of an image has as many numbers as the image. Singular values below `cutoff` times the largest count
    as zero in the pseudo-inverse; 1e-6 keeps A A^+ A = A to 1e-6 of the image, and deblurring from data that hold any noise
    wants more (DDNM's authors take 3e-2).
    """

    def __init__(
        self, shape: Sequence[int], measurement_shape: Sequence[int] | None = None, cutoff: float = 1e-6
    ) -> None:
        super().__init__(shape, measurement_shape)
        if not 0 <= cutoff < 1:
            raise ValueError(f"cutoff must lie in [0, 1), got {cutoff}")
        self.cutoff = cutoff

    def singular_values(self, like: Tensor) -> Tensor:
        """S >= 0, broadcastable to the spectrum of one image, in the dtype of `like`; zeros where nothing is measured."""
        raise NotImplementedError

    def spectrum(self, x: Tensor) -> Tensor:
        """V^T x, for images (B, C, H, W): orthonormal, so white noise stays white."""
        raise NotImplementedError

    def image(self, spectrum: Tensor) -> Tensor:
        """V times a spectrum, (B, C, H, W): the inverse of `spectrum`."""
        raise NotImplementedError

    def measurement_spectrum(self, y: Tensor) -> Tensor:
        """U^T y laid out like the image's spectrum, anything where the singular value is zero."""
        raise NotImplementedError

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.image(self.singular_values(y) * self.measurement_spectrum(y))

    def _gain(self, r: Tensor, gamma: Trust) -> Tensor:
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
    """An operator that treats all channels alike and has no decomposition: the gain is found by conjugate gradients (CGLS).

    tolerance: relative size of the gradient at which the proximal step stops. fit: relative misfit of the data at which
    the pseudo-inverse stops; small singular values make that slow, so for images of up to `dense` pixels the matrix is
    written out and decomposed instead. iterations: greatest number; what is reached then is returned.
    """

    tolerance: float = 1e-7
    fit: float = 3e-6
    iterations: int = 1000
    dense: int = 400

    def _gain(self, r: Tensor, gamma: Trust) -> Tensor:
        if not isinstance(gamma, Tensor) and gamma == math.inf and self.shape[1] * self.shape[2] <= self.dense:
            return (r.double().flatten(2) @ self.pseudo_inverse.to(r.device).mT).reshape(-1, *self.shape).to(r.dtype)
        trust = torch.as_tensor(gamma, dtype=torch.float64, device=r.device).expand(len(r))
        return cgls(self, r, trust)

    @cached_property
    def pseudo_inverse(self) -> Tensor:
        """A^+ of one channel as a float64 matrix (H W, measurements), for small images."""
        pixels = self.shape[1] * self.shape[2]
        units = torch.zeros(pixels, *self.shape, dtype=torch.float64)
        units[:, 0] = torch.eye(pixels, dtype=torch.float64).reshape(pixels, *self.shape[1:])
        return torch.linalg.pinv(self.A(units)[:, 0].flatten(1).T, rtol=1e-6)

    def precondition(self, v: Tensor, damping: Tensor) -> Tensor:
        """An approximation of (damping I + A^T A)^-1 v that is symmetric and positive; damping (B, 1, 1, 1) above 0."""
        return v


def cgls(operator: Linear, r: Tensor, gamma: Tensor) -> Tensor:
    """A^T (I/gamma + A A^T)^+ r by conjugate gradients started at 0; gamma (B,) in [0, inf].

    It works in double precision, since small singular values would drown in rounding errors, and stops, for gamma = inf,
    where the data are fitted or nothing more of them can be. Hestenes and Stiefel 1952, damped as by Paige and Saunders 1982.
    """
    damping = torch.where(gamma > 0, 1 / gamma, 1.0).reshape(-1, 1, 1, 1)
    damped = bool((damping > 0).all())
    rest = r.double()
    damping = damping.to(rest.dtype)
    tiny = torch.finfo(rest.dtype).tiny
    tolerance = max(operator.tolerance, 4 * torch.finfo(r.dtype).eps)
    gradient = operator.A_adjoint(rest)
    x = torch.zeros_like(gradient)
    direction = operator.precondition(gradient, damping) if damped else gradient
    energy = _dot(gradient, direction)
    first_rest, first_gradient = _dot(rest, rest), _dot(gradient, gradient)
    active = (gamma > 0) & (first_gradient > 0)
    for _ in range(operator.iterations):
        image = operator.A(direction)
        curvature = _dot(image, image) + damping.flatten() * _dot(direction, direction)
        step = torch.where(active, energy / curvature.clamp(min=tiny), 0.0)
        x = x + _column(step, x) * direction
        rest = rest - _column(step, rest) * image
        gradient = operator.A_adjoint(rest) - damping * x
        size, misfit = _dot(gradient, gradient), _dot(rest, rest)
        if damped:
            active = active & (size > tolerance**2 * first_gradient)
        else:  # a small gradient alone may hide a large misfit along small singular values
            unfitted = misfit > operator.fit**2 * first_rest
            active = (
                active & unfitted & (size * first_rest > (1e-2 * operator.tolerance) ** 2 * first_gradient * misfit)
            )
        if not active.any():
            break
        following = operator.precondition(gradient, damping) if damped else gradient
        energy_next = _dot(gradient, following)
        direction = following + _column(energy_next / energy.clamp(min=tiny), x) * direction
        energy = energy_next
    return x.to(r.dtype)


def _column(scalar: Tensor, like: Tensor) -> Tensor:
    return scalar.reshape(-1, *[1] * (like.ndim - 1))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def check_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(C, H, W) as a tuple; ValueError unless these are three positive whole numbers."""
    values = tuple(shape)
    if len(values) != 3 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in values):
        raise ValueError(f"shape must be (channels, height, width), all at least 1, got {values}")
    return values


def check_trust(gamma: Trust, batch: int) -> None:
    """Raise ValueError unless gamma is a number from 0 up or a tensor with one for each image."""
    if isinstance(gamma, Tensor):
        if gamma.numel() != 1 and gamma.shape != (batch,):
            raise ValueError(f"gamma must be a number or have shape ({batch},), got {tuple(gamma.shape)}")
    elif not gamma >= 0:
        raise ValueError(f"gamma must be at least 0, got {gamma}")


def _check(values: Tensor, shape: tuple[int, ...], what: str) -> None:
    if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
        wanted = ", ".join(str(n) for n in shape)
        raise ValueError(f"the operator takes {what} of shape (B, {wanted}), got {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"the operator takes {what} of a floating-point type, got {values.dtype}")
