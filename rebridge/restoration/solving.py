"""Solve an inverse problem with a pretrained prior.

operator = rebridge.inverse.operators.create("sr4", (3, 256, 256))
found = rebridge.solve(y, operator, sigma_y=0.02)
found.mean, found.std
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rebridge import inverse
from rebridge.denoisers import Progress
from rebridge.inverse.measurement import Measurement
from rebridge.inverse.methods.base import Method
from rebridge.inverse.operators import Measures, as_operator
from rebridge.models import DEFAULT_PRIOR, as_model
from rebridge.restoration.choices import Seed
from rebridge.restoration.restorer import Restorer
from rebridge.restoration.samples import Samples
from rebridge.samplers.base import Callback


def solve(
    y: Tensor,
    operator: Measures,
    prior: Any = DEFAULT_PRIOR,
    solver: str | Method | None = None,
    *,
    sigma_y: float = 0.0,
    steps: int | None = None,
    seed: Seed = 0,
    samples: int = 1,
    tile: int | None = None,
    overlap: int | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
    conditions: Mapping[str, Any] | None = None,
    **params: Any,
) -> Samples:
    """Find images x with y = A x + sigma_y n by a zero-shot method.

    Short for `Restorer(prior).sample(Measurement(...))`.

    Args:
        y: measurements (B, ...) of images in [0, 1].
        operator: of `rebridge.inverse.operators`, or anything with deepinv's methods.
        prior: a model, or its name, folder or hub id.
        solver: a method's name with its parameters (steps, params), or an object; by default what is recommended for
            the operator and the number of samples, see `rebridge.inverse.recommended`. A trained bridge as prior needs none,
            see `Restorer.__call__`.
        sigma_y: standard deviation of the noise, in the units of y.
        steps: of the method, by default its own.
        seed: as in `Restorer.__call__`.
        samples, tile, overlap: as in `Restorer.__call__`.
        device: of a prior given by name.
        dtype: of a prior given by name.
        progress, callback: as in `Restorer.__call__`.
        conditions: what the prior needs to be told besides, by name, as in `Restorer.__call__`.
        params: of the method.

    Raises:
        ValueError, TypeError: NaN, a measurement of the wrong shape, an operator that does not fit the prior or that the
            method cannot use, and unknown names; one sentence.
    """
    named: dict[str, Any] = (
        {"device": device, "dtype": dtype} if isinstance(prior, str) or hasattr(prior, "__fspath__") else {}
    )
    chosen = _asked_for(y, operator, solver, sigma_y, samples, steps, params)
    return Restorer(as_model(prior, **named)).sample(
        Measurement(y, operator, sigma_y),
        samples,
        steps=steps if chosen is None else None,
        seed=seed,
        tile=tile,
        overlap=overlap,
        method=chosen,
        progress=progress,
        callback=callback,
        **(conditions or {}),
    )


def _asked_for(
    y: Tensor,
    operator: Measures,
    solver: str | Method | None,
    sigma_y: float,
    samples: int,
    steps: int | None,
    params: dict[str, Any],
) -> Method | None:
    """The method that was asked for, or None for the model's choice."""
    if isinstance(solver, Method):
        return solver.with_settings(steps, **params)
    if solver is not None:
        return inverse.create(solver, **params, **({} if steps is None else {"steps": steps}))
    if params:
        return inverse.recommended(as_operator(operator, y), sigma_y, samples, **params).with_settings(steps)
    return None
