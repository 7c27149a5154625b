"""Muon: orthogonal steps for convolutions, AdamW's for the rest."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rebridge.training.config import FitConfig
from rebridge.training.config_files import ConfigError
from rebridge.training.muon import Muon, in_one_kernel, is_matrix, orthogonal
from rebridge.training.parallel import Sharded
from rebridge.training.runtime import Runtime


@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_singular_vectors_stay_and_singular_values_come_near_to_1(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonal(matrix) @ right.T
    found = turned.diagonal()
    clear = values > 0.02 * values.max()
    assert ((found[clear] > 0.6) & (found[clear] < 1.3)).all()
    assert (turned - found.diag()).abs().max() < 1e-3


def test_one_kernel_for_all_parameters_makes_the_steps_of_torchs_adamw() -> None:
    networks = [nn.Linear(5, 7), nn.Linear(5, 7)]
    networks[1].load_state_dict(networks[0].state_dict())
    rates = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    optimisers = [
        torch.optim.AdamW(networks[0].parameters(), **rates),  # type: ignore[arg-type]
        in_one_kernel(torch.optim.AdamW, networks[1].parameters(), **rates),  # type: ignore[arg-type]
    ]
    assert optimisers[1].param_groups[0]["fused"]
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        for network, optimiser in zip(networks, optimisers, strict=True):
            optimiser.zero_grad()
            network(x).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(networks[1].weight, networks[0].weight, rtol=1e-5, atol=1e-6)


def test_a_step_depends_on_the_direction_of_the_gradient_only() -> None:
    matrix = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonal(1000 * matrix), orthogonal(matrix), rtol=1e-4, atol=1e-5)
    assert orthogonal(torch.zeros(20, 50)).abs().max() == 0


@pytest.mark.parametrize(
    ("layer", "turned"),
    [
        (nn.Conv2d(32, 64, 3), True),
        (nn.Conv2d(32, 16, 1), True),
        (nn.Conv2d(32, 12, 3), False),
        (nn.Conv2d(3, 64, 1), False),
        (nn.Conv2d(64, 64, 7, groups=64), False),
        (nn.Linear(64, 64), False),
    ],
)
def test_convolutions_between_features_are_matrices(layer: nn.Module, turned: bool) -> None:
    assert is_matrix(layer.get_parameter("weight")) == turned


def test_other_parameters_are_stepped_as_by_adamw() -> None:
    ours, theirs = (nn.Sequential(nn.Conv2d(32, 32, 1), nn.LayerNorm(4)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(3):
        for network, optimiser in ((ours, muon), (theirs, adamw)):
            optimiser.zero_grad()
            network(torch.arange(256.0).sin().view(2, 32, 1, 4)).cos().sum().backward()
            if network is theirs:  # the same gradients for both, whatever the convolution has become
                for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                    assert other.grad is not None
                    mine.grad = other.grad.clone()
        muon.step()
        adamw.step()
    for name, value in theirs.named_parameters():
        same = torch.allclose(ours.get_parameter(name), value, rtol=1e-5, atol=1e-7)
        assert same != (name == "0.weight"), name


def test_the_first_step_moves_a_weight_by_the_learning_rate_and_adam_s_size() -> None:
    layer = nn.Conv2d(32, 48, 3)
    before = layer.weight.detach().clone()
    optimiser = Muon(layer.parameters(), lr=1e-2)
    layer(torch.randn(2, 32, 8, 8)).square().mean().backward()
    optimiser.step()
    moved = (layer.weight.detach() - before).square().mean().sqrt().item()
    assert 0.1e-2 < moved < 0.3e-2


def test_the_loss_of_a_closure_comes_back() -> None:
    layer = nn.Conv2d(16, 16, 1)
    assert Muon(layer.parameters()).step(lambda: 3.5) == 3.5


def test_sharded_weights_are_refused_with_a_sentence() -> None:
    layer = nn.Conv2d(16, 16, 1)
    sharded = Sharded(Runtime(FitConfig(output=Path("unused"))), 1)
    assert sharded.prepare(layer, torch.optim.AdamW(layer.parameters()))[0] is layer
    with pytest.raises(ConfigError, match="use sharding none, or optimizer adamw"):
        sharded.prepare(layer, Muon(layer.parameters()))


def test_a_momentum_of_1_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum must lie in"):
        Muon(nn.Conv2d(16, 16, 1).parameters(), momentum=1.0)


def test_matrices_of_a_stack_are_turned_each_by_itself() -> None:
    stack = torch.randn(2, 20, 30, generator=torch.Generator().manual_seed(3)) * torch.tensor([1.0, 1e3])[:, None, None]
    torch.testing.assert_close(orthogonal(stack), torch.stack([orthogonal(one) for one in stack]))
    torch.testing.assert_close(orthogonal(stack.mT), orthogonal(stack).mT)
