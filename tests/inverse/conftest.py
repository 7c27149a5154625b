"""A small linear inverse problem with a Gaussian prior, whose posterior is known, and a prior that counts its calls."""

import pytest
import torch

from rebridge import bridges
from rebridge.denoisers import as_estimate
from rebridge.inverse import GaussianProblem, operators

SHAPE = (1, 6, 8)
VP = bridges.create("vp")


def covariance(d, seed=0):
    """Random rotation of a spectrum from 1 down to 0.02, as images have: a few strong directions, many weak ones."""
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64)).Q
    return rotation @ torch.diag(torch.logspace(0, -1.7, d, dtype=torch.float64)) @ rotation.T


def gaussian_problem(name="cs", sigma_y=0.05, shape=SHAPE, prior_covariance=None, bridge=VP, **params):
    d = shape[0] * shape[1] * shape[2]
    operator = operators.create(name, shape, **({"ratio": 0.4} if name == "cs" else {}), **params)
    mean = 0.2 * torch.randn(d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GaussianProblem(
        bridge, operator, mean, covariance(d) if prior_covariance is None else prior_covariance, sigma_y
    )


class CountingPrior:
    """A prior that counts how often it is called and for how many states."""

    def __init__(self, prior):
        self.prior, self.calls, self.states = prior, 0, 0

    def __call__(self, x_t, t, y):
        self.calls += 1
        self.states += len(x_t)
        return as_estimate(self.prior(x_t, t, y)).x0


@pytest.fixture
def problem():
    return gaussian_problem()
