"""Extra conditions: what is declared is what is taken, and nothing changes until training has made use of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import networks
from rebridge.networks.conditions import Bound, Condition, at_scale, checked, conditions_of, cut

ALL: dict[str, Any] = {
    "depth": "map",
    "blur": {"form": "kernel", "size": 5},
    "sigma": {"form": "number", "scale": 0.2},
    "scene": {"form": "class", "size": 3},
    "text": {"form": "vector", "size": 4},
}
SMALL: dict[str, dict[str, Any]] = {
    "fast": {"widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8},
    "rdbm-t": {"width": 8, "multipliers": [1, 2]},
}


def values(rows: int = 2, height: int = 13, width: int = 18) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "depth": torch.rand(rows, 1, height, width, generator=draw),
        "blur": torch.rand(rows, 5, 5, generator=draw),
        "sigma": torch.rand(rows, generator=draw),
        "scene": torch.arange(rows) % 3,
        "text": torch.randn(rows, 4, generator=draw),
    }


@pytest.mark.parametrize("name", SMALL)
def test_a_network_takes_all_forms_by_name_and_begins_as_one_without(name: str) -> None:
    torch.manual_seed(0)
    plain = networks.create(name, **SMALL[name])
    told = networks.create(name, **SMALL[name], conditions=ALL)
    missing = told.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing
    assert all(key.startswith("extra.") for key in missing)
    x, y, t = torch.randn(2, 3, 13, 18), torch.randn(2, 3, 13, 18), torch.tensor([0.5, 1.0])
    last: Any = plain.tail
    torch.nn.init.normal_(last.weight)
    told.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(told(x, t, y, **values()), plain(x, t, y))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("condition", ALL)
def test_each_condition_has_a_say_once_it_is_trained(name: str, condition: str) -> None:
    torch.manual_seed(0)
    network = networks.create(name, **SMALL[name], conditions=ALL)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x, y, t, given = torch.randn(2, 3, 13, 18), torch.randn(2, 3, 13, 18), torch.tensor([0.5, 1.0]), values()
    other = given | {condition: (given[condition] + 1) % 3 if condition == "scene" else given[condition].flip(-1)}
    apart = (network(x, t, y, **given) - network(x, t, y, **other)).abs().amax((1, 2, 3))
    assert (apart > 1e-5).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_cost_of_a_network_counts_its_conditions(name: str) -> None:
    plain, told = (networks.cost(networks.create(name, **SMALL[name], conditions=given)) for given in (None, ALL))
    assert told.parameters > plain.parameters
    assert told.flops > plain.flops


def test_a_network_is_rebuilt_with_its_conditions_from_its_config() -> None:
    network = networks.create("fast", **SMALL["fast"], conditions={"depth": Condition("map", 2)})
    config = dict(network.config)
    again = networks.create(config.pop("name"), **config)
    assert again.conditions == network.conditions == {"depth": Condition("map", 2)}


def test_parts_of_maps_are_cut_as_the_image_and_states_may_repeat_the_images() -> None:
    class Echo(networks.Network):
        def forward(self, x: Tensor, t: Tensor, y: Tensor, **told: Tensor) -> Tensor:
            return told["depth"].expand_as(x) + told["sigma"].view(-1, 1, 1, 1)

    declared = conditions_of({"depth": "map", "sigma": "number"})
    given = {name: value for name, value in values().items() if name in declared}
    bound = Bound(Echo(), declared, given)
    x = torch.zeros(2, 3, 13, 18)
    whole = bound(x, torch.ones(2), x)
    rows, columns = slice(4, 10), slice(2, 18)
    part = bound.part(rows, columns)(x[..., rows, columns], torch.ones(2), x[..., rows, columns])
    assert torch.equal(part, whole[..., rows, columns])
    thrice = bound(x.repeat(3, 1, 1, 1), torch.ones(6), x.repeat(3, 1, 1, 1))
    assert torch.equal(thrice, whole.repeat(3, 1, 1, 1))
    beyond = cut(declared, given, slice(0, 16), slice(16, 32))["depth"]  # a tile that ends on the grid of the network
    assert beyond.shape == (2, 1, 16, 16)
    assert torch.equal(beyond[..., :13, :2], given["depth"][..., 16:18])


def test_maps_shrink_by_the_mean_of_each_cell() -> None:
    depth = torch.arange(16.0).view(1, 1, 4, 4) / 16
    found = at_scale(conditions_of({"depth": "map"}), {"depth": depth}, 2, 2)["depth"]
    assert found[0, 0, 0, 0] == (0 + 1 + 4 + 5) / 4 / 16


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": None}, "it needs the condition 'depth', a map of 1 channel"),
        ({"colour": torch.zeros(2)}, "it takes no condition or option 'colour'; its conditions are depth (a map of 1 channel)"),
        ({"depth": torch.zeros(2, 3, 13, 18)}, "must have the shape 2 x 1 x 13 x 18, or one for all images, got 2 x 3 x 13 x 18"),
        ({"depth": torch.zeros(3, 1, 13, 18)}, "must have the shape 2 x 1 x 13 x 18"),
        ({"depth": torch.full((1, 1, 13, 18), 2.0)}, "'depth' must be finite in [0, 1], got 2 to 2"),
        ({"sigma": torch.tensor(torch.nan)}, "'sigma' must be finite"),
        ({"scene": torch.tensor(3)}, "'scene' is a class from 0 to 2, got 3"),
        ({"scene": torch.tensor(0.5)}, "'scene' is a class from 0 to 2, got 0.5"),
        ({"text": torch.zeros(5)}, "'text' is a vector of 4 numbers: it must have the shape 2 x 4"),
        ({"blur": torch.zeros(4, 4)}, "'blur' is a kernel of 5 x 5"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_get_one_sentence(change: dict[str, Any], sentence: str) -> None:
    given = {name: value for name, value in (values() | change).items() if value is not None}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        checked(conditions_of(ALL), given, 2, (13, 18), "it")


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ({"y": "map"}, "'y' cannot name a condition"),
        ({"a b": "map"}, "'a b' cannot name a condition"),
        ({"class": "number"}, "'class' cannot name a condition"),
        ({"steps": "number"}, "'steps' cannot name a condition"),
        ({"depth": "picture"}, "conditions.depth: form must be one of map, kernel, number, class, vector"),
        ({"depth": {"form": "map", "size": 0}}, "conditions.depth: size must be a whole number from 1"),
        ({"scene": "class"}, "conditions.scene: a class needs a size of at least 2"),
        ({"sigma": {"form": "number", "scale": 0}}, "conditions.sigma: scale must be a positive number"),
        ({"sigma": {"form": "number", "unit": "dB"}}, "conditions.sigma: "),
        (["depth"], "conditions must be a mapping from names to forms, got list"),
    ],
)
def test_declarations_that_are_none_get_one_sentence(described: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        networks.create("fast", conditions=described)
