"""States, losses and weights of the authors' training code in float64, replayed."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges
from rebridge.bridges import Bridge
from rebridge.denoisers import NetworkDenoiser, ddbm_preconditioning
from rebridge.training.config import LossConfig
from rebridge.training.losses import loss_of, step_means
from rebridge.training.timesteps import States
from rebridge.training.weights import loss_weights
from tests.reference import denoiser, double, inputs, load

Y, NOISE = (images.double() for images in inputs())
X0 = 0.5 * torch.tanh(NOISE[128]) + 0.5 * Y
OFFICIAL, OU = load("bridges/training"), load("bridges/ou_training")


class Implied(nn.Module):
    """The output that the clean estimate of the reference denoiser stands for, whatever the input."""

    def __init__(self, bridge: Bridge, prediction: str) -> None:
        super().__init__()
        self.role = NetworkDenoiser(nn.Identity(), bridge, prediction)
        self.x_t = Y

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.role.target(denoiser(self.x_t, t, y), y, self.x_t, t)


def states_of(bridge: Bridge, t: float) -> States:
    times = torch.full((len(Y),), t, dtype=torch.float64)
    return States(times, bridge.forward(X0, Y, times, NOISE[127]), torch.arange(len(Y)))


def loss(bridge: Bridge, states: States, prediction: str, **config: Any) -> float:
    network = Implied(bridge, prediction)
    network.x_t = states.x_t
    role = NetworkDenoiser(network, bridge, prediction).train()
    return loss_of(role, X0, Y, states, LossConfig(**config)).item()


@pytest.mark.parametrize(
    ("key", "bridge", "prediction", "config", "label"),
    [
        ("rdbm", bridges.create("rdbm", preset="release"), "x0", {}, "L1 on x0"),
        ("rddm", bridges.create("rddm"), "residual", {"on": "output"}, "L1 on residual"),
        ("diffuir", bridges.create("diffuir"), "residual", {"on": "output"}, "L1 on residual"),
        ("resshift 15", bridges.create("resshift"), "x0", {"kind": "l2"}, "MSE on x0"),
    ],
)
def test_states_and_losses(key: str, bridge: Bridge, prediction: str, config: dict[str, Any], label: str) -> None:
    for row in OFFICIAL[key]["rows"]:
        states = states_of(bridge, (row["i"] + 1) / OFFICIAL[key]["T"])
        torch.testing.assert_close(states.x_t, double(row["state"]), rtol=1e-9, atol=1e-9)
        assert loss(bridge, states, prediction, **config) == pytest.approx(row[f"loss ({label})"], rel=1e-9)


@pytest.mark.parametrize("name", ["ddbm-vp", "ddbm-ve"])
def test_ddbm_preconditioning_weights_and_losses(name: str) -> None:
    bridge = bridges.create(name)
    for row in OFFICIAL[name]["rows"]:
        states = states_of(bridge, row["t"])
        torch.testing.assert_close(states.x_t, double(row["state"]), rtol=1e-9, atol=1e-9)
        found = ddbm_preconditioning(bridge, row["t"])
        expected = [row[key] for key in ("c_skip", "c_out", "c_in", "weight")]
        assert [p.item() for p in (found.skip, found.out, found.inside, found.weight)] == pytest.approx(
            expected, rel=1e-9
        )
        weighted = loss(bridge, states, "ddbm", kind="l2", weighting="ddbm")
        assert weighted == pytest.approx(row["loss (weighted MSE)"], rel=1e-9)


def test_resshift_weights_by_the_variational_bound() -> None:
    official = load("bridges/resshift")["steps=15"]
    role = NetworkDenoiser(nn.Identity(), bridges.create("resshift"), "x0")
    weights = loss_weights("posterior", role, torch.arange(1, 16, dtype=torch.float64) / 15)
    torch.testing.assert_close(weights, double(official["weight mse"]), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("key", "bridge"),
    [
        ("goub", bridges.create("goub", lam=OU["lambda"])),
        ("irsde", bridges.create("ir-sde", lam=OU["lambda"])),
        ("unidb 1e7", bridges.create("unidb", lam=OU["lambda"], gamma_inv=1e-7, drift_form="code")),
    ],
)
def test_step_objective_of_the_ornstein_uhlenbeck_family(key: str, bridge: Bridge) -> None:
    """UniDB's code trains with the drift of GOUB."""
    for row in OU[key]:
        states = states_of(bridge, row["t"] / OU["T"])
        torch.testing.assert_close(states.x_t, double(row["state"]), rtol=1e-9, atol=1e-9)
        step, optimum = step_means(bridge, states, denoiser(states.x_t, states.t, Y), X0, Y)
        torch.testing.assert_close(step, double(row["step"]), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(optimum, double(row["optimum"]), rtol=1e-9, atol=1e-9)
        assert loss(bridge, states, "noise", on="step") == pytest.approx(row["loss"], rel=1e-8)


def test_the_drift_of_unidb_is_another_than_the_one_it_is_trained_with() -> None:
    t = torch.tensor([0.5, 0.95], dtype=torch.float64)
    exact, code = (bridges.create("unidb", gamma_inv=1e-3, drift_form=form) for form in ("exact", "code"))
    assert torch.equal(exact.training_drift(X0, Y, t), exact.drift(X0, Y, t))
    torch.testing.assert_close(code.training_drift(X0, Y, t), bridges.create("goub").drift(X0, Y, t))
    assert (exact.training_drift(X0, Y, t) - code.training_drift(X0, Y, t)).abs().max() > 0.05
