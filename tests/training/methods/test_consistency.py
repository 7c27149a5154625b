"""Consistency training of bridges: what the targets are, how pairs of times close up, and that it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge import bridges, samplers
from rebridge.training import ConfigError, load_config
from rebridge.training.methods.bridge import settings_of
from rebridge.training.methods.consistency import ConsistencyConfig, ConsistencyObjective, ConsistencyTraining


class Line(nn.Module):
    """x0 as a linear function of state, image and time, so that it can be told what it must learn."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.3, 0.5, 0.1], dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        a, b, c = self.weights
        return a * x + b * y + c * t.view(-1, 1, 1, 1).to(x)


def config(**changes: Any) -> ConsistencyConfig:
    tree: dict[str, Any] = {
        "bridge": {"name": "goub"},
        "network": {"name": "fast"},
        "data": {"clean": "nowhere", "tasks": {"rain": {}}},
        "output": "nowhere",
        "loss": {"kind": "l2"},
        "optimisation": {"iterations": 100, "batch": 4},
        "consistency": {"first": 10, "last": 40},
    }
    return ConsistencyConfig.model_validate(tree | changes)


def pair(batch: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, y = (torch.rand(batch, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return x0, y


def test_the_target_is_the_networks_own_estimate_one_step_earlier_on_the_same_path() -> None:
    bridge, network = bridges.create("goub"), Line()
    objective = ConsistencyObjective(config(), bridge, network, network)
    x0, y = pair()
    noise = torch.randn(x0.shape, dtype=torch.float64)
    t = torch.tensor([0.9, 0.5, 0.3, 0.2], dtype=torch.float64)
    r = t - 0.1
    target = objective.target(x0, y, bridge.forward(x0, y, t, noise), t, r)
    torch.testing.assert_close(target, network(bridge.forward(x0, y, r, noise), r, y).detach())
    assert not target.requires_grad


def test_at_the_ends_the_target_is_the_clean_image() -> None:
    bridge, network = bridges.create("goub"), Line()
    objective = ConsistencyObjective(config(), bridge, network, network)
    x0, y = pair(2)
    t = torch.tensor([1.0, 0.05], dtype=torch.float64)
    x_t = bridge.forward(x0, y, t, torch.randn(x0.shape, dtype=torch.float64))
    target = objective.target(x0, y, x_t, t, torch.tensor([0.9, 0.0], dtype=torch.float64))
    torch.testing.assert_close(target, x0)


def test_a_teacher_leads_to_the_earlier_state() -> None:
    bridge, network = bridges.create("goub"), Line()
    x0, y = pair()
    objective = ConsistencyObjective(config(), bridge, network, network, lambda x, t, y: y.flip(0))
    t = torch.full((4,), 0.5, dtype=torch.float64)
    r, x_t = t - 0.1, bridge.forward(x0, y, t, torch.randn(x0.shape, dtype=torch.float64))
    c, n = bridge.coefficients(t).like(y), bridge.coefficients(r).like(y)
    known = y.flip(0)
    x_r = n.alpha * known + n.beta * y + n.gamma / c.gamma * (x_t - c.alpha * known - c.beta * y)
    torch.testing.assert_close(objective.target(x0, y, x_t, t, r), network(x_r, r, y).detach())


def test_the_time_is_cut_finer_as_training_goes_on() -> None:
    objective = ConsistencyObjective(config(), bridges.create("goub"), Line(), Line())
    assert [objective.cuts(first) for first in (0, 150, 300, 400)] == [10, 20, 40, 40]


def test_the_loss_has_gradients_and_falls() -> None:
    torch.manual_seed(0)
    network = Line()
    objective = ConsistencyObjective(config(), bridges.create("goub"), network, network)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    x0, y = pair(16)
    losses = []
    for step in range(60):
        optimiser.zero_grad()
        loss = objective.loss(0.5 * y + 0.1 * x0, y, 4 * step)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


def test_a_file_with_the_section_is_consistency_training(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "bridge: {name: goub}\nnetwork: {name: fast}\ndata: {clean: x, tasks: {rain: {}}}\noutput: y\nconsistency: {first: 4}\n"
    )
    assert isinstance(load_config(file), ConsistencyConfig)


def test_it_is_restored_in_two_steps_unless_a_sampler_is_named_or_the_bridges_own_is_asked_for() -> None:
    assert settings_of(config())[1] == samplers.create("resample", steps=2)
    assert settings_of(config(sampler={"name": "dbim", "steps": 4}))[1] == samplers.create("dbim", steps=4)
    bridge, own = settings_of(config(sampler=None))
    assert own == samplers.recommended(bridge)


def test_what_teaches_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="no path to be consistent on"):
        ConsistencyTraining.check(config(objective="regression"))
